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
	closing  context.Context // ends to end accepting
	end      context.CancelFunc
	accepted chan struct{} // closed when accepting has ended
	waiting  *net.TCPConn  // was accepted, but there was no place for a session
	closed   sync.Once
	closeErr error
}

func listen(ctx context.Context, p *Plane, addr netip.AddrPort, shared bool) (*socket, error) {
	accepter, err := plane.Open(ctx, addr, shared)
	if err != nil {
		return nil, err
	}
	s := &socket{
		plane:    p,
		addr:     plane.Bound(accepter, addr),
		accepter: accepter,
		accepted: make(chan struct{}),
	}
	s.closing, s.end = context.WithCancel(context.Background())
	return s, nil
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
		s.closeErr = s.close()
	})
}

func (s *socket) Close() error {
	s.closed.Do(func() {
		s.stop()
		s.closeErr = s.close()
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
	s.end()
	s.accepter.SetDeadline(time.Unix(1, 0))
	s.serving.Do(func() { close(s.accepted) })
	<-s.accepted
}

// drain accepts until nobody has come for the time given, or until ctx ends.
func (s *socket) drain(ctx context.Context, quiet time.Duration) {
	defer context.AfterFunc(ctx, func() { s.accepter.SetDeadline(time.Unix(1, 0)) })()
	if s.waiting != nil && s.admit(ctx, s.waiting) {
		s.waiting = nil
	}
	for s.waiting == nil {
		s.accepter.SetDeadline(time.Now().Add(max(quiet, time.Millisecond)))
		if ctx.Err() != nil {
			return
		}
		conn, err := s.accepter.AcceptTCP()
		if err != nil {
			return
		}
		if !s.admit(ctx, conn) {
			s.waiting = conn
		}
	}
}

// close closes the socket, and resets who waits, as the kernel does with those
// in the queue.
func (s *socket) close() error {
	if s.waiting != nil {
		s.waiting.SetLinger(0)
		s.waiting.Close()
	}
	return s.accepter.Close()
}

func (s *socket) accept() {
	defer s.plane.workers.Done()
	defer close(s.accepted)
	for {
		if !s.plane.await(s.closing) {
			return
		}
		conn, err := s.accepter.AcceptTCP()
		switch {
		case err == nil && !s.admit(s.closing, conn):
			s.waiting = conn
			return
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			return
		default:
			s.plane.lacks("accept", err)
		}
	}
}

// await waits until a shortage is over. It reports false if ctx ends first.
func (p *Plane) await(ctx context.Context) bool {
	for {
		left := p.shortage.Left(p.now())
		if left == 0 {
			return true
		}
		select {
		case <-time.After(left):
		case <-ctx.Done():
			return false
		}
	}
}

// lacks begins a pause in which nobody accepts or dials, after an attempt to do
// so failed for want of something.
func (p *Plane) lacks(what string, err error) {
	if pause, first := p.shortage.Begin(p.now()); first {
		p.options.Log.Warn("cannot "+what+", pausing", "pause", pause, "error", err)
	}
}

// admit begins the session of a client. It reports false if ctx ends before
// there is a place for it.
func (s *socket) admit(ctx context.Context, conn *net.TCPConn) bool {
	if !s.plane.place(ctx) {
		return false
	}
	l := s.listener.Load()
	l.Accepted.Add(1)
	s.plane.workers.Add(1)
	go s.plane.serve(conn, l)
	return true
}

// place waits for the place of a session. It reports false if ctx ends first.
func (p *Plane) place(ctx context.Context) bool {
	if p.places.Take(1) == 1 {
		return true
	}
	p.complainFull()
	p.places.Wait(1)
	defer p.places.Wait(-1)
	for p.places.Take(1) == 0 {
		select {
		case <-p.freed:
		case <-ctx.Done():
			return false
		}
	}
	if p.places.Free() > 0 {
		p.feed() // there may be more who wait
	}
	return true
}

// complainEvery is how often it is told that there is no place for a session.
const complainEvery = time.Minute

func (p *Plane) complainFull() {
	now, last := p.now(), p.full.Load()
	if (last == 0 || now-last >= int64(complainEvery)) && p.full.CompareAndSwap(last, now) {
		p.options.Log.Warn("there are as many sessions as there may be, clients wait")
	}
}
