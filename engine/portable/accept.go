package portable

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"balance/engine/plane"
	"balance/engine/socket"
)

// acceptor is the goroutine that accepts from a socket.
type acceptor struct {
	plane    *Plane
	socket   listener
	listener atomic.Pointer[plane.Listener]

	serving  sync.Once
	closing  context.Context // ends to end accepting
	end      context.CancelFunc
	accepted chan struct{} // closed when accepting has ended
	waiting  connection    // was accepted, but there was no place for a session; nil if all had one
}

// listener is a *net.TCPListener or a *net.UnixListener.
type listener interface {
	Accept() (net.Conn, error)
	SetDeadline(time.Time) error
}

// Adopt implements plane.Plane.
func (p *Plane) Adopt(s *socket.Socket) (plane.Acceptor, error) {
	opened := s.Listener()
	if opened == nil {
		return nil, net.ErrClosed
	}
	opened.SetDeadline(time.Time{}) // another may have accepted from it before
	a := &acceptor{plane: p, socket: opened, accepted: make(chan struct{})}
	a.closing, a.end = context.WithCancel(context.Background())
	return a, nil
}

// Serve implements plane.Acceptor.
func (a *acceptor) Serve(l *plane.Listener) {
	a.listener.Store(l)
	a.plane.feed() // there may be a place now
	a.serving.Do(func() {
		a.plane.workers.Add(1)
		go a.accept()
	})
}

// Empty implements plane.Acceptor. It accepts in the place of the goroutine.
func (a *acceptor) Empty(ctx context.Context, quiet time.Duration) {
	a.halt()
	if a.listener.Load() == nil {
		return
	}
	defer context.AfterFunc(ctx, func() { a.socket.SetDeadline(time.Unix(1, 0)) })()
	if a.waiting != nil && a.admit(ctx, a.waiting) {
		a.waiting = nil
	}
	for a.waiting == nil {
		a.socket.SetDeadline(time.Now().Add(quiet))
		if ctx.Err() != nil {
			return
		}
		conn, err := a.next()
		if err != nil {
			return
		}
		if !a.admit(ctx, conn) {
			a.waiting = conn
		}
	}
}

// Stop implements plane.Acceptor. It resets who waits, as the kernel does with
// those in the queue when the socket is closed.
func (a *acceptor) Stop() {
	a.halt()
	if a.waiting != nil {
		closeByReset(a.waiting)
		a.waiting = nil
	}
}

// halt ends the accepting goroutine, if there is one.
func (a *acceptor) halt() {
	a.end()
	a.socket.SetDeadline(time.Unix(1, 0))
	a.serving.Do(func() { close(a.accepted) })
	<-a.accepted
}

func (a *acceptor) accept() {
	defer a.plane.workers.Done()
	defer close(a.accepted)
	for {
		if !a.plane.await(a.closing) {
			return
		}
		conn, err := a.next()
		switch {
		case err == nil && !a.admit(a.closing, conn):
			a.waiting = conn
			return
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			return
		default:
			a.plane.lacks("accept", err)
		}
	}
}

// next accepts a client.
func (a *acceptor) next() (connection, error) {
	conn, err := a.socket.Accept()
	if err != nil {
		return nil, err
	}
	return conn.(connection), nil
}

// await waits until a shortage is over. It reports false if ctx ends first.
func (p *Plane) await(ctx context.Context) bool {
	for {
		left := p.shortage.Left(p.Now())
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
	if pause, first := p.shortage.Begin(p.Now()); first {
		p.options.Log.Warn("cannot "+what+", pausing", "pause", pause, "error", err)
	}
}

// admit begins the session of a client. It reports false if ctx ends before
// there is a place for it.
func (a *acceptor) admit(ctx context.Context, conn connection) bool {
	l := a.place(ctx)
	if l == nil {
		return false
	}
	l.Accepted.Add(1)
	a.plane.workers.Add(1)
	go a.plane.serve(conn, l)
	return true
}

// place waits for the place of a session, and returns for which listener it is. It
// returns nil if ctx ends first.
func (a *acceptor) place(ctx context.Context) *plane.Listener {
	p := a.plane
	for {
		news := p.news()
		l := a.listener.Load()
		if p.places.Take(l, 1) == 1 {
			return l
		}
		if !l.Full(p.options.Log, p.Now()) {
			p.full.Full(p.options.Log, p.Now())
		}
		if p.places.Want(l) {
			continue
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil
		}
	}
}
