package balancer

import (
	"context"
	"errors"
	"fmt"
	"net"
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
		{&net.OpError{Op: "dial", Addr: &net.TCPAddr{IP: net.IPv6loopback}, Err: os.NewSyscallError("connect", syscall.EACCES)}, "unreachable"},
		{&net.OpError{Op: "dial", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, Err: os.NewSyscallError("connect", syscall.EACCES)}, "local"},
		{&net.OpError{Op: "dial", Addr: &net.TCPAddr{IP: net.IPv6loopback}, Err: os.NewSyscallError("bind", syscall.EACCES)}, "local"},
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
	group := rr("a", "b")
	r := NewRouter([]Group{group}, Options{}, nil)
	route := r.Route(client, 0)
	route.Next(0)
	failed := route.Channel()
	route.Failed(errRefused, 0)
	route.Next(0)
	answered := route.Channel()
	route.Connected(3*time.Millisecond, 0)
	route.Close(0)
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

func TestCountingAllocatesNothing(t *testing.T) {
	r := NewRouter([]Group{rr("a", "b")}, Options{}, nil)
	if n := testing.AllocsPerRun(100, func() {
		route := r.Route(client, 0)
		route.Next(0)
		route.Connected(time.Millisecond, 0)
		route.Close(0)
	}); n > 0 {
		t.Errorf("%v allocations a journey", n)
	}
}
