package plane

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"balance/engine/balancer"
)

// search tries the first channel, which answers if err is nil.
func search(t *testing.T, options *Options, listener *Listener, err error) {
	t.Helper()
	now := time.Now().UnixNano()
	var s Search
	s.Begin(options, listener, 1, netip.MustParseAddrPort("127.0.0.1:1"), nil, now)
	defer s.Close(now)
	if s.Next(now) != balancer.Dial {
		t.Fatal("the channel is not to be had")
	}
	if err != nil {
		s.Undialled(err)
		s.Failed(now)
	} else {
		s.Connected(now)
	}
}

// A machine without ports fails each client, and says so once a second.
func TestLocalFailuresAreLoggedOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		options := Options{Log: slog.New(slog.NewTextHandler(&log, nil))}
		channel := balancer.NewChannel(balancer.Key{Host: "127.0.0.1", Port: 1})
		channel.SetAddresses([]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")})
		listener := new(Listener)
		listener.SetService(&Service{Name: "web", Router: balancer.NewRouter([]balancer.Group{{Channels: []*balancer.Channel{channel}}}, balancer.Options{}, nil)})
		for range 3 {
			for range 100 {
				search(t, &options, listener, errors.Join(errors.New("dial"), syscall.EADDRNOTAVAIL))
			}
			time.Sleep(time.Second)
		}
		if n := strings.Count(log.String(), "cannot dial"); n != 3 {
			t.Errorf("%d lines in three seconds:\n%s", n, log.String())
		}
		if n := strings.Count(log.String(), "left_out=99\n"); n != 2 {
			t.Errorf("%d lines say that 99 were left out:\n%s", n, log.String())
		}
	})
}

// A channel that comes and goes is told of once a second, with what was left
// out; and the last word is the truth.
func TestFlappingIsLoggedOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		options := Options{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				switch a.Key {
				case slog.MessageKey, "left_out":
					return a
				}
				return slog.Attr{}
			},
		}))}
		channel := balancer.NewChannel(balancer.Key{Host: "127.0.0.1", Port: 1})
		channel.SetAddresses([]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")})
		listener := new(Listener)
		listener.SetService(&Service{Name: "web", Router: balancer.NewRouter([]balancer.Group{{Channels: []*balancer.Channel{channel}}}, balancer.Options{}, nil)})
		dial := func(err error) { search(t, &options, listener, err) }
		for range 2 {
			for range 100 {
				dial(syscall.ECONNREFUSED)
				dial(nil)
			}
			time.Sleep(time.Second)
		}
		dial(nil) // what it said last is so still
		time.Sleep(time.Second)
		dial(nil)
		dial(syscall.ECONNREFUSED)
		dial(nil)
		dial(syscall.ECONNREFUSED) // this is not told
		time.Sleep(time.Second)
		dial(syscall.EADDRNOTAVAIL) // nor is it now: that says nothing of the channel
		dial(syscall.ECONNREFUSED)
		dial(syscall.ECONNREFUSED)
		const want = `msg="channel fails"
msg="channel answers again"
msg="channel fails" left_out=99
msg="channel answers again" left_out=99
msg="channel answers again" left_out=98
msg="channel fails" left_out=99
msg="channel answers again"
msg="cannot dial"
msg="channel fails"
`
		if log.String() != want {
			t.Errorf("log:\n%s\nwant:\n%s", log.String(), want)
		}
	})
}

const second = int64(time.Second)

// listening returns a listener whose channels have so many addresses each, and
// which answers within ten seconds or not at all.
func listening(addresses ...int) (*Listener, []*balancer.Channel) {
	l := new(Listener)
	var channels []*balancer.Channel
	for i, n := range addresses {
		channel := balancer.NewChannel(balancer.Key{Host: "h", Port: 1, Nth: i})
		var addrs []netip.AddrPort
		for port := range n {
			addrs = append(addrs, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(port+1)))
		}
		channel.SetAddresses(addrs)
		channels = append(channels, channel)
	}
	l.SetService(serving(channels...))
	return l, channels
}

func serving(channels ...*balancer.Channel) *Service {
	return &Service{
		Router:         balancer.NewRouter([]balancer.Group{{Channels: channels}}, balancer.Options{}, nil),
		ConnectTimeout: 10 * time.Second,
	}
}

