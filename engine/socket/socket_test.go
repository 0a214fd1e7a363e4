//go:build unix

package socket

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

func open(t *testing.T, addr netip.AddrPort, shared bool) *Socket {
	t.Helper()
	s, err := Open(t.Context(), addr, shared)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func dial(t *testing.T, s *Socket) net.Conn {
	t.Helper()
	client, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// A socket that becomes a descriptor keeps its queue and its address, and is
// closed once.
func TestDescriptor(t *testing.T) {
	s := open(t, loopback, false)
	client := dial(t, s)
	fd, err := s.Descriptor()
	if again, _ := s.Descriptor(); err != nil || again != fd || s.Listener() != nil {
		t.Fatalf("descriptors %d and %d, listener %v: %v", fd, again, s.Listener(), err)
	}
	accepted, _, err := unix.Accept(fd)
	if err != nil {
		t.Fatal(err)
	}
	unix.Write(accepted, []byte("x"))
	unix.Close(accepted)
	if got, err := io.ReadAll(client); string(got) != "x" || err != nil {
		t.Errorf("the client got %q, %v", got, err)
	}
	dial(t, s)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", s.Addr().String()); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a client of a closed socket: %v", err)
	}
}

func TestClosed(t *testing.T) {
	closed, descriptor := open(t, loopback, false), open(t, loopback, false)
	closed.Close()
	descriptor.Descriptor()
	descriptor.Close()
	for name, s := range map[string]*Socket{"zero": {}, "closed": closed, "closed descriptor": descriptor} {
		_, fdErr := s.Descriptor()
		for what, err := range map[string]error{"share": s.Share(true), "refuse": s.Refuse(true), "close": s.Close(), "descriptor": fdErr} {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s of a socket that is %s: %v", what, name, err)
			}
		}
		if s.Listener() != nil {
			t.Errorf("a socket that is %s has a listener", name)
		}
	}
}

// As long as it is shared, another may be bound to the address, whatever the form
// of the socket.
func TestShare(t *testing.T) {
	for name, form := range map[string]func(*Socket){"Listener": func(*Socket) {}, "Descriptor": func(s *Socket) { s.Descriptor() }} {
		t.Run(name, func(t *testing.T) {
			s := open(t, loopback, false)
			form(s)
			bind := func(shared bool, want error) {
				t.Helper()
				another, err := Open(t.Context(), s.Addr(), shared)
				if !errors.Is(err, want) {
					t.Errorf("the address again: %v, want %v", err, want)
				}
				if err == nil {
					another.Close()
				}
			}
			bind(true, unix.EADDRINUSE)
			if err := s.Share(true); err != nil {
				t.Fatal(err)
			}
			bind(true, nil)
			if err := s.Share(false); err != nil {
				t.Fatal(err)
			}
			bind(false, unix.EADDRINUSE)
		})
	}
}

// order tells what is asked of an acceptor.
type order struct {
	socket *Socket
	asked  []string
	empty  func() // may be nil
}

func (o *order) note(what string) {
	if o.socket.raw == nil {
		what += " of a closed socket"
	}
	o.asked = append(o.asked, what)
}

func (o *order) Empty(ctx context.Context, quiet time.Duration) {
	if _, bounded := ctx.Deadline(); !bounded || quiet <= 0 {
		o.note("endless")
	}
	o.note("drain")
	if o.empty != nil {
		o.empty()
	}
}

func (o *order) Stop() { o.note("stop") }

func TestRetire(t *testing.T) {
	o := &order{socket: open(t, loopback, false)}
	o.socket.Retire(t.Context(), o, slog.New(slog.DiscardHandler))
	if len(o.asked) != 2 || o.asked[0] != "drain" || o.asked[1] != "stop" {
		t.Errorf("asked of the acceptor: %q", o.asked)
	}
	if err := o.socket.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the socket is not closed: %v", err)
	}
}

// Nobody waits for clients of a socket that refuses them.
func TestRetireOfOneThatRefuses(t *testing.T) {
	o := &order{socket: open(t, loopback, false)}
	refuseOrSkip(t, o.socket, true)
	o.socket.Retire(t.Context(), o, slog.New(slog.DiscardHandler))
	if len(o.asked) != 1 || o.asked[0] != "stop" {
		t.Errorf("asked of the acceptor: %q", o.asked)
	}
	if err := o.socket.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the socket is not closed: %v", err)
	}
}
