package health

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"balance/engine/balancer"
	"balance/engine/spec"
)

// scheduledResult returns the first result of a target that is checked as it is
// in service.
func scheduledResult(t *testing.T, target Target, addrs ...netip.Addr) Result {
	t.Helper()
	results := make(chan Result, 100)
	c := New(Options{
		Addresses: func(string) []netip.Addr { return addrs },
		Report:    func(_ *balancer.Channel, _ balancer.Health, _ bool, r Result) { results <- r },
	})
	defer c.Close()
	c.Set(map[*balancer.Channel]Target{channelOf(target.Host): target})
	select {
	case r := <-results:
		return r
	case <-time.After(20 * time.Second):
		t.Fatal("no result")
		return Result{}
	}
}

// both makes a check once as it is in service and once as it is on demand, which
// must come to the same.
func both(t *testing.T, target Target, addrs ...netip.Addr) Result {
	t.Helper()
	if len(addrs) == 0 {
		addrs = []netip.Addr{netip.MustParseAddr(target.Host)}
	}
	r := scheduledResult(t, target, addrs...)
	once := Once(context.Background(), target, addrs, nil)
	if once.Outcome != r.Outcome || once.Answer != r.Answer {
		t.Errorf("scheduled it comes to %v, %q, and on demand to %v, %q", r.Outcome, r.Answer, once.Outcome, once.Answer)
	}
	if r.Time.IsZero() || r.Took <= 0 {
		t.Errorf("it began at %v and took %v", r.Time, r.Took)
	}
	return r
}

func tcpTarget(addr net.Addr) Target {
	at := addr.(*net.TCPAddr).AddrPort()
	check := spec.DefaultCheck()
	check.Type = spec.CheckTCP
	return Target{Host: at.Addr().String(), Port: at.Port(), Check: check}
}

func listen(t *testing.T, addr string) *net.TCPListener {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Skipf("cannot listen on %s: %v", addr, err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.(*net.TCPListener)
}

func TestConnects(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		target := tcpTarget(listen(t, addr).Addr())
		if r := both(t, target); r.Outcome != Passed || r.Answer != "connected to "+target.server() {
			t.Errorf("%s: %+v", addr, r)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		ln := listen(t, addr)
		target := tcpTarget(ln.Addr())
		ln.Close()
		if r := both(t, target); r.Outcome != Refused || r.Answer != "connect to "+target.server()+": connection refused" {
			t.Errorf("%s: %+v", addr, r)
		}
	}
}

func TestNamesTellTheirAddress(t *testing.T) {
	ln := listen(t, "127.0.0.1:0")
	target := tcpTarget(ln.Addr())
	target.Host = "db1"
	addr := netip.MustParseAddr("127.0.0.1")
	if r := both(t, target, addr); r.Answer != "connected to "+target.server()+" ("+ln.Addr().String()+")" {
		t.Errorf("%+v", r)
	}
	ln.Close()
	if r := both(t, target, addr); r.Answer != "connect to "+target.server()+": "+ln.Addr().String()+": connection refused" {
		t.Errorf("%+v", r)
	}
}

// TestFirstAddressIsDead has a name whose first address refuses.
func TestFirstAddressIsDead(t *testing.T) {
	ln := listen(t, "127.0.0.1:0")
	target := tcpTarget(ln.Addr())
	target.Host = "db1"
	var steps []string
	r := Once(context.Background(), target, []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.1")},
		func(s Step) { steps = append(steps, s.Name+" "+s.Note) })
	if r.Outcome != Passed {
		t.Errorf("%+v", r)
	}
	if len(steps) != 3 || steps[0] != "resolve 127.0.0.2, 127.0.0.1" || !strings.HasSuffix(steps[1], "connection refused") || !strings.HasSuffix(steps[2], "connected") {
		t.Errorf("steps %q", steps)
	}
	if r := both(t, target, netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")); r.Outcome != Refused || strings.Count(r.Answer, "connection refused") != 2 {
		t.Errorf("%+v", r)
	}
}

// TestFirstAddressIsSilent has a name whose first address does not answer: that
// does not take all of the time.
func TestFirstAddressIsSilent(t *testing.T) {
	addrs := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:80"), netip.MustParseAddrPort("192.0.2.2:80")}
	synctest.Test(t, func(t *testing.T) {
		began, left := time.Now(), 0
		conn, err := race(t.Context(), addrs, func(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
			if addr == addrs[0] {
				<-ctx.Done()
				left++
				return nil, ctx.Err()
			}
			return &net.TCPConn{}, nil
		})
		if conn, err := race(t.Context(), addrs, func(_ context.Context, addr netip.AddrPort) (net.Conn, error) {
			if addr == addrs[0] {
				return nil, syscall.ECONNREFUSED
			}
			return &net.TCPConn{}, nil
		}); conn == nil || err != nil || time.Since(began) != attemptDelay {
			t.Errorf("where the first refuses: %v, %v after %s more", conn, err, time.Since(began)-attemptDelay)
		}
		if conn == nil || err != nil || time.Since(began) != attemptDelay || left != 1 {
			t.Errorf("%v, %v after %s, %d given up", conn, err, time.Since(began), left)
		}
	})
}

func TestNoAddress(t *testing.T) {
	target := targetOf("nowhere")
	target.Check.Type = spec.CheckTCP
	if r := Once(context.Background(), target, nil, nil); r.Outcome != Unreachable || r.Answer != `"nowhere" has no address` {
		t.Errorf("%+v", r)
	}
}

// TestSource has a server see where a check comes from, and a source of the wrong
// family.
func TestSource(t *testing.T) {
	ln := listen(t, "127.0.0.1:0")
	target := tcpTarget(ln.Addr())
	target.Check.Send = "hello"
	target.Source = netip.MustParseAddr("127.0.0.9")
	from := make(chan netip.Addr, 1)
	go func() {
		if conn, err := ln.AcceptTCP(); err == nil {
			conn.Close()
			from <- conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
		}
	}()
	Once(context.Background(), target, []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil)
	select {
	case got := <-from:
		if got != target.Source {
			t.Errorf("it comes from %s, want %s", got, target.Source)
		}
	case <-time.After(5 * time.Second):
		t.Error("it does not come")
	}
	target.Check.Send = ""
	if r := both(t, target); r.Outcome != Passed {
		t.Errorf("%+v", r)
	}
	target.Source = netip.MustParseAddr("::1")
	if r := both(t, target); r.Outcome != Local {
		t.Errorf("with a source of the wrong family: %+v", r)
	}
	target.Source = netip.MustParseAddr("192.0.2.1")
	if r := both(t, target); r.Outcome != Local {
		t.Errorf("with a source that is not of this machine: %+v", r)
	}
}
