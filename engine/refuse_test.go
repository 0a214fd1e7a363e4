package engine_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"balance/engine"
	"balance/engine/eventloop"
	"balance/engine/plane"
	"balance/engine/portable"
	"balance/engine/socket"
	"balance/engine/spec"
)

// refusing declares a listener that refuses clients while it has no channel.
func refusing(t *testing.T, name, address string, servers ...*server) spec.Listener {
	if runtime.GOOS != "linux" {
		t.Skip("skipped: a listening socket can refuse clients on Linux only")
	}
	l := listener(name, address, servers...)
	l.WhenUnusable = spec.UnusableRefuse
	return l
}

func (r *rig) enable(listener string, s *server, enable bool) {
	r.Helper()
	if _, err := r.Enable(listener, s.key(), enable); err != nil {
		r.Fatal(err)
	}
}

// refusedNow expects that a client is refused, and that nobody else can have the
// address.
func refusedNow(t testing.TB, address string) {
	t.Helper()
	if conn, err := net.Dial("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a client of %s: %v, %v", address, conn, err)
	}
	if another, err := net.Listen("tcp", address); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("another socket at %s: %v, %v", address, another, err)
	}
}

// turnedAway returns what a client sees for whom there is no channel.
func turnedAway(t testing.TB, address string) error {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Read(make([]byte, 1))
	return err
}

// While no channel can be had clients are refused, by every address, and from
// when the operator is answered; who has a session keeps it.
func TestRefuse(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "0.0.0.0", "::1", ""} {
		t.Run(host, func(t *testing.T) {
			if host == "::1" || host == "" {
				if l, err := net.Listen("tcp6", "[::1]:0"); err != nil {
					t.Skip("skipped: this machine has no IPv6")
				} else {
					l.Close()
				}
			}
			r := newRig(t)
			a, b := r.server("a"), r.server("b")
			port := netip.MustParseAddrPort(free(t, "127.0.0.1")).Port()
			at := func(host string) string { return netip.AddrPortFrom(netip.MustParseAddr(host), port).String() }
			listen, reached := at("0.0.0.0"), []string{at("127.0.0.1")}
			switch host {
			case "":
				listen, reached = strings.TrimPrefix(listen, "0.0.0.0"), append(reached, at("::1"))
			case "::1":
				listen, reached = at(host), []string{at(host)}
			default:
				listen = at(host)
			}
			r.apply(declare(refusing(t, "web", listen, a, b)))
			held := dial(t, reached[0])
			for range 3 {
				r.enable("web", a, false)
				if got := served(t, reached[0], 2); got != "b b" {
					t.Errorf("with one channel left: served by %q", got)
				}
				r.enable("web", b, false)
				for _, address := range reached {
					refusedNow(t, address)
				}
				held.works()
				r.enable("web", a, true)
				for _, address := range reached {
					if got := served(t, address, 2); got != "a a" {
						t.Errorf("served by %q", got)
					}
				}
				if _, err := r.Drain("web", a.key()); err != nil {
					t.Fatal(err)
				}
				for _, address := range reached {
					refusedNow(t, address)
				}
				r.enable("web", a, true)
				r.enable("web", b, true)
			}
			held.works()
			log := r.log.String()
			if n, m := strings.Count(log, "clients are refused"), strings.Count(log, "clients are accepted again"); n != 6 || m != 6 {
				t.Errorf("it is logged %d and %d times", n, m)
			}
			if strings.Contains(log, "cannot") {
				t.Error("something fails")
			}
		})
	}
}

// A listener whose channels are full is not one without any.
func TestFullIsNotRefused(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	address := free(t, "127.0.0.1")
	l := refusing(t, "web", address, a)
	l.Groups[0].Channels[0].MaxConns = 1
	r.apply(declare(l))
	held := dial(t, address)
	r.Resolve(t.Context()) // which looks at it again
	if err := turnedAway(t, address); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a client of a full channel saw %v, want a reset", err)
	}
	held.ends()
	served(t, address, 1)
}

// Clients for whom there is no channel are closed, or reset, as declared.
func TestUnserved(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	closed, reset := listener("closed", free(t, "127.0.0.1"), a), listener("reset", free(t, "127.0.0.1"), a)
	reset.WhenUnusable = spec.UnusableReset
	r.apply(declare(closed, reset))
	r.enable("closed", a, false)
	r.enable("reset", a, false)
	if err := turnedAway(t, closed.Listen[0]); err != io.EOF {
		t.Errorf("closed: the client saw %v", err)
	}
	if err := turnedAway(t, reset.Listen[0]); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("reset: the client saw %v", err)
	}
}

// A name that resolves at last opens the door.
func TestRefuseUnresolved(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	address := free(t, "127.0.0.1")
	l := refusing(t, "web", address, a)
	r.apply(declare(l))
	l.Groups = []spec.Group{{Channels: []spec.Channel{{Host: "later.example", Port: a.addr.Port()}}}}
	r.apply(declare(l))
	refusedNow(t, address)
	r.names.set("later.example", "127.0.0.1")
	r.Resolve(t.Context())
	served(t, address, 1)
}

