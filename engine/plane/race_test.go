package plane

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"balance/engine/balancer"
)

// addresses returns n of them, the ports of which count from 1.
func addresses(n int) (addrs []netip.AddrPort) {
	for i := range n {
		addrs = append(addrs, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(i+1)))
	}
	return addrs
}

// played is a race on a clock that the test moves.
type played struct {
	race
	now  int64
	made []Attempt // by the port of their address, from 1; those under way or failed
}

func newPlayed(n int, timeout time.Duration) *played {
	p := &played{now: second, made: make([]Attempt, n+1)}
	p.begin(addresses(n), timeout, p.now)
	return p
}

// due makes the attempts that are due, and returns the ports of their addresses.
func (p *played) due() (ports []int) {
	for a, ok := p.Attempt(p.now); ok; a, ok = p.Attempt(p.now) {
		port := int(a.Addr.Port())
		p.made[port] = a
		ports = append(ports, port)
	}
	return ports
}

func (p *played) fail(port int, err error) { p.failed(p.made[port], err, p.now) }

func TestRaceBeginsOneAttemptAfterTheOther(t *testing.T) {
	const ms, forever = time.Millisecond, 10 * time.Second
	type step struct {
		pass  time.Duration // before
		fails int           // port of the address that fails then
		due   []int         // ports of the addresses that are tried then
		wait  time.Duration // until there is something to do again
	}
	for name, test := range map[string]struct {
		addresses int
		steps     []step
	}{
		"One":     {1, []step{{0, 0, []int{1}, forever}, {forever - ms, 0, nil, ms}}},
		"Silent":  {3, []step{{0, 0, []int{1}, 250 * ms}, {249 * ms, 0, nil, ms}, {ms, 0, []int{2}, 250 * ms}, {250 * ms, 0, []int{3}, forever - 500*ms}}},
		"Refused": {3, []step{{0, 0, []int{1}, 250 * ms}, {10 * ms, 1, []int{2}, 250 * ms}, {10 * ms, 2, []int{3}, forever - 20*ms}}},
		// The third begins 250 ms after the second, whatever the first came to.
		"FirstFailsLate": {3, []step{{0, 0, []int{1}, 250 * ms}, {250 * ms, 0, []int{2}, 250 * ms}, {100 * ms, 1, nil, 150 * ms}, {150 * ms, 0, []int{3}, forever - 500*ms}}},
		"Stopped":        {3, []step{{0, 0, []int{1}, 250 * ms}, {5 * time.Second, 0, []int{2}, 250 * ms}}},
		"NoTime":         {2, []step{{0, 0, []int{1}, 250 * ms}, {forever, 0, nil, 0}}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlayed(test.addresses, forever)
			for i, s := range test.steps {
				p.now += int64(s.pass)
				if s.fails > 0 {
					p.fail(s.fails, syscall.ECONNREFUSED)
				}
				if got := p.due(); !slices.Equal(got, s.due) {
					t.Errorf("step %d: tried %v, want %v", i, got, s.due)
				}
				if wait, ok := p.Wait(p.now); !ok || wait != s.wait {
					t.Errorf("step %d: nothing to do for %s (%t), want %s", i, wait, ok, s.wait)
				}
			}
		})
	}
}

// What was never tried, because the time was over before, is not told of.
func TestRaceIsLost(t *testing.T) {
	p := newPlayed(3, time.Second)
	p.due()
	p.now += int64(AttemptDelay)
	p.due()
	p.fail(1, syscall.ECONNREFUSED)
	p.now += int64(time.Second)
	if got := p.due(); got != nil {
		t.Errorf("tried %v after the time was over", got)
	}
	if _, ok := p.Wait(p.now); !ok {
		t.Error("the race is over, with an attempt under way")
	}
	p.fail(2, os.ErrDeadlineExceeded)
	if _, ok := p.Wait(p.now); ok {
		t.Error("the race is not over")
	}
	if got, want := p.lost().Error(), "connection refused; i/o timeout"; got != want {
		t.Errorf("lost: %s, want %s", got, want)
	}
}

// However many addresses there are, few attempts are under way.
func TestRaceIsBounded(t *testing.T) {
	p := newPlayed(100, time.Hour)
	for range 60 {
		p.due()
		p.now += int64(AttemptDelay)
	}
	if p.underWay != MaxAttempts {
		t.Errorf("%d attempts are under way", p.underWay)
	}
	if wait, ok := p.Wait(p.now); !ok || time.Duration(p.deadline-p.now) != wait {
		t.Errorf("there is something to do in %s (%t)", wait, ok)
	}
	p.fail(3, syscall.ECONNREFUSED)
	if got := p.due(); !slices.Equal(got, []int{MaxAttempts + 1}) {
		t.Errorf("after one has failed %v are tried", got)
	}
}

