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
	socket   *net.TCPListener
	listener atomic.Pointer[plane.Listener]

	serving  sync.Once
	closing  context.Context // ends to end accepting
	end      context.CancelFunc
	accepted chan struct{} // closed when accepting has ended
	waiting  *net.TCPConn  // was accepted, but there was no place for a session
}

// Adopt implements plane.Plane.
func (p *Plane) Adopt(s *socket.Socket) (plane.Acceptor, error) {
	a := &acceptor{plane: p, socket: s.Listener(), accepted: make(chan struct{})}
	if a.socket == nil {
		return nil, net.ErrClosed
	}
	a.socket.SetDeadline(time.Time{}) // another may have accepted from it before
	a.closing, a.end = context.WithCancel(context.Background())
	return a, nil
}

// Serve implements plane.Acceptor.
func (a *acceptor) Serve(l *plane.Listener) {
	a.listener.Store(l)
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
		conn, err := a.socket.AcceptTCP()
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
		a.waiting.SetLinger(0)
		a.waiting.Close()
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
		conn, err := a.socket.AcceptTCP()
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
func (a *acceptor) admit(ctx context.Context, conn *net.TCPConn) bool {
	if !a.plane.place(ctx) {
		return false
	}
	l := a.listener.Load()
	l.Accepted.Add(1)
	a.plane.workers.Add(1)
	go a.plane.serve(conn, l)
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
