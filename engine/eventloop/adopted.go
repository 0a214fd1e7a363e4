//go:build linux

package eventloop

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"balance/engine/plane"
	"balance/engine/socket"
)

// adopted is a listening socket that all loops accept from, each through an
// acceptor of its own.
type adopted struct {
	plane     *Plane
	fd        int32          // open until stop has returned
	serving   bool           // owned by those who call Serve and Stop
	inherited *plane.Service // likewise; whose options accepted connections inherit

	listener atomic.Pointer[plane.Listener]
	arrivals atomic.Uint64 // clients accepted
}

// Adopt implements plane.Plane.
func (p *Plane) Adopt(s *socket.Socket) (plane.Acceptor, error) {
	fd, err := s.Descriptor()
	if err != nil {
		return nil, err
	}
	linux{}.noDelay(int32(fd))
	return &adopted{plane: p, fd: int32(fd)}, nil
}

// Serve implements plane.Acceptor. Those accepted from now on inherit the
// options of the service.
func (s *adopted) Serve(l *plane.Listener) {
	if service := l.Service(); s.inherited != service {
		linux{}.keepAlive(s.fd, service.KeepAlive)
		linux{}.userTimeout(s.fd, service.UserTimeout)
		s.inherited = service
	}
	s.listener.Store(l)
	if s.serving {
		s.plane.feed() // there may be a place now
		return
	}
	s.serving = true
	for _, loop := range s.plane.loops {
		loop.mailbox.post(func() { loop.add(s) })
	}
}

// Empty implements plane.Acceptor.
func (s *adopted) Empty(ctx context.Context, quiet time.Duration) {
	for s.serving {
		arrivals := s.arrivals.Load()
		select {
		case <-time.After(quiet):
		case <-ctx.Done():
			return
		}
		waiting, err := unix.Poll([]unix.PollFd{{Fd: s.fd, Events: unix.POLLIN}}, 0)
		switch {
		case s.plane.shortage.Lasts(), err != nil && err != unix.EINTR:
			return
		case s.arrivals.Load() == arrivals && waiting == 0:
			return
		}
	}
}

// Stop implements plane.Acceptor.
func (s *adopted) Stop() {
	if !s.serving {
		return
	}
	for _, loop := range s.plane.loops {
		loop.mailbox.do(func() { loop.remove(s) })
	}
}
