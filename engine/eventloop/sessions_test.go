//go:build linux

package eventloop

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"balance/engine/balancer"
	"balance/engine/plane"
	"balance/engine/socket"
)

// newServed returns a plane of event loops that relays to a server on
// loopback, and where clients connect to. Both end with the test.
func newServed(t *testing.T, loops int, service *plane.Service, serve func(*net.TCPConn)) (*Plane, *plane.Listener, netip.AddrPort, plane.Acceptor) {
	t.Helper()
	server, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	if serve != nil {
		go func() {
			for {
				conn, err := server.AcceptTCP()
				if err != nil {
					return
				}
				go serve(conn)
			}
		}()
	}
	channel := balancer.NewChannel(balancer.Key{Host: "server"})
	channel.SetAddresses([]netip.AddrPort{server.Addr().(*net.TCPAddr).AddrPort()})
	service.Router = balancer.NewRouter([]balancer.Group{{Channels: []*balancer.Channel{channel}}}, balancer.Options{}, nil)
	service.ConnectTimeout = 10 * time.Second
	p, err := New(plane.Options{Log: slog.New(slog.DiscardHandler)}, loops)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := socket.Open(context.Background(), netip.MustParseAddrPort("127.0.0.1:0"), false)
	if err != nil {
		t.Fatal(err)
	}
	acceptor, err := p.Adopt(opened)
	if err != nil {
		t.Fatal(err)
	}
	listener := new(plane.Listener)
	listener.SetService(service)
	acceptor.Serve(listener)
	t.Cleanup(func() {
		acceptor.Stop()
		opened.Close()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		p.Shutdown(ctx)
	})
	return p, listener, opened.Addr(), acceptor
}

// connect opens a client without the memory and the goroutines of package net.
// The caller closes it.
func connect(t *testing.T, addr netip.AddrPort) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
		t.Fatal(err)
	}
	return fd
}

// eventually asks again until the answer is yes.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func (p *Plane) count(state plane.State) int {
	n := 0
	p.Sessions(func(s plane.Session) bool {
		if s.State == state {
			n++
		}
		return true
	})
	return n
}

// Idle sessions cost memory in the slab and nothing else, and no loop has many
// more of them than the others.
func TestIdleSessions(t *testing.T) {
	const sessions, loops = 2000, 3
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 4*sessions {
		t.Skipf("%d sessions and their peers need more than %d descriptors", sessions, limit.Cur)
	}
	// The server accepts nobody: the kernel connects those who fit its queue.
	p, _, addr, _ := newServed(t, loops, &plane.Service{}, nil)
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // what a sync.Pool holds goes with the second
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	clients := make([]int, sessions)
	t.Cleanup(func() {
		for _, fd := range clients {
			unix.Close(fd)
		}
	})
	goroutines, before := runtime.NumGoroutine(), heap()
	for i := range clients {
		clients[i] = connect(t, addr)
	}
	eventually(t, "all sessions relay", func() bool { return p.count(plane.Relaying) == sessions })
	if each := (heap() - before) / sessions; each > 576 {
		t.Errorf("%d bytes a session", each)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
	for i, l := range p.loops {
		// Which loop the kernel wakes is its own affair, above all with fewer processors.
		if live := l.live.Load(); live > sessions/loops*2 {
			t.Errorf("loop %d has %d of %d sessions", i, live, sessions)
		}
		l.mailbox.do(func() {
			if l.pipes.out+len(l.pipes.idle) > 0 {
				t.Errorf("loop %d has %d pipes for idle sessions", i, l.pipes.out+len(l.pipes.idle))
			}
		})
	}
	odd := func(s *plane.Session) bool { return s.ID%2 == 1 }
	if n := p.Abort(plane.Operator, odd); n != sessions/2 {
		t.Errorf("aborted %d sessions, want %d", n, sessions/2)
	}
	if n := p.count(plane.Relaying); n != sessions-sessions/2 {
		t.Errorf("%d sessions are left, want %d", n, sessions/2)
	}
}

// Bulk goes through pipes, which are closed some time after.
func TestBulkIsSpliced(t *testing.T) {
	const size = 64 << 20
	p, _, addr, _ := newServed(t, 1, &plane.Service{}, func(conn *net.TCPConn) {
		defer conn.Close()
		conn.Write(make([]byte, size))
	})
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if n, err := io.Copy(io.Discard, conn); n != size || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	l := p.loops[0]
	idle := func() (n int) {
		l.mailbox.do(func() { n = len(l.pipes.idle) })
		return n
	}
	if idle() == 0 {
		t.Error("there is no pipe")
	}
	l.mailbox.do(func() {
		l.now += int64(pipeRest)
		l.pipes.expire(l)
	})
	if n := idle(); n > 0 {
		t.Errorf("%d pipes are left", n)
	}
}

// A read stops short at urgent data (tcp(7)), which is neither an empty queue
// nor, behind an end of stream, the end.
func TestUrgentDataDoesNotEndAStream(t *testing.T) {
	got := make(chan int, 1)
	_, _, addr, _ := newServed(t, 1, &plane.Service{}, func(conn *net.TCPConn) {
		defer conn.Close()
		n, _ := io.Copy(io.Discard, conn)
		got <- int(n)
	})
	for range 20 {
		fd := connect(t, addr)
		unix.Write(fd, make([]byte, 1000))
		unix.Sendto(fd, []byte("!"), unix.MSG_OOB, nil)
		unix.Write(fd, make([]byte, 1000))
		unix.Close(fd)
		if n := <-got; n != 2000 { // the urgent byte is no part of the stream
			t.Fatalf("%d bytes, want 2000", n)
		}
	}
}

// Accepted connections inherit the options of the listening socket, and these
// follow the service. The connection to the channel has them once it has lived
// for a while.
func TestInheritedOptions(t *testing.T) {
	p, listener, addr, acceptor := newServed(t, 1, &plane.Service{KeepAlive: 7 * time.Second, UserTimeout: 70 * time.Second}, nil)
	option := func(which, level, name int) int {
		value := -1
		p.loops[0].mailbox.do(func() {
			for i := range p.loops[0].slab.pages[0] {
				if s := &p.loops[0].slab.pages[0][i]; s.state != vacant {
					value, _ = unix.GetsockoptInt(int(s.sides[which].fd), level, name)
				}
			}
		})
		return value
	}
	check := func(keepAlive, interval, userTimeout int) {
		t.Helper()
		defer unix.Close(connect(t, addr))
		eventually(t, "it relays", func() bool { return p.count(plane.Relaying) == 1 })
		for _, o := range []struct{ level, name, want int }{
			{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE, keepAlive},
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, interval},
			{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, interval},
			{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, userTimeout},
		} {
			if got := option(client, o.level, o.name); got != o.want {
				t.Errorf("option %d of level %d is %d, want %d", o.name, o.level, got, o.want)
			}
		}
		eventually(t, "the channel is probed", func() bool {
			return option(server, unix.SOL_SOCKET, unix.SO_KEEPALIVE) == keepAlive &&
				option(server, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE) == interval &&
				option(server, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL) == interval &&
				option(server, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT) == userTimeout
		})
		p.Abort(plane.Operator, func(*plane.Session) bool { return true })
	}
	check(1, 7, 70_000)
	changed := *listener.Service()
	changed.KeepAlive, changed.UserTimeout = 11*time.Second, time.Microsecond
	listener.SetService(&changed)
	acceptor.Serve(listener)
	check(1, 11, 1)
}
