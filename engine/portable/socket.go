package portable

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"balance/engine/plane"
)

// socket is a listening socket and the goroutine that accepts from it.
type socket struct {
	plane    *Plane
	addr     netip.AddrPort
	accepter *net.TCPListener
	listener atomic.Pointer[plane.Listener]

	serving  sync.Once
	closing  chan struct{} // closed to end accepting
	accepted chan struct{} // closed when accepting has ended
	closed   sync.Once
	closeErr error
}

func listen(ctx context.Context, p *Plane, addr netip.AddrPort, shared bool) (*socket, error) {
	accepter, err := plane.Open(ctx, addr, shared)
	if err != nil {
		return nil, err
	}
	return &socket{
		plane:    p,
		addr:     plane.Bound(accepter, addr),
		accepter: accepter,
		closing:  make(chan struct{}),
		accepted: make(chan struct{}),
	}, nil
}

func (s *socket) Addr() netip.AddrPort { return s.addr }

func (s *socket) Serve(l *plane.Listener) {
	s.listener.Store(l)
	s.serving.Do(func() {
		s.plane.workers.Add(1)
		go s.accept()
	})
}

func (s *socket) Share(on bool) error {
	raw, err := s.accepter.SyscallConn()
	if err != nil {
		return err
	}
	return plane.ShareRaw(raw, on)
}

func (s *socket) Retire(ctx context.Context) {
	s.closed.Do(func() {
		quiet := s.divert()
		s.stop()
		if s.listener.Load() != nil {
			ctx, cancel := context.WithTimeout(ctx, plane.RetireTimeout)
			defer cancel()
			s.drain(ctx, quiet)
		}
		s.closeErr = s.accepter.Close()
	})
}

func (s *socket) Close() error {
	s.closed.Do(func() {
		s.stop()
		s.closeErr = s.accepter.Close()
	})
	return s.closeErr
}

func (s *socket) divert() (quiet time.Duration) {
	raw, err := s.accepter.SyscallConn()
	if err == nil {
		quiet, err = plane.Divert(raw)
	}
	if err != nil {
		s.plane.options.Log.Warn("cannot keep new clients from a socket", "address", s.accepter.Addr().String(), "error", err)
	}
	return quiet
}

// stop ends the accepting goroutine, if there is one.
func (s *socket) stop() {
	close(s.closing)
	s.accepter.SetDeadline(time.Unix(1, 0))
	s.serving.Do(func() { close(s.accepted) })
	<-s.accepted
}

// drain accepts until nobody has come for the time given, or until ctx ends.
func (s *socket) drain(ctx context.Context, quiet time.Duration) {
	defer context.AfterFunc(ctx, func() { s.accepter.SetDeadline(time.Unix(1, 0)) })()
	for {
		s.accepter.SetDeadline(time.Now().Add(max(quiet, time.Millisecond)))
		if ctx.Err() != nil {
			return
		}
		conn, err := s.accepter.AcceptTCP()
		if err != nil {
			return
		}
		s.admit(conn)
	}
}

func (s *socket) accept() {
	defer s.plane.workers.Done()
	defer close(s.accepted)
	var backoff plane.Backoff
	for {
		conn, err := s.accepter.AcceptTCP()
		if err == nil {
			backoff.Reset()
			s.admit(conn)
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		pause := backoff.Next()
		s.plane.options.Log.Warn("cannot accept, pausing", "address", s.accepter.Addr().String(), "pause", pause, "error", err)
		select {
		case <-time.After(pause):
		case <-s.closing:
			return
		}
	}
}

func (s *socket) admit(conn *net.TCPConn) {
	l := s.listener.Load()
	l.Accepted.Add(1)
	s.plane.workers.Add(1)
	go s.plane.serve(conn, l)
}
