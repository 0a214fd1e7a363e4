package balancer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestFailureOf(t *testing.T) {
	dialed := func(errno syscall.Errno) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", errno)}
	}
	for _, test := range []struct {
		err  error
		want string
	}{
		{dialed(syscall.ECONNREFUSED), "refused"},
		{errors.Join(dialed(syscall.ECONNREFUSED), dialed(syscall.ETIMEDOUT)), "refused"},
		{dialed(syscall.ETIMEDOUT), "timeout"},
		{&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, "timeout"},
		{fmt.Errorf("dial: %w", context.DeadlineExceeded), "timeout"},
		{dialed(syscall.ENETUNREACH), "unreachable"},
		{dialed(syscall.EHOSTUNREACH), "unreachable"},
		{dialed(syscall.ECONNRESET), "reset"},
		{dialed(syscall.EMFILE), "local"},
		{dialed(syscall.EADDRNOTAVAIL), "local"},
		{context.Canceled, "local"},
		{dialed(syscall.EPROTO), "other"},
		{errors.New("the channel has no address"), "other"},
	} {
		if got := FailureOf(test.err).String(); got != test.want {
			t.Errorf("%v: got %q, want %q", test.err, got, test.want)
		}
	}
}

func TestHistogram(t *testing.T) {
	var h Histogram
	for _, d := range []time.Duration{-1, 0, 100 * time.Microsecond, 100*time.Microsecond + 1, time.Second, 10 * time.Second, time.Minute} {
		h.Observe(d)
	}
	upTo, count, sum := h.Read()
	if want := 71*time.Second + 200*time.Microsecond + 1; count != 7 || sum != want {
		t.Errorf("count %d, sum %v, want 7 and %v", count, sum, want)
	}
	for i, want := range map[int]uint64{0: 3, 1: 4, 11: 4, 12: 5, 15: 6} {
		if upTo[i] != want {
			t.Errorf("%d at most %v, want %d", upTo[i], Bounds[i], want)
		}
	}
	h.reset()
	if upTo, count, sum := h.Read(); upTo[15] != 0 || count != 0 || sum != 0 {
		t.Errorf("after a reset: %d %d %v", upTo, count, sum)
	}
}

func TestDialStats(t *testing.T) {
	group := roundRobin("a", "b")
	r := NewRouter([]Group{group}, Options{}, nil)
	route := r.Route(client)
	failed, _ := route.Next()
	route.Failed(errRefused)
	answered, _ := route.Next()
	route.Connected(3 * time.Millisecond)
	route.Close()
	if n := failed.Dials.Failed(Refused); n != 1 {
		t.Errorf("%d refused", n)
	}
	if n := answered.Dials.Failed(Refused); n != 0 {
		t.Errorf("%d refused by the channel that answered", n)
	}
	if _, count, sum := answered.Dials.Durations.Read(); count != 1 || sum != 3*time.Millisecond {
		t.Errorf("%d answers in %v", count, sum)
	}
	failed.Dials.Reset()
	if n := failed.Dials.Failed(Refused); n != 0 {
		t.Errorf("%d refused after a reset", n)
	}
}

func TestRejection(t *testing.T) {
	for _, test := range []struct {
		want    string
		prepare func(a, b *Channel)
	}{
		{"failed", func(a, b *Channel) { b.Disable() }},
		{"failed", func(a, b *Channel) { b.SetLimit(1); b.slots.take() }},
		{"full", func(a, b *Channel) { a.Disable(); b.SetLimit(1); b.slots.take() }},
		{"disabled", func(a, b *Channel) { a.Disable(); b.Disable(); b.SetLimit(1); b.slots.take() }},
		{"disabled", func(a, b *Channel) { a.SetAddresses(nil); b.Disable() }},
		{"disabled", func(a, b *Channel) { a.Disable(); b.SetAddresses(nil); b.SetLimit(1); b.slots.take() }},
	} {
		group := roundRobin("a", "b")
		test.prepare(group.Channels[0], group.Channels[1])
		route := NewRouter([]Group{group}, Options{}, nil).Route(client)
		for {
			if _, ok := route.Next(); !ok {
				break
			}
			route.Failed(errRefused)
		}
		if got := route.Rejection().String(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
	var nowhere Route
	if got := nowhere.Rejection(); got != NoneInService {
		t.Errorf("a route without a router: %q", got)
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	r := NewRouter([]Group{roundRobin("a", "b")}, Options{}, nil)
	addr := netip.MustParseAddr("192.0.2.1")
	if n := testing.AllocsPerRun(100, func() {
		route := r.Route(addr)
		route.Next()
		route.Connected(time.Millisecond)
		route.Close()
	}); n > 0 {
		t.Errorf("%v allocations a journey", n)
	}
}