func begin(l *Listener, now int64) *Search {
	s := new(Search)
	s.Begin(&Options{Log: slog.New(slog.DiscardHandler)}, l, 1, netip.MustParseAddrPort("198.51.100.1:1"), nil, now)
	return s
}

// A search goes on with the addresses that it began with, and tells how long it
// took to be answered.
func TestSearchIsARace(t *testing.T) {
	l, channels := listening(2)
	s := begin(l, second)
	if s.Next(second) != balancer.Dial {
		t.Fatal("the channel is not to be had")
	}
	channels[0].SetAddresses(nil)
	for i := range 2 {
		if a, ok := s.Attempt(second + int64(i)*int64(AttemptDelay)); !ok || int(a.Addr.Port()) != i+1 {
			t.Errorf("address %d is %s (%t)", i+1, a.Addr, ok)
		}
	}
	if channels[0].Active() != 1 {
		t.Errorf("two attempts hold %d slots", channels[0].Active())
	}
	s.Connected(second + int64(9*time.Second))
	if _, n, sum := channels[0].Dials.Durations.Read(); n != 1 || sum != 9*time.Second {
		t.Errorf("%d answers in %s", n, sum)
	}
	s.Close(second)
	if channels[0].Active() != 0 {
		t.Error("the slot is lost")
	}
}

// A client that has tried all that there was begins anew if there is something
// else now, and is rejected if not.
func TestSearchFollowsAChange(t *testing.T) {
	l, channels := listening(1, 1)
	tried := func(change func()) (keys []string) {
		s := begin(l, second)
		for s.Next(second) == balancer.Dial {
			keys = append(keys, s.Channel().Key().String())
			s.Undialled(syscall.ECONNREFUSED)
			s.Failed(second)
			change()
			change = func() {}
		}
		return keys
	}
	if got := tried(func() {}); !slices.Equal(got, []string{"h:1", "h:1#2"}) {
		t.Errorf("tried %v", got)
	}
	if got := tried(func() { l.SetService(serving(channels[1])) }); !slices.Equal(got, []string{"h:1", "h:1#2", "h:1#2"}) {
		t.Errorf("tried %v around a change", got)
	}
	if n := l.Rejected[balancer.NoneAnswered].Load(); n != 2 {
		t.Errorf("%d clients were rejected", n)
	}
}

// Time that went to waiting for what this machine lacked is not missed by the
// channel; a refusal after it is the channel's own.
func TestALackTakesTheTime(t *testing.T) {
	for err, lacking := range map[error]bool{os.ErrDeadlineExceeded: true, syscall.ECONNREFUSED: false} {
		l, channels := listening(1, 1)
		s := begin(l, second)
		s.Next(second)
		a, _ := s.Attempt(second)
		s.AttemptFailed(a, syscall.EMFILE, 0, second)
		a, _ = s.Attempt(second)
		s.AttemptFailed(a, err, 0, second)
		s.Failed(second)
		if next := s.Next(second) == balancer.Dial; next == lacking || channels[0].Failing() == lacking {
			t.Errorf("%v: another channel is tried: %t, the first one fails: %t", err, next, channels[0].Failing())
		}
	}
}

// What this machine lacks for one channel it lacks for all.
func TestALackEndsTheSearch(t *testing.T) {
	l, channels := listening(1, 1)
	s := begin(l, second)
	s.Next(second)
	s.Undialled(DialError(balancer.Key{}, s.addrs[0], syscall.EMFILE))
	s.Failed(second)
	l.SetService(serving(channels[1]))
	if s.Next(second) != balancer.Reject || l.Rejected[balancer.NoneAnswered].Load() != 1 {
		t.Error("the search goes on")
	}
	if n := channels[0].Dials.Failed(balancer.LocalFailure); n != 1 || channels[0].Failing() || channels[0].Active() != 0 {
		t.Errorf("%d local failures, failing %t, %d active", n, channels[0].Failing(), channels[0].Active())
	}
}

