// Package socket opens listening sockets, TCP and unix, and holds what sockets need that
// package net has no word for. Whoever opens a socket closes it; a data plane
// only accepts from it.
package socket

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Address is where a socket listens.
type Address struct {
	TCP  netip.AddrPort // the zero Addr stands for every address
	Path string         // of a unix socket, which has no TCP; else empty
}

// Unix returns the path of the unix socket, if it is one.
func (a Address) Unix() (path string, ok bool) { return a.Path, a.Path != "" }

// String returns the address as it is declared: unix: and a path, or host:port,
// without a host for every address.
func (a Address) String() string {
	switch {
	case a.Path != "":
		return "unix:" + a.Path
	case !a.TCP.Addr().IsValid():
		return ":" + strconv.Itoa(int(a.TCP.Port()))
	}
	return a.TCP.String()
}

// Socket is a listening socket. The zero Socket is a closed one. All methods
// may be called from any goroutine, but none by an event loop.
type Socket struct {
	address Address

	mu       sync.Mutex
	listener Listener        // guarded by mu; nil once it is a descriptor, or closed
	raw      syscall.RawConn // guarded by mu; nil once the socket is closed, and of a unix socket that refuses
	refusing bool            // guarded by mu
	file     file            // guarded by mu; of a unix socket
}

// Listener is what package net accepts clients by: a *net.TCPListener or a
// *net.UnixListener.
type Listener interface {
	net.Listener
	syscall.Conn
	SetDeadline(time.Time) error
}

// Open opens a listening TCP socket. A zero Addr in addr stands for every
// address of the machine: IPv4 and IPv6 where the kernel has both. An IPv6
// address takes no IPv4 clients. With shared, other sockets that are shared
// and belong to the same user may be bound to an overlapping address. The caller
// ends the socket with Close or Retire.
func Open(ctx context.Context, addr netip.AddrPort, shared bool) (*Socket, error) {
	network, host := "tcp", ""
	if addr.Addr().IsValid() {
		host = addr.Addr().String()
		network = "tcp6"
		if addr.Addr().Is4() {
			network = "tcp4"
		}
	}
	listener, err := listen(ctx, network, host, addr.Port(), shared)
	if err == nil && addr.Port() == 0 {
		listener, err = keepPort(ctx, network, host, listener)
	}
	if err != nil {
		return nil, err
	}
	raw, err := listener.SyscallConn()
	if err != nil {
		listener.Close()
		return nil, err
	}
	return &Socket{address: Address{TCP: netip.AddrPortFrom(addr.Addr(), portOf(listener))}, listener: listener, raw: raw}, nil
}

func listen(ctx context.Context, network, host string, port uint16, shared bool) (*net.TCPListener, error) {
	config := net.ListenConfig{
		KeepAlive: -1, // set with the listener's own interval
		Control: func(_, _ string, c syscall.RawConn) error {
			if !shared {
				return nil
			}
			return ShareRaw(c, true)
		},
	}
	config.SetMultipathTCP(false)
	opened, err := config.Listen(ctx, network, net.JoinHostPort(host, strconv.Itoa(int(port))))
	if err != nil {
		return nil, err
	}
	return opened.(*net.TCPListener), nil
}

func portOf(listener *net.TCPListener) uint16 { return uint16(listener.Addr().(*net.TCPAddr).Port) }

// keepPort asks for the port that the kernel has picked for the listener, and
// returns another one with that port: one that was not asked for is given up by
// a socket that refuses clients. Between the two somebody else may get it; then
// the kernel picks again.
func keepPort(ctx context.Context, network, host string, picked *net.TCPListener) (*net.TCPListener, error) {
	for tries := 1; ; tries++ {
		port := portOf(picked)
		picked.Close()
		listener, err := listen(ctx, network, host, port, false)
		if !errors.Is(err, unix.EADDRINUSE) || tries == mostPicks {
			return listener, err
		}
		if picked, err = listen(ctx, network, host, 0, false); err != nil {
			return nil, err
		}
	}
}

const mostPicks = 10

// Address returns where the socket listens.
func (s *Socket) Address() Address { return s.address }

