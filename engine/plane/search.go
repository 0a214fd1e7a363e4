package plane

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"balance/engine/balancer"
)

// Search is a session's search for a channel that answers, and all that only a
// session in search of one needs. The plane makes the attempts, one at a time:
//
//	s.Begin(options, listener, client, now)
//	for s.Next(now) == balancer.Dial {
//		for addr, share, ok := s.Address(now); ok; addr, share, ok = s.Address(now) {
//			err := dial(addr, share)
//			if err == nil {
//				s.Connected(now)
//				return
//			}
//			s.Undialled(err)
//		}
//		s.Failed(now)
//	}
//
// Times are nanoseconds of a clock that runs on and is never 0. The zero Search
// has nothing to close.
type Search struct {
	options  *Options
	listener *Listener
	client   balancer.Client
	service  *Service // what the route is made of
	route    balancer.Route

	// Of the channel:
	addrs    []netip.AddrPort // as they were when its turn came
	tried    int              // of its addresses
	deadline int64            // when its time is over
	until    int64            // when that of the address that was tried last is
	awaiting int              // what tried was when that address began to wait for a port
	err      error            // of the addresses that were tried so far
	lack     error            // of the attempts at this address, the last that this machine was to blame for
	lacking  bool             // this machine, and not the channel, is to blame
}

// Begin starts the search for a client of the listener.
func (s *Search) Begin(options *Options, listener *Listener, client balancer.Client, now int64) {
	*s = Search{options: options, listener: listener, client: client}
	s.follow(listener.Service(), now)
}

func (s *Search) follow(service *Service, now int64) {
	s.service = service
	s.route = service.Router.Route(s.client, now)
}

// Next goes on to the next channel, a slot of which is reserved then. At the end
// of a route that was made of an earlier service the client begins anew with the
// current one: what it had left was taken away by a change of the configuration.
// A lack on this machine is no reason to go to another channel.
func (s *Search) Next(now int64) balancer.Step {
	for !s.lacking {
		if step := s.route.Next(now); step != balancer.Reject {
			s.addrs, s.tried, s.err = s.Channel().Addresses(), 0, nil
			s.awaiting = 0
			s.deadline = now + int64(s.service.ConnectTimeout)
			return step
		}
		current := s.listener.Service()
		if current == s.service {
			break
		}
		s.follow(current, now)
	}
	s.listener.Rejected[s.route.Rejection()].Add(1)
	return balancer.Reject
}

// Channel returns the channel whose slot is held, or nil.
func (s *Search) Channel() *balancer.Channel { return s.route.Channel() }

// Group returns the number of the group that the channel is in.
func (s *Search) Group() int { return s.route.Group() }

// Service returns what the search follows.
func (s *Search) Service() *Service { return s.service }

// Address returns the next address of the channel, and for how long to try it:
// all addresses together have the connect timeout, and each may use an equal
// share of what is left. It reports false if all were tried.
func (s *Search) Address(now int64) (addr netip.AddrPort, share time.Duration, ok bool) {
	left := len(s.addrs) - s.tried
	if left == 0 {
		return netip.AddrPort{}, 0, false
	}
	s.tried++
	if s.awaiting != s.tried {
		s.until = now + int64(s.Left(now))/int64(left)
	}
	return s.Dialled(), time.Duration(s.until - now), true
}

// Dialled returns the address that Address returned last.
func (s *Search) Dialled() netip.AddrPort { return s.addrs[s.tried-1] }

// Left returns how much time the channel has left.
func (s *Search) Left(now int64) time.Duration { return time.Duration(s.deadline - now) }

// Again makes the address that Address returned last the next one again: this
// machine lacked what it takes to dial it, as the error says, and may have it
// soon. Where there is too little time left then, the channel is not to blame.
func (s *Search) Again(err error) {
	s.tried--
	s.lack = err
}

// AwaitPort makes the address that Address returned last the next one again,
// after an attempt that failed with ErrNoPort, and returns how long to wait until
// then: nothing once the time of the address is over, and the next is to be
// tried. The error is logged, once a second.
func (s *Search) AwaitPort(err error, now int64) (pause time.Duration) {
	if s.awaiting != s.tried {
		s.awaiting = s.tried
		s.service.complaints.Add()
		s.tell(&s.service.complaints, slog.LevelWarn, "cannot dial yet", s.Channel(), now, "error", err)
	}
	left := time.Duration(s.until - now)
	if left <= 0 {
		s.Undialled(err)
		return 0
	}
	s.Again(err)
	return min(left, portLook)
}

// Undialled takes note of why the address that Address returned last could not
// be connected to.
func (s *Search) Undialled(err error) {
	if s.lack != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		err = s.lack // that is where the time went
	}
	s.lack = nil
	s.err = Undialled(s.err, err)
}

// Failed gives up the channel, and logs that: loudly only if it changes
// something about the channel or if this machine is to blame, and once a second.
func (s *Search) Failed(now int64) {
	if s.err == nil {
		s.err = errors.New("the channel has no address")
	}
	s.lacking = Exhausted(s.err) || errors.Is(s.err, ErrNoPort)
	channel := s.Channel()
	text, throttle := "channel fails", &channel.Failings
	switch change := s.route.Failed(s.err, now); {
	case change == balancer.Disabled:
		s.options.Log.Warn("channel autodisabled", "listener", s.service.Name, "group", s.Group(), "channel", channel.Key(), "error", s.err)
		return
	case change == balancer.Failing:
		throttle.Add()
	case balancer.Local(s.err):
		text, throttle = "cannot dial", &s.service.complaints
		throttle.Add()
	}
	if !s.tell(throttle, slog.LevelWarn, text, channel, now, "error", s.err) {
		s.options.Log.Debug("channel fails", "listener", s.service.Name, "group", s.Group(), "channel", channel.Key(), "error", s.err)
	}
}

// Connected ends the search: an address of the channel answered. It logs that if
// it is news, once a second. The slot is the session's from then on, who gives
// it back with Close, or, if the session does not keep the Search, with
// balancer.Channel.Leave.
func (s *Search) Connected(now int64) {
	channel := s.Channel()
	if s.route.Connected(s.service.ConnectTimeout-s.Left(now), now) == balancer.Recovered {
		channel.Recoveries.Add()
	}
	s.tell(&channel.Recoveries, slog.LevelInfo, "channel answers again", channel, now)
}

// Close gives back the slot that is held, if any.
func (s *Search) Close(now int64) { s.route.Close(now) }

// tell logs a line if there is something to tell that may be told now, and how
// many like it were left out before. What had to wait is told by the next that
// finds the same, so that the last word of the log is not one that was true a
// moment only.
func (s *Search) tell(throttle *balancer.Throttle, level slog.Level, text string, channel *balancer.Channel, now int64, more ...any) bool {
	if !throttle.Pending() {
		return false
	}
	n := throttle.Take(now)
	if n == 0 {
		return false
	}
	attrs := append([]any{"listener", s.service.Name, "group", s.Group(), "channel", channel.Key()}, more...)
	if n > 1 {
		attrs = append(attrs, "left_out", n-1)
	}
	s.options.Log.Log(context.Background(), level, text, attrs...)
	return true
}
