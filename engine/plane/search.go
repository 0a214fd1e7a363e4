package plane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"time"

	"balance/engine/balancer"
)

// Search is a session's search for a channel that answers, and all that only a
// session in search of one needs. The plane makes the attempts, several of which
// may be under way:
//
//	s.Begin(options, listener, id, client, greeting, now)
//	for s.Next(now) == balancer.Dial { // or Wait: see Enqueue
//		for pause, ok := s.Wait(now); ok; pause, ok = s.Wait(now) {
//			for a, due := s.Attempt(now); due; a, due = s.Attempt(now) {
//				dial(a)
//			}
//			switch a, err, came := answer(pause); {
//			case came && err == nil:
//				s.Connected(now)
//				return
//			case came:
//				s.AttemptFailed(a, err, shortage, now)
//			}
//		}
//		s.Failed(now)
//	}
//
// Times are nanoseconds of a clock that runs on and is never 0. The zero Search
// has nothing to close.
type Search struct {
	options  *Options
	listener *Listener
	id       uint64
	client   netip.AddrPort
	greeting *Greeting // nil if the client was asked nothing
	service  *Service  // what the route is made of
	route    balancer.Route

	began  int64 // when the client came
	queued int64 // when it began to wait last

	rejection balancer.Rejection // once it is rejected

	race          // to the channel
	dialled int64 // when that began
	cut     bool  // it has less time than the connect timeout
	lacking bool  // this machine, and not the channel, is to blame

	outcome Outcome
}

// Begin starts the search of the session with the id for a client of the listener,
// which has passed the greeting, if there was one.
func (s *Search) Begin(options *Options, listener *Listener, id uint64, client netip.AddrPort, greeting *Greeting, now int64) {
	*s = Search{options: options, listener: listener, id: id, client: client, greeting: greeting, began: now}
	s.follow(listener.Service(), now)
}

func (s *Search) follow(service *Service, now int64) {
	s.service = service
	client := balancer.Client{Addr: s.client.Addr()}
	if s.greeting != nil {
		client.ServerName, client.ALPN = s.greeting.hello.ServerName, s.greeting.hello.ALPN
	}
	s.route = service.Router.Route(client, now)
}

// Next goes on to the next channel, a slot of which is reserved then; or returns
// Wait, if there may be one once a slot is free: see Enqueue. At the end of a route
// that was made of an earlier service the client begins anew with the current one:
// what it had left was taken away by a change of the configuration. A lack on this
// machine is no reason to go to another channel, and when its time is over the
// client goes to nobody.
func (s *Search) Next(now int64) balancer.Step {
	for !s.lacking && now < s.deadline() {
		switch step := s.route.Next(now); {
		case step == balancer.Dial:
			return s.reserved(now)
		case step == balancer.Wait:
			return step
		case !s.renew(now):
			return s.reject(s.route.Rejection())
		}
	}
	if s.lacking {
		return s.reject(s.route.Rejection())
	}
	return s.reject(balancer.TooLate)
}

// renew begins anew if the route was made of an earlier service, and reports whether
// that is so.
func (s *Search) renew(now int64) bool {
	current := s.listener.Service()
	if current.Router == s.route.Router() {
		return false
	}
	s.follow(current, now)
	return true
}

// reserved begins with a channel a slot of which was reserved.
func (s *Search) reserved(now int64) balancer.Step {
	if s.service.Router != s.route.Router() { // the queue has followed another
		s.service = s.listener.Service()
	}
	left := time.Duration(s.deadline() - now)
	if left <= 0 {
		s.route.Close(now)
		return s.reject(balancer.TooLate)
	}
	s.dialled, s.cut = now, left < s.service.ConnectTimeout
	s.race.begin(s.Channel().Addresses(), min(left, s.service.ConnectTimeout), now)
	return balancer.Dial
}

func (s *Search) reject(why balancer.Rejection) balancer.Step {
	s.rejection = why
	s.listener.Rejected[why].Add(1)
	s.outcome.Rejection = why
	return balancer.Reject
}

// Cause returns why the session ends whose search has come to Reject.
func (s *Search) Cause() Cause {
	switch s.rejection {
	case balancer.QueueFull:
		return QueueFull
	case balancer.QueueTimeout:
		return QueueTimeout
	case balancer.TooLate:
		return ConnectDeadline
	}
	return NoChannel
}

// deadline returns when the client is to be connected.
func (s *Search) deadline() int64 { return after(s.began, s.service.ConnectDeadline) }

// after returns when a time is over that began then; it has no end if it is 0.
func after(then int64, d time.Duration) int64 {
	if d == 0 {
		return math.MaxInt64
	}
	return then + min(int64(d), math.MaxInt64-then)
}

// Enqueue has the client wait for a slot, and returns Wait if it does; else what Next
// would return, but never Wait. While the client waits, the plane calls Woken after
// the waiter was woken, Patient when the time it returned is over, and Close if the
// client leaves.
func (s *Search) Enqueue(waiter balancer.Waiter, now int64) balancer.Step {
	for {
		switch s.route.Wait(waiter, now) {
		case balancer.Wait:
			s.queued = now
			return balancer.Wait
		case balancer.Dial:
			return s.reserved(now)
		}
		if !s.renew(now) {
			return s.reject(s.route.Rejection())
		}
		if step := s.Next(now); step != balancer.Wait {
			return step
		}
	}
}

