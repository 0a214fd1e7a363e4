//go:build unix

package socket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// refuseOrSkip says whether the socket is to refuse clients, where that is to be had.
func refuseOrSkip(t *testing.T, s *Socket, on bool) {
	t.Helper()
	err := s.Refuse(on)
	if runtime.GOOS != "linux" && errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("skipped: a listening socket of %s cannot refuse clients", runtime.GOOS)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// accept takes a client from the queue, whatever the form of the socket.
func accept(t *testing.T, s *Socket) net.Conn {
	t.Helper()
	s.mu.Lock()
	raw := s.raw
	s.mu.Unlock()
	var fd int
	err := errors.New("nobody comes")
	for end := time.Now().Add(10 * time.Second); err != nil && time.Now().Before(end); time.Sleep(time.Millisecond) {
		err = control(raw, "accept", func(listening int) (err error) {
			fd, _, err = unix.Accept(listening)
			return err
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "accepted")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// taken returns an error unless others are kept from the address, whatever they
// ask for.
func taken(addr netip.AddrPort) (err error) {
	network := "tcp"
	if addr.Addr().Is4() {
		network = "tcp4"
	} else if addr.Addr().IsValid() {
		network = "tcp6"
	}
	host := ""
	if addr.Addr().IsValid() {
		host = addr.Addr().String()
	}
	for _, options := range [][2]int{{0, 0}, {0, 1}, {1, 0}, {1, 1}} {
		config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			return control(c, "setsockopt", func(fd int) error {
				return errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, options[0]),
					unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, options[1]))
			})
		}}
		another, bound := config.Listen(context.Background(), network, net.JoinHostPort(host, fmt.Sprint(addr.Port())))
		if bound == nil {
			another.Close()
		}
		if !errors.Is(bound, unix.EADDRINUSE) {
			err = errors.Join(err, fmt.Errorf("another socket with SO_REUSEADDR %d and SO_REUSEPORT %d: %v", options[0], options[1], bound))
		}
	}
	return err
}

// A socket that refuses clients keeps its address, and listens again when it is
// told to, whatever connections there are that it had before.
func TestRefuse(t *testing.T) {
	for name, form := range map[string]func(*Socket){"Listener": func(*Socket) {}, "Descriptor": func(s *Socket) { s.Descriptor() }} {
		for _, addr := range []string{"127.0.0.1", "0.0.0.0", "::1", "::", ""} {
			t.Run(name+addr, func(t *testing.T) {
				host, _ := netip.ParseAddr(addr)
				s, err := Open(t.Context(), netip.AddrPortFrom(host, 0), false)
				if host.Is6() && errors.Is(err, unix.EADDRNOTAVAIL) {
					t.Skip("skipped: this machine has no IPv6")
				}
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { s.Close() })
				form(s)
				dial := func() (net.Conn, error) {
					return net.Dial("tcp", net.JoinHostPort(map[bool]string{true: "::1", false: "127.0.0.1"}[host.Is6()], fmt.Sprint(s.Addr().Port())))
				}
				connect := func() net.Conn {
					t.Helper()
					client, err := dial()
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { client.Close() })
					client.SetDeadline(time.Now().Add(10 * time.Second))
					return client
				}
				old := connect()
				served := accept(t, s)
				for range 3 {
					waiting := connect()
					refuseOrSkip(t, s, true)
					if _, err := waiting.Read([]byte{0}); !errors.Is(err, unix.ECONNRESET) {
						t.Errorf("a client in the queue saw %v", err)
					}
					if client, err := dial(); !errors.Is(err, unix.ECONNREFUSED) {
						t.Errorf("a new client: %v, %v", client, err)
					}
					refuseOrSkip(t, s, true)
					if err := taken(s.Addr()); err != nil {
						t.Error(err)
					}
					refuseOrSkip(t, s, false)
					refuseOrSkip(t, s, false)
					if err := taken(s.Addr()); err != nil {
						t.Errorf("when it listens again: %v", err)
					}
					client := connect()
					accept(t, s).Write([]byte("x"))
					if _, err := client.Read([]byte{0}); err != nil {
						t.Errorf("a client who came again: %v", err)
					}
				}
				served.Write([]byte("x"))
				if _, err := old.Read([]byte{0}); err != nil {
					t.Errorf("a client from before: %v", err)
				}
			})
		}
	}
}

// The address of a socket that refuses clients can be shared, too. Whoever
// listens there keeps it from listening again, until he is gone.
func TestRefuseShared(t *testing.T) {
	s := open(t, loopback, false)
	refuseOrSkip(t, s, true)
	if err := s.Share(true); err != nil {
		t.Fatal(err)
	}
	another := open(t, s.Addr(), true)
	if err := s.Share(false); err != nil {
		t.Fatal(err)
	}
	if err := s.Refuse(false); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("listens beside another: %v", err)
	}
	another.Close()
	if err := s.Refuse(false); err != nil {
		t.Error(err)
	}
	dial(t, s)
}
