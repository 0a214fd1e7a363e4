// Package planetest is the suite that every data plane must pass: it drives a
// plane over loopback, as clients and servers would.
package planetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"balance/engine/admit"
	"balance/engine/balancer"
	"balance/engine/plane"
	"balance/engine/socket"
)

// patience bounds every wait of the suite.
const patience = 20 * time.Second

// rig is a plane with servers behind it. It ends with the test.
type rig struct {
	testing.TB
	plane  plane.Plane
	log    *logBuffer
	ends   chan plane.End
	dump   *plane.Dump // nil but for newRigWith
	budget *plane.Budget

	records plane.Records
	began   chan plane.Session // that records wanted
}

func newRig(t testing.TB, newPlane New) *rig { return newRigWith(t, newPlane, nil) }

func newRigWith(t testing.TB, newPlane New, dump io.Writer) *rig {
	r := &rig{TB: t, log: new(logBuffer), ends: make(chan plane.End, 1<<16), budget: plane.NewBudget(), began: make(chan plane.Session, 64)}
	options := plane.Options{
		Budget:  r.budget,
		Records: &r.records,
		Began:   func(s plane.Session) { r.began <- s },
		Log:     slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Ended: func(end plane.End) {
			select {
			case r.ends <- end:
			default: // a benchmark, which asks for none
			}
		},
	}
	if dump != nil {
		r.dump = plane.NewDump(dump, options.Log)
		options.Dump = r.dump
	}
	before := openDescriptors(t)
	r.plane = newPlane(options)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		r.plane.Shutdown(ctx)
		if kept := r.budget.Kept(); kept != 0 {
			t.Errorf("%d bytes are said to be kept", kept)
		}
		eventually(t, "all descriptors are closed", func() bool { return openDescriptors(t) <= before })
		if t.Failed() {
			t.Logf("log of the plane:\n%s", r.log)
		}
	})
	return r
}

// door is a listener with one socket.
type door struct {
	*rig
	listener *plane.Listener
	socket   *socket.Socket
	acceptor plane.Acceptor
}

func service(router *balancer.Router) *plane.Service {
	return &plane.Service{Name: "test", Router: router, ConnectTimeout: 5 * time.Second, KeepAlive: 15 * time.Second}
}

func (r *rig) listen(router *balancer.Router) *door {
	r.Helper()
	return r.listenAt("127.0.0.1", service(router))
}

func (r *rig) listenAt(host string, s *plane.Service) *door {
	r.Helper()
	d := r.bind(host, s)
	d.acceptor.Serve(d.listener)
	return d
}

func (r *rig) bind(host string, s *plane.Service) *door {
	r.Helper()
	var addr netip.Addr
	if host != "" {
		addr = netip.MustParseAddr(host)
	}
	opened, err := socket.Open(context.Background(), netip.AddrPortFrom(addr, 0), false)
	if err != nil {
		r.Fatal(err)
	}
	return r.take(opened, s)
}

// take has the plane adopt a socket, which is closed when the test ends.
func (r *rig) take(opened *socket.Socket, s *plane.Service) *door {
	r.Helper()
	acceptor, err := r.plane.Adopt(opened)
	if err != nil {
		r.Fatal(err)
	}
	d := &door{rig: r, listener: &plane.Listener{Sources: admit.NewTable(1 << 10).Sources()}, socket: opened, acceptor: acceptor}
	r.Cleanup(func() {
		d.acceptor.Stop()
		opened.Close()
	})
	if s != nil {
		d.listener.SetService(s)
	}
	return d
}

func (d *door) retire() {
	d.socket.Retire(d.Context(), d.acceptor, slog.New(slog.NewTextHandler(d.log, nil)))
}

// dial connects a client that gives up after patience.
func (d *door) dial() *net.TCPConn {
	d.Helper()
	addr := d.socket.Addr()
	if !addr.Addr().IsValid() {
		addr = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), addr.Port())
	}
	return dialTo(d, addr)
}

func dialTo(t testing.TB, addr netip.AddrPort) *net.TCPConn {
	t.Helper()
	conn, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// serve starts a server that handles each connection in a goroutine of its
// own, and returns a channel for it.
func (r *rig) serve(handle func(*net.TCPConn)) *balancer.Channel {
	r.Helper()
	return r.serveAt("127.0.0.1", handle)
}

func (r *rig) serveAt(host string, handle func(*net.TCPConn)) *balancer.Channel {
	r.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		r.Fatal(err)
	}
	return r.serveOn(listener, handle)
}