// An address waits for a port while the others are tried, until the time of all
// is over; no channel is to blame, and none of another group is tried.
func TestAwaitPort(t *testing.T) {
	l, channels := listening(3, 1)
	s := begin(l, second)
	s.Next(second)
	noPort := fmt.Errorf("%w: %w", ErrNoPort, syscall.EADDRNOTAVAIL)
	at := func(after time.Duration) int64 { return second + int64(after) }
	for _, step := range []struct {
		after, wait time.Duration
		port        uint16 // of the attempt that is due, 0 = none
		err         error
	}{
		{0, 0, 1, noPort}, // the next is due at once
		{0, portLook, 2, nil},
		{portLook - 1, 1, 0, nil},
		{portLook, portLook, 1, noPort}, // and that it looks again does not make the third due
		{2 * portLook, portLook, 1, noPort},
		{AttemptDelay, 0, 1, noPort}, // the third is due, too
		{AttemptDelay, portLook, 3, nil},
		{10*time.Second - portLook/2, portLook / 2, 1, noPort},
		{10 * time.Second, 0, 0, nil},
	} {
		a, ok := s.Attempt(at(step.after))
		if ok != (step.port != 0) || a.Addr.Port() != step.port {
			t.Errorf("after %s: %s (%t), want port %d", step.after, a.Addr, ok, step.port)
		}
		if step.err != nil {
			s.AttemptFailed(a, step.err, 0, at(step.after))
		}
		if wait, ok := s.Wait(at(step.after)); !ok || wait != min(step.wait, 10*time.Second-step.after) {
			t.Errorf("after %s: a wait of %s (%t), want %s", step.after, wait, ok, step.wait)
		}
	}
	for nth := 1; nth < 3; nth++ {
		s.AttemptFailed(Attempt{Addr: s.addrs[nth], nth: nth}, DialError(balancer.Key{}, s.addrs[nth], os.ErrDeadlineExceeded), 0, at(10*time.Second))
	}
	if wait, ok := s.Wait(at(10 * time.Second)); ok {
		t.Errorf("there is something to wait for still, for %s", wait)
	}
	s.Failed(at(10 * time.Second))
	if s.Next(at(10*time.Second)) != balancer.Reject || l.Rejected[balancer.NoneAnswered].Load() != 1 {
		t.Error("the search goes on")
	}
	if n := channels[0].Dials.Failed(balancer.LocalFailure); n != 1 || channels[0].Failing() || channels[0].Active() != 0 {
		t.Errorf("%d local failures, failing %t, %d active", n, channels[0].Failing(), channels[0].Active())
	}
}

// Who asked for it is told of each failure, and of the first answer after one; the
// log tells for how long a channel is held off.
func TestTriedIsTold(t *testing.T) {
	var log bytes.Buffer
	var told []string
	options := &Options{
		Log: slog.New(slog.NewTextHandler(&log, nil)),
		Tried: func(listener *Listener, channel *balancer.Channel, change balancer.Change, err error) {
			told = append(told, fmt.Sprint(channel.Key(), " ", change, " ", err))
		},
	}
	l, channels := listening(1)
	service := serving(channels...)
	service.Name = "web"
	service.Router = balancer.NewRouter(service.Router.Groups(), balancer.Options{HoldOff: time.Second, HoldOffMax: time.Minute}, nil)
	l.SetService(service)
	now := second
	for _, err := range []error{nil, syscall.ECONNREFUSED, syscall.ECONNREFUSED, syscall.EADDRNOTAVAIL, nil, nil} {
		var s Search
		s.Begin(options, l, 1, netip.AddrPort{}, nil, now)
		if s.Next(now) != balancer.Dial {
			t.Fatal("the channel is not to be had")
		}
		if err != nil {
			s.Undialled(err)
			s.Failed(now)
		} else {
			s.Connected(now)
		}
		s.Close(now)
		now += 10 * second
	}
	want := []string{
		fmt.Sprint("h:1 ", balancer.Failing, " ", syscall.ECONNREFUSED),
		fmt.Sprint("h:1 ", balancer.Unchanged, " ", syscall.ECONNREFUSED),
		fmt.Sprint("h:1 ", balancer.Unchanged, " ", syscall.EADDRNOTAVAIL),
		fmt.Sprint("h:1 ", balancer.Recovered, " ", nil),
	}
	if !slices.Equal(told, want) {
		t.Errorf("told\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
	lines := strings.Split(log.String(), "\n")
	if !regexp.MustCompile(`msg="channel fails" listener=web .* error="connection refused" held_off=([89]\d\dms|1(\.[012]\d*)?s)$`).MatchString(lines[0]) {
		t.Errorf("the log says\n%s", log.String())
	}
	if strings.Contains(lines[1], "held_off") {
		t.Errorf("a channel that is not held off is told to be:\n%s", lines[1])
	}
}
