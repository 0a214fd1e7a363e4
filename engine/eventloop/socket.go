//go:build linux

package eventloop

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"balance/engine/plane"
)

// socket is a listening socket that all loops accept from.
type socket struct {
	plane *Plane
	addr  netip.AddrPort
	name  string // for the log

	listener  atomic.Pointer[plane.Listener]
	inherited atomic.Pointer[plane.Service] // whose options accepted connections inherit
	arrivals  atomic.Uint64                 // clients accepted

	serving sync.Once
	ending  sync.Once
	endErr  error

	mu sync.Mutex
	fd int // guarded by mu against closing; -1 once it is closed
}

func listen(ctx context.Context, p *Plane, addr netip.AddrPort, shared bool) (*socket, error) {
	opened, err := plane.Open(ctx, addr, shared)
	if err != nil {
		return nil, err
	}
	// Package net's own descriptor is registered with the runtime's epoll,
	// which would be woken for each client too.
	defer opened.Close()
	raw, err := opened.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &socket{plane: p, addr: plane.Bound(opened, addr), name: opened.Addr().String()}
	if controlErr := raw.Control(func(fd uintptr) { s.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); controlErr != nil {
		return nil, controlErr
	}
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	linux{}.noDelay(int32(s.fd))
	return s, nil
}

// Addr implements plane.Socket.
func (s *socket) Addr() netip.AddrPort { return s.addr }

// Serve implements plane.Socket.
func (s *socket) Serve(l *plane.Listener) {
	s.follow(l.Service())
	s.listener.Store(l)
	s.serving.Do(func() {
		for _, loop := range s.plane.loops {
			loop.mailbox.post(func() { loop.add(s) })
		}
	})
}

// follow gives those accepted from now on the options of the service.
func (s *socket) follow(service *plane.Service) {
	if s.inherited.Load() != service && s.inherited.Swap(service) != service {
		s.mu.Lock()
		defer s.mu.Unlock()
		linux{}.keepAlive(int32(s.fd), service.KeepAlive)
		linux{}.userTimeout(int32(s.fd), service.UserTimeout)
	}
}

// Share implements plane.Socket.
func (s *socket) Share(on bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return net.ErrClosed
	}
	return plane.ShareRaw(descriptor(s.fd), on)
}

// Retire implements plane.Socket.
func (s *socket) Retire(ctx context.Context) {
	s.ending.Do(func() {
		if s.listener.Load() != nil {
			ctx, cancel := context.WithTimeout(ctx, plane.RetireTimeout)
			defer cancel()
			quiet, err := plane.Divert(descriptor(s.fd))
			if err != nil {
				s.plane.options.Log.Warn("cannot keep new clients from a socket", "address", s.name, "error", err)
			}
			s.drain(ctx, max(quiet, time.Millisecond))
		}
		s.endErr = s.close()
	})
}

// drain returns when nobody has come for the time given and nobody waits, when
// those who wait cannot be accepted, or when ctx ends.
func (s *socket) drain(ctx context.Context, quiet time.Duration) {
	for {
		arrivals := s.arrivals.Load()
		select {
		case <-time.After(quiet):
		case <-ctx.Done():
			return
		}
		waiting, err := unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}, 0)
		switch {
		case s.plane.shortage.Lasts(), err != nil && err != unix.EINTR:
			return
		case s.arrivals.Load() == arrivals && waiting == 0:
			return
		}
	}
}

// Close implements plane.Socket.
func (s *socket) Close() error {
	s.ending.Do(func() { s.endErr = s.close() })
	return s.endErr
}

// close closes the descriptor once no loop uses it any more.
func (s *socket) close() error {
	s.serving.Do(func() {})
	for _, loop := range s.plane.loops {
		loop.mailbox.do(func() { loop.remove(s) })
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fd := s.fd
	s.fd = -1
	return os.NewSyscallError("close", unix.Close(fd))
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
