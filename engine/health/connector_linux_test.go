package health

import (
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"balance/engine/balancer"
)

// TestNothingToAccept watches from the server's side what a check is that only
// connects: nothing.
func TestNothingToAccept(t *testing.T) {
	ln := listen(t, "127.0.0.1:0")
	if r := both(t, tcpTarget(ln.Addr())); r.Outcome != Passed {
		t.Fatalf("%+v", r)
	}
	ln.SetDeadline(time.Now().Add(50 * time.Millisecond))
	if conn, err := ln.Accept(); !os.IsTimeout(err) {
		t.Errorf("the server accepted %v, %v", conn, err)
	}
}

// deaf returns a listener that drops every SYN: its queue is full.
func deaf(t *testing.T) net.Addr {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, _ := unix.Getsockname(fd)
	addr := net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(name.(*unix.SockaddrInet4).Port)))
	for {
		conn, err := net.DialTimeout("tcp", addr.String(), 300*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { conn.Close() })
	}
}

func TestTimedOut(t *testing.T) {
	target := tcpTarget(deaf(t))
	target.Check.Timeout = 150 * time.Millisecond
	r := both(t, target)
	if want := "connect to " + target.server() + ": no answer within 150ms"; r.Outcome != TimedOut || r.Answer != want {
		t.Errorf("%+v, want %q", r, want)
	}
	if r.Took < target.Check.Timeout {
		t.Errorf("it took %s", r.Took)
	}
}

// TestSlowToConnect has checks wait for an answer while others come to their end,
// are cancelled, or run out of time.
func TestSlowToConnect(t *testing.T) {
	quiet, lives := tcpTarget(deaf(t)), tcpTarget(listen(t, "127.0.0.1:0").Addr())
	quiet.Check.Timeout, lives.Check.Interval = 400*time.Millisecond, 20*time.Millisecond
	var passed, late, other atomic.Int64
	c := New(Options{
		Addresses: func(host string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(host)} },
		Report: func(_ *balancer.Channel, _ balancer.Health, _ bool, r Result) {
			switch r.Outcome {
			case Passed:
				passed.Add(1)
			case TimedOut:
				late.Add(1)
			default:
				other.Add(1)
			}
		},
	})
	defer c.Close()
	going := quiet
	going.Check.Timeout = time.Hour
	set := map[*balancer.Channel]Target{channelOf("lives"): lives, channelOf("quiet"): quiet}
	goes := channelOf("goes")
	set[goes] = going
	c.Set(set)
	await(t, func() bool { return passed.Load() > 5 && late.Load() > 0 })
	delete(set, goes)
	c.Set(set)
	await(t, func() bool {
		c.connector.mu.Lock()
		defer c.connector.mu.Unlock()
		for _, a := range c.connector.pending {
			if a.target.Check.Timeout == time.Hour {
				return false
			}
		}
		return true
	})
	if other.Load() > 0 {
		t.Errorf("%d results are others", other.Load())
	}
}

func await(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not happen")
		}
	}
}

// TestSocketsAreUsedAgain checks many targets, those of IPv6 among them, and some
// where nobody listens, over and over, and looks at how many descriptors it takes.
func TestSocketsAreUsedAgain(t *testing.T) {
	ln := listen(t, "127.0.0.1:0")
	target := tcpTarget(ln.Addr())
	target.Check.Interval, target.Check.DownInterval = 20*time.Millisecond, 20*time.Millisecond
	set := map[*balancer.Channel]Target{}
	for i := range 60 {
		each := target
		each.Host = netip.AddrFrom4([4]byte{127, 0, 0, 1}).String()
		if i%3 == 1 {
			each.Host = "127.0.0.2" // nobody listens there
		}
		each.Check.Fall = i + 1 // each another target
		set[channelOf(each.Host)] = each
	}
	var results [Outcomes]atomic.Int64
	c := New(Options{
		Addresses: func(host string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(host)} },
		Report: func(_ *balancer.Channel, _ balancer.Health, _ bool, r Result) {
			results[r.Outcome].Add(1)
		},
	})
	before := descriptors(t)
	c.Set(set)
	await(t, func() bool { return results[Passed].Load() > 2000 && results[Refused].Load() > 500 })
	if n := descriptors(t) - before; n > maxRunning+4 {
		t.Errorf("%d descriptors are open", n)
	}
	ln.SetDeadline(time.Now().Add(50 * time.Millisecond))
	if conn, err := ln.Accept(); !os.IsTimeout(err) {
		t.Errorf("the server accepted %v, %v", conn, err)
	}
	for i := range results {
		if n := results[i].Load(); n > 0 && Outcome(i) != Passed && Outcome(i) != Refused {
			t.Errorf("%d checks came to %v", n, Outcome(i))
		}
	}
	c.Close()
	if n := descriptors(t) - before; n > 0 {
		t.Errorf("%d descriptors are left open", n)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestNobodyButItself has a socket that is connected to itself: nobody is there.
func TestNobodyButItself(t *testing.T) {
	ln := listen(t, "127.0.0.1:0")
	target := tcpTarget(ln.Addr())
	ln.Close()
	// connect would pick it by chance; bind makes sure of it.
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), target.Port)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, sockaddr(at)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, sockaddr(at)); err != nil {
		t.Fatal(err)
	}
	c := &connector{picked: 1}
	if err := c.outcome(&attempt{fd: fd, addr: at}, false); err == nil {
		t.Error("a connection to itself passes")
	}
}

// TestNoDescriptors takes all descriptors away: that is nothing that a channel
// could help.
func TestNoDescriptors(t *testing.T) {
	target := tcpTarget(listen(t, "127.0.0.1:0").Addr())
	var last atomic.Pointer[Result]
	c := New(Options{
		Addresses: func(host string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(host)} },
		Report:    func(_ *balancer.Channel, _ balancer.Health, _ bool, r Result) { last.Store(&r) },
	})
	defer c.Close()
	target.Check.Interval = 20 * time.Millisecond
	channel := channelOf("a")
	c.Set(map[*balancer.Channel]Target{channel: target})
	await(t, func() bool { return last.Load() != nil && last.Load().Outcome == Passed })
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 3
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	another := target
	another.Source = netip.MustParseAddr("127.0.0.1") // which takes a socket of its own
	r := Once(t.Context(), another, []netip.Addr{another.Source}, nil)
	b := channelOf("b")
	c.Set(map[*balancer.Channel]Target{channel: target, b: another})
	time.Sleep(100 * time.Millisecond)
	status, _ := c.Status(b)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	for _, r := range []Result{r, status.Last} {
		if r.Outcome != Local || r.Answer != "connect to "+target.server()+": too many open files" {
			t.Errorf("without a descriptor: %+v", r)
		}
	}
	if status.Health != balancer.Unchecked {
		t.Errorf("without a descriptor it is %s", status.Health)
	}
	await(t, func() bool { s, _ := c.Status(b); return s.Health == balancer.Healthy })
}