// Who lacks a descriptor makes the same attempt again after the pause, and no
// other before; those under way go on.
func TestRaceWaitsOutAShortage(t *testing.T) {
	l, _ := listening(3)
	s := begin(l, second)
	s.Next(second)
	at := func(after time.Duration) int64 { return second + int64(after) }
	s.Attempt(second)
	const pause = 400 * time.Millisecond
	a, _ := s.Attempt(at(AttemptDelay))
	s.AttemptFailed(a, syscall.EMFILE, pause, at(AttemptDelay))
	if wait, _ := s.Wait(at(AttemptDelay)); wait != pause {
		t.Errorf("it waits for %s", wait)
	}
	if a, ok := s.Attempt(at(AttemptDelay + pause - 1)); ok {
		t.Errorf("%s is tried within the pause", a.Addr)
	}
	a, ok := s.Attempt(at(AttemptDelay + pause))
	if !ok || a.Addr.Port() != 2 || !errors.Is(a.Lack, syscall.EMFILE) {
		t.Errorf("after the pause %s (%t) is tried, which lacked %v", a.Addr, ok, a.Lack)
	}
	if a, ok := s.Attempt(at(AttemptDelay + pause)); ok {
		t.Errorf("%s is tried at once after it", a.Addr)
	}
	if wait, _ := s.Wait(at(AttemptDelay + pause)); wait != AttemptDelay {
		t.Errorf("the next is due after %s", wait)
	}
}

// Without a descriptor until the end, the lack is why.
func TestRaceIsLostForWantOfADescriptor(t *testing.T) {
	l, channels := listening(1)
	s := begin(l, second)
	s.Next(second)
	a, _ := s.Attempt(second)
	s.AttemptFailed(a, syscall.EMFILE, time.Minute, second)
	end := second + int64(10*time.Second)
	if _, ok := s.Wait(end); ok {
		t.Error("the race goes on")
	}
	s.Failed(end)
	if !s.lacking || channels[0].Failing() {
		t.Errorf("this machine is to blame: %t; the channel fails: %t", s.lacking, channels[0].Failing())
	}
}

// place plays an address: what comes of an attempt, and when. One that is silent
// fails when it is given up, or, if it is late, connects then.
type place struct {
	after        time.Duration
	err          error
	silent, late bool
}

// places are addresses that are dialled in a bubble of time.
type places struct {
	at map[uint16]place // by port

	mu     sync.Mutex
	began  []time.Duration // guarded by mu: the attempts, in their order
	open   int             // guarded by mu: connections
	dialed time.Time
}

type placeConn struct {
	net.Conn
	*places
	port uint16
}

func (c *placeConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
	return nil
}

func (p *places) dial(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	p.mu.Lock()
	p.began = append(p.began, time.Since(p.dialed))
	p.mu.Unlock()
	at := p.at[addr.Port()]
	var answer <-chan time.Time
	if !at.silent {
		answer = time.After(at.after)
	}
	select {
	case <-answer:
		if at.err != nil {
			return nil, DialError(balancer.Key{}, addr, at.err)
		}
	case <-ctx.Done():
		if !at.late {
			return nil, DialError(balancer.Key{}, addr, ctx.Err())
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open++
	return &placeConn{places: p, port: addr.Port()}, nil
}

func TestRaceOfConnections(t *testing.T) {
	const ms = time.Millisecond
	silent, refused := place{silent: true}, place{err: syscall.ECONNREFUSED}
	for name, test := range map[string]struct {
		places []place
		port   uint16          // who wins, 0 = nobody
		began  []time.Duration // the attempts
		took   time.Duration
		err    string
	}{
		"One":          {[]place{{after: 400 * ms}}, 1, []time.Duration{0}, 400 * ms, ""},
		"OneRefuses":   {[]place{refused}, 0, []time.Duration{0}, 0, "dial tcp 192.0.2.1:1: connection refused"},
		"OneIsSilent":  {[]place{silent}, 0, []time.Duration{0}, time.Minute, "dial tcp 192.0.2.1:1: context deadline exceeded"},
		"FirstSilent":  {[]place{silent, {after: 20 * ms}}, 2, []time.Duration{0, 250 * ms}, 270 * ms, ""},
		"FirstRefuses": {[]place{refused, {after: 20 * ms}, {}}, 2, []time.Duration{0, 0}, 20 * ms, ""},
		"FirstIsSlow":  {[]place{{after: 300 * ms}, silent}, 1, []time.Duration{0, 250 * ms}, 300 * ms, ""},
		"LateLoser":    {[]place{{silent: true, late: true}, {}}, 2, []time.Duration{0, 250 * ms}, 250 * ms, ""},
		"LastRefuses":  {[]place{{after: 300 * ms}, refused}, 1, []time.Duration{0, 250 * ms}, 300 * ms, ""},
		"AllRefuse":    {[]place{refused, refused}, 0, []time.Duration{0, 0}, 0, "dial tcp 192.0.2.1:1: connection refused; dial tcp 192.0.2.1:2: connection refused"},
		"AllSilent":    {[]place{silent, silent}, 0, []time.Duration{0, 250 * ms}, time.Minute, "context deadline exceeded"},
		"NoAddress":    {nil, 0, nil, 0, "the channel has no address"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				p := &places{at: map[uint16]place{}, dialed: time.Now()}
				for i, at := range test.places {
					p.at[uint16(i+1)] = at
				}
				conn, err := Race(ctx, addresses(len(test.places)), p.dial)
				if took := time.Since(p.dialed); took != test.took {
					t.Errorf("it took %s, want %s", took, test.took)
				}
				if !slices.Equal(p.began, test.began) {
					t.Errorf("the attempts began at %v, want %v", p.began, test.began)
				}
				won := uint16(0)
				if conn != nil {
					won = conn.(*placeConn).port
					conn.Close()
				}
				if won != test.port || p.open != 0 {
					t.Errorf("port %d won, want %d; %d connections are open", won, test.port, p.open)
				}
				if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want %s", err, test.err)
				}
				if test.took == time.Minute && (balancer.FailureOf(err) != balancer.TimedOut) {
					t.Errorf("%v is no timeout", err)
				}
			})
		})
	}
}