// Woken returns Dial if the client that waits was given a slot, Reject if that is too
// late or there is nothing to wait for any more, and Wait if it still waits; then
// Patient is to be called.
func (s *Search) Woken(now int64) balancer.Step {
	switch s.route.Woken() {
	case balancer.Dial:
		return s.reserved(now)
	case balancer.Reject:
		return s.reject(s.route.Rejection())
	}
	return balancer.Wait
}

// Patient returns Wait, and for how long the client may still wait, unless that is
// over; then it is Reject, or Dial if the client was given a slot by then.
func (s *Search) Patient(now int64) (balancer.Step, time.Duration) {
	if current := s.listener.Service(); current.Router != s.service.Router {
		s.service = current // the route is in its router, or about to be
	}
	timeout, deadline := after(s.queued, s.service.QueueTimeout), s.deadline()
	if left := min(timeout, deadline) - now; left > 0 {
		return balancer.Wait, time.Duration(left)
	}
	why := balancer.QueueTimeout
	if now >= deadline {
		why = balancer.TooLate
	}
	if s.route.GiveUp(why) == balancer.Dial {
		return s.reserved(now), 0
	}
	return s.reject(why), 0
}

// Channel returns the channel whose slot is held, or nil.
func (s *Search) Channel() *balancer.Channel { return s.route.Channel() }

// Group returns the number of the group that the channel is in.
func (s *Search) Group() int { return s.route.Group() }

// Service returns what the search follows.
func (s *Search) Service() *Service { return s.service }

// AttemptFailed takes note of why an attempt failed. One for which this machine
// lacked something is made again: after the pause of the shortage, and before any
// other begins, or, where there was no port, when there may be one, while others
// begin. That there was none is logged, once a second. One to a channel whose backlog
// is full is made again, too.
func (s *Search) AttemptFailed(a Attempt, err error, shortage time.Duration, now int64) {
	switch {
	case Exhausted(err):
		s.again(a, err, now+int64(shortage))
		s.due = max(s.due, now+int64(shortage+AttemptDelay))
	case errors.Is(err, ErrNoPort):
		if !errors.Is(a.Lack, ErrNoPort) {
			s.hasten(a, now)
			s.service.complaints.Add()
			s.tell(&s.service.complaints, slog.LevelWarn, "cannot dial yet", s.Channel(), now, "error", err)
		}
		s.again(a, err, now+int64(portLook))
	case errors.Is(err, ErrBacklog):
		s.again(a, err, now+int64(portLook))
	default:
		s.race.failed(a, err, now)
	}
}

// Failed gives up the channel, and logs that: loudly only if it changes
// something about the channel or if this machine is to blame, and once a second.
func (s *Search) Failed(now int64) {
	s.err = s.lost()
	if s.cut && s.Left(now) <= 0 {
		s.err = fmt.Errorf("%w: %w", balancer.ErrTooLate, s.err)
	}
	s.lacking = Exhausted(s.err) || errors.Is(s.err, ErrNoPort)
	channel := s.Channel()
	s.tried(channel, s.err)
	text, throttle := "channel fails", &channel.Failings
	change := s.route.Failed(s.err, now)
	s.report(channel, change, s.err)
	why := []any{"error", s.err}
	if d := channel.HeldOff(now); d > 0 {
		why = append(why, "held_off", d.Round(time.Millisecond))
	}
	switch {
	case change == balancer.Disabled:
		s.options.Log.Warn("channel autodisabled", append(s.attrs(channel), "error", s.err)...)
		return
	case change == balancer.Failing:
		throttle.Add()
	case errors.Is(s.err, balancer.ErrTooLate):
	case errors.Is(s.err, balancer.ErrDisagrees):
		text, throttle = "channel does not agree", &s.service.complaints
		throttle.Add()
	case balancer.Local(s.err):
		text, throttle = "cannot dial", &s.service.complaints
		throttle.Add()
	}
	if !s.tell(throttle, slog.LevelWarn, text, channel, now, why...) {
		s.options.Log.Debug("channel fails", append(s.attrs(channel), why...)...)
	}
}

// Connected ends the search: an address of the channel answered. It logs that if
// it is news, once a second. The slot is the session's from then on, who gives
// it back with Close, or, if the session does not keep the Search, with
// balancer.Channel.Leave.
func (s *Search) Connected(now int64) {
	s.outcome = Outcome{Connected: true}
	s.greeting.settle()
	channel := s.Channel()
	if s.route.Connected(time.Duration(now-s.dialled), now) == balancer.Recovered {
		s.report(channel, balancer.Recovered, nil)
		channel.Recoveries.Add()
	}
	s.tell(&channel.Recoveries, slog.LevelInfo, "channel answers again", channel, now)
}

// Close gives back the slot that is held, or the place in the queue, if any.
func (s *Search) Close(now int64) { s.route.Close(now) }

// report tells who asked for it what an attempt came to.
func (s *Search) report(channel *balancer.Channel, change balancer.Change, err error) {
	if s.options.Tried != nil {
		s.options.Tried(s.listener, channel, change, err)
	}
}

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
	attrs := append(s.attrs(channel), more...)
	if n > 1 {
		attrs = append(attrs, "left_out", n-1)
	}
	s.options.Log.Log(context.Background(), level, text, attrs...)
	return true
}

// attrs returns how a line of the log names a channel of the listener.
func (s *Search) attrs(channel *balancer.Channel) []any {
	return append([]any{"listener", s.service.Name, "group", s.Group()}, channel.Attrs()...)
}