// serveWith serves connections that have receive buffers of so many bytes, or
// of the system's size.
func (r *rig) serveWith(buffer int, handle func(*net.TCPConn)) *balancer.Channel {
	r.Helper()
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		if buffer > 0 {
			return c.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, buffer) })
		}
		return nil
	}}
	listener, err := config.Listen(r.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		r.Fatal(err)
	}
	return r.serveOn(listener, handle)
}

func (r *rig) serveOn(listener net.Listener, handle func(*net.TCPConn)) *balancer.Channel {
	r.serveConns(listener, func(conn net.Conn) { handle(conn.(*net.TCPConn)) })
	return channelTo(listener.Addr().(*net.TCPAddr).AddrPort())
}

func (r *rig) serveConns(listener net.Listener, handle func(net.Conn)) {
	var handlers sync.WaitGroup
	handlers.Go(func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // out of descriptors, in a test of just that
				time.Sleep(time.Millisecond)
				continue
			}
			handlers.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(patience))
				handle(conn)
			})
		}
	})
	r.Cleanup(func() {
		listener.Close()
		handlers.Wait()
	})
}

func channelTo(addrs ...netip.AddrPort) *balancer.Channel {
	c := balancer.NewChannel(balancer.Key{Host: addrs[0].Addr().String(), Port: addrs[0].Port()})
	c.SetAddresses(addrs)
	return c
}

// refused returns an address where nobody listens. The port stays reserved:
// it is bound, but not listened to.
func (r *rig) refused() netip.AddrPort {
	r.Helper()
	return bindOnly(r)
}

// router makes each channel a group of its own.
func (r *rig) router(channels ...*balancer.Channel) *balancer.Router {
	var groups []balancer.Group
	for _, c := range channels {
		groups = append(groups, balancer.Group{Channels: []*balancer.Channel{c}})
	}
	return balancer.NewRouter(groups, balancer.Options{}, nil)
}

func (r *rig) end() plane.End {
	r.Helper()
	select {
	case end := <-r.ends:
		return end
	case <-time.After(patience):
		r.Fatal("the session does not end")
		panic("unreachable")
	}
}

// relaying waits until n sessions relay.
func (r *rig) relaying(n int) []plane.Session {
	r.Helper()
	var found []plane.Session
	eventually(r, "the sessions relay", func() bool {
		found = r.relayingNow()
		return len(found) == n
	})
	return found
}

func (r *rig) relayingNow() (found []plane.Session) {
	r.plane.Sessions(func(s plane.Session) bool {
		if s.State == plane.Relaying {
			found = append(found, s)
		}
		return true
	})
	return found
}

// echo hides what the connections are, lest io.Copy splice: package net keeps
// the pipes for that, which would look like a leak.
func echo(conn *net.TCPConn) {
	io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{conn})
}

// greet sends one line and waits for the client's end of stream.
func greet(line string) func(*net.TCPConn) {
	return func(conn *net.TCPConn) {
		io.WriteString(conn, line)
		io.Copy(io.Discard, conn)
	}
}

func readAll(t testing.TB, conn *net.TCPConn) string {
	t.Helper()
	all, err := io.ReadAll(conn)
	if err != nil {
		t.Errorf("reading from the plane: %v", err)
	}
	return string(all)
}

// exchange sends a message to an echoing server and expects it back.
func exchange(t testing.TB, conn net.Conn, message string) {
	t.Helper()
	if _, err := io.WriteString(conn, message); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(message))
	if _, err := io.ReadFull(conn, got); err != nil {
		t.Fatal(err)
	}
	if string(got) != message {
		t.Fatalf("sent %q, got back %q", message, got)
	}
}

// await returns what a server tells.
func await[T any](t testing.TB, told <-chan T) T {
	t.Helper()
	select {
	case v := <-told:
		return v
	case <-time.After(patience):
		t.Fatal("the server does not tell")
		panic("unreachable")
	}
}

// eventually asks again until the answer is yes.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s in vain until %s", patience, what)
		}
	}
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