// A reload does to a listener that refuses clients what it says, and no more.
func TestRefuseAndReload(t *testing.T) {
	r := newRig(t)
	a, b := r.server("a"), r.server("b")
	web, mail := free(t, "127.0.0.1"), free(t, "127.0.0.1")
	r.apply(declare(refusing(t, "web", web, a)))
	held := dial(t, web)
	r.enable("web", a, false)
	refusedNow(t, web)

	// Another listener comes.
	r.apply(declare(refusing(t, "web", web, a), listener("mail", mail, b)))
	refusedNow(t, web)
	served(t, mail, 1)

	// Its own settings change.
	l := refusing(t, "web", web, a)
	l.ConnectTimeout /= 2
	r.apply(declare(l, listener("mail", mail, b)))
	refusedNow(t, web)

	// One that is in use fails to be bound: nothing has changed.
	busy, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	_, port, _ := net.SplitHostPort(web)
	moved := refusing(t, "web", "0.0.0.0:"+port, a)
	if _, err := r.Apply(t.Context(), declare(moved, listener("mail", busy.Addr().String(), b))); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatal(err)
	}
	r.enable("web", a, true)
	eventually(t, "the door is open again", func() bool {
		c, err := tryDial(web)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	r.enable("web", a, false)
	refusedNow(t, web)

	// It moves to where it is reached by that address, too, and back.
	for _, listen := range []string{moved.Listen[0], web, moved.Listen[0]} {
		l.Listen = []string{listen}
		r.apply(declare(l, listener("mail", mail, b)))
		eventually(t, "the old socket is gone", func() bool {
			_, err := tryDial(web)
			return errors.Is(err, syscall.ECONNREFUSED)
		})
		refusedNow(t, web)
	}
	r.enable("web", a, true)
	eventually(t, "the moved door is open", func() bool {
		c, err := tryDial(web)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	r.enable("web", a, false)
	refusedNow(t, web)

	// A channel that is added opens the door, one that is removed closes it.
	l.Groups = []spec.Group{group(a, b)}
	r.apply(declare(l, listener("mail", mail, b)))
	if got := served(t, web, 2); got != "b b" {
		t.Errorf("served by %q", got)
	}
	l.Groups = []spec.Group{group(a)}
	r.apply(declare(l, listener("mail", mail, b)))
	refusedNow(t, web)

	// Who is not refused any more is closed.
	l.WhenUnusable = spec.UnusableClose
	l.ConnectTimeout *= 2
	r.apply(declare(l, listener("mail", mail, b)))
	if err := turnedAway(t, web); err != io.EOF {
		t.Errorf("the client saw %v", err)
	}
	l.WhenUnusable = spec.UnusableRefuse
	l.ConnectTimeout *= 2
	r.apply(declare(l, listener("mail", mail, b)))
	refusedNow(t, web)

	// Its address becomes another listener's.
	r.apply(declare(listener("web", mail, a), listener("mail", l.Listen[0], b)))
	if got := served(t, web, 2); got != "b b" {
		t.Errorf("served by %q", got)
	}
	held.works()
}

// The address of a listener that is removed while it refuses clients is free
// for others, and so is that of an engine that is shut down.
func TestRefuseAndRemoval(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	web, mail := free(t, "127.0.0.1"), free(t, "127.0.0.1")
	isFree := func(address string) {
		t.Helper()
		eventually(t, address+" is free", func() bool {
			another, err := net.Listen("tcp4", address)
			if err == nil {
				another.Close()
			}
			return err == nil
		})
	}
	r.apply(declare(refusing(t, "web", web, a), refusing(t, "mail", mail, a)))
	held := dial(t, mail)
	for _, name := range []string{"web", "mail"} {
		r.enable(name, a, false)
	}
	r.apply(declare(refusing(t, "mail", mail, a)))
	isFree(web)
	refusedNow(t, mail)
	r.apply(declare(refusing(t, "web", web, a), refusing(t, "mail", mail, a)))
	served(t, web, 1)
	refusedNow(t, mail)
	held.ends()
	r.Shutdown(t.Context())
	isFree(web)
	isFree(mail)
	r.Resolve(t.Context()) // has nothing to look at any more
}

// Whatever is said at the same time, the last word counts, and nobody asks
// anything of an acceptor beside another, or after it has stopped.
func TestRefuseAtTheSameTime(t *testing.T) {
	r := &rig{TB: t, names: &nameService{}, log: new(logBuffer)}
	r.Engine = newEngine(t, engine.Options{
		Log: slog.New(slog.NewTextHandler(r.log, nil)), Resolver: r.names, DataPlane: dataPlane,
		NewPlane: func(o plane.Options) plane.Plane {
			if dataPlane != spec.Portable {
				if p, err := eventloop.New(o, 2); err == nil {
					return strictPlane{p, t}
				}
			}
			return strictPlane{portable.New(o), t}
		},
	})
	defer r.Shutdown(canceled())
	a, b := r.server("a"), r.server("b")
	web := free(t, "127.0.0.1")
	l := refusing(t, "web", web, a, b)
	r.apply(declare(l))
	for round := range 10 {
		var talkers sync.WaitGroup
		for _, s := range []*server{a, b} {
			talkers.Go(func() {
				for i := range 20 {
					r.enable("web", s, i%2 == 0) // at last it is disabled
				}
			})
		}
		talkers.Go(func() {
			for range 3 {
				if _, err := r.Edit(t.Context(), func(c *spec.Config) error {
					c.Listeners[0].ConnectTimeout++
					return nil
				}); err != nil {
					t.Error(err)
				}
				r.Resolve(t.Context())
			}
		})
		talkers.Wait()
		refusedNow(t, web)
		r.enable("web", a, true)
		if got := served(t, web, 1); got != "a" {
			t.Fatalf("round %d: served by %q", round, got)
		}
	}
	r.enable("web", a, false)
	r.apply(declare(refusing(t, "mail", free(t, "127.0.0.1"), a)))
}

// strictPlane watches over what is asked of its acceptors.
type strictPlane struct {
	plane.Plane
	t *testing.T
}

func (p strictPlane) Adopt(s *socket.Socket) (plane.Acceptor, error) {
	acceptor, err := p.Plane.Adopt(s)
	return &strictAcceptor{Acceptor: acceptor, t: p.t}, err
}

type strictAcceptor struct {
	plane.Acceptor
	t       *testing.T
	mu      sync.Mutex
	stopped bool
}

func (a *strictAcceptor) ask(what string) (done func()) {
	if !a.mu.TryLock() {
		a.t.Errorf("%s beside another call", what)
		a.mu.Lock()
	}
	if a.stopped && what != "stop" {
		a.t.Errorf("%s after stop", what)
	}
	a.stopped = what == "stop"
	return a.mu.Unlock
}

func (a *strictAcceptor) Serve(l *plane.Listener) {
	defer a.ask("serve")()
	a.Acceptor.Serve(l)
}

func (a *strictAcceptor) Empty(ctx context.Context, quiet time.Duration) {
	defer a.ask("empty")()
	a.Acceptor.Empty(ctx, quiet)
}

func (a *strictAcceptor) Stop() {
	defer a.ask("stop")()
	a.Acceptor.Stop()
}

// Where a socket cannot refuse clients they are reset, which is said once.
func TestCannotRefuse(t *testing.T) {
	r := &rig{TB: t, log: new(logBuffer)}
	var opened []*socket.Socket
	r.Engine = newEngine(t, engine.Options{
		Log: slog.New(slog.NewTextHandler(r.log, nil)), DataPlane: dataPlane,
		Open: func(ctx context.Context, addr netip.AddrPort, shared bool) (*socket.Socket, error) {
			s, err := socket.Open(ctx, addr, shared)
			opened = append(opened, s)
			return s, err
		},
	})
	defer r.Shutdown(canceled())
	a := r.server("a")
	var listeners []spec.Listener
	for _, name := range []string{"web", "mail"} {
		l := listener(name, free(t, "127.0.0.1"), a)
		l.WhenUnusable = spec.UnusableRefuse
		listeners = append(listeners, l)
	}
	r.apply(declare(listeners...))
	if runtime.GOOS == "linux" {
		// A socket that does not listen cannot be shut down; then it listens again.
		control(t, opened[0], func(fd int) error { return unix.Shutdown(fd, unix.SHUT_RD) })
		r.enable("web", a, false)
		control(t, opened[0], func(fd int) error { return unix.Listen(fd, 100) })
	}
	for range 2 {
		for _, l := range listeners {
			r.enable(l.Name, a, false)
			if err := turnedAway(t, l.Listen[0]); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s: the client saw %v, want a reset", l.Name, err)
			}
			r.enable(l.Name, a, true)
			served(t, l.Listen[0], 1)
		}
	}
	if n := strings.Count(r.log.String(), "clients cannot be refused"); n != 1 {
		t.Errorf("it is said %d times:\n%s", n, r.log)
	}
}

// control does something to the descriptor of a socket that a plane has adopted.
func control(t *testing.T, s *socket.Socket, do func(fd int) error) {
	t.Helper()
	var err error
	if l := s.Listener(); l != nil {
		raw, failed := l.SyscallConn()
		if failed != nil {
			t.Fatal(failed)
		}
		raw.Control(func(fd uintptr) { err = do(int(fd)) })
	} else if fd, failed := s.Descriptor(); failed == nil {
		err = do(fd)
	}
	if err != nil {
		t.Fatal(err)
	}
}