// Addr returns the address that a TCP socket is bound to. Its port is never 0,
// and its address is the zero Addr if the socket takes IPv4 and IPv6 on every
// address. That of a unix socket is the zero AddrPort.
func (s *Socket) Addr() netip.AddrPort { return s.address.TCP }

// Unix returns the path of a unix socket, and whether the socket is one.
func (s *Socket) Unix() (path string, ok bool) { return s.address.Unix() }

// Listener returns what package net accepts clients by, or nil once Descriptor
// was called. It is the socket's own: the caller may set deadlines, but not
// close it.
func (s *Socket) Listener() Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listener
}

// Descriptor returns the descriptor of the socket, which does not block. It is
// the socket's own. From the first call on it is not registered any more with
// the runtime's poller, which would be woken for each client too.
func (s *Socket) Descriptor() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.raw == nil {
		return -1, net.ErrClosed
	}
	if s.listener != nil {
		var fd int
		err := control(s.raw, "fcntl", func(registered int) (err error) {
			fd, err = unix.FcntlInt(uintptr(registered), unix.F_DUPFD_CLOEXEC, 0)
			return err
		})
		if err != nil {
			return -1, err
		}
		s.listener.Close()
		s.listener, s.raw = nil, descriptor(fd)
	}
	return int(s.raw.(descriptor)), nil
}

// Refuse says whether the socket, which stays bound to its address, refuses
// clients as if nobody listened; those that wait in its queue are reset then.
// Nobody may accept from it from before Refuse(true) until Refuse(false) has
// returned; then it is to be asked for its Descriptor or Listener again. It needs no
// privilege, but a system that lets a listening TCP socket do so:
// errors.ErrUnsupported is what systems other than Linux say, and sandboxes
// may say something else. On an error the socket is as it was before. It fails
// with net.ErrClosed once the socket is closed, and Refuse(false) with EADDRINUSE
// while another one that was bound while this one was shared listens on an
// overlapping address.
//
// Whoever can be refused by a unix socket that is bound takes it for a stale one. So
// its file goes, and is made anew; meanwhile another process may come in its place,
// for as long as which Refuse(false) fails with ErrLive.
func (s *Socket) Refuse(on bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	_, isUnix := s.Unix()
	switch {
	case s.closed():
		return net.ErrClosed
	case on == s.refusing:
		return nil
	case isUnix && on:
		err = s.leave()
	case isUnix:
		err = s.come(context.Background())
	case on:
		err = refuse(s.raw)
	default:
		err = listenAgain(s.raw)
	}
	if err == nil {
		s.refusing = on
	}
	return err
}

func (s *Socket) refuses() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refusing
}

// Share says whether another socket may be bound to an overlapping address. For that a
// unix socket gives up its file, for good. It fails with net.ErrClosed once the socket
// is closed.
func (s *Socket) Share(on bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed() {
		return net.ErrClosed
	}
	if _, isUnix := s.Unix(); isUnix {
		if on {
			s.file.remove()
		}
		return nil
	}
	return ShareRaw(s.raw, on)
}

// Close closes the socket, and removes its file, if it is a unix socket whose file
// that still is. The clients that wait in its queue are reset. Nobody
// may accept from it any more. It fails with net.ErrClosed the second time.
func (s *Socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed() {
		return net.ErrClosed
	}
	s.refusing = false
	return s.leave()
}

// closed reports whether Close was called. The caller holds mu.
func (s *Socket) closed() bool { return s.raw == nil && !s.refusing }

// leave closes what listens. The caller holds mu.
func (s *Socket) leave() error {
	s.file.remove() // before that, since then its number may be another's
	raw, listener := s.raw, s.listener
	s.raw, s.listener = nil, nil
	switch {
	case raw == nil:
		return nil
	case listener != nil:
		return listener.Close()
	}
	return os.NewSyscallError("close", unix.Close(int(raw.(descriptor))))
}

// descriptor is a file descriptor for those who ask for a RawConn.
type descriptor int

// Control implements syscall.RawConn.
func (d descriptor) Control(f func(fd uintptr)) error {
	f(uintptr(d))
	return nil
}

// Read is not offered.
func (descriptor) Read(func(fd uintptr) bool) error { return errors.ErrUnsupported }

// Write is not offered.
func (descriptor) Write(func(fd uintptr) bool) error { return errors.ErrUnsupported }
