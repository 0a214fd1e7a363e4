//go:build linux

package eventloop

import (
	"os"

	"golang.org/x/sys/unix"
)

// acceptor is a listening socket as one loop sees it.
type acceptor struct {
	socket  *adopted
	fd      int32
	number  int32 // in loop.acceptors
	batch   int
	watched bool
	starved bool  // waits for a place for a session
	timer   timer // armed in a pause
}

const maxBatch = 64

// add starts accepting from the socket.
func (l *loop) add(s *adopted) {
	number := 0
	for number < len(l.acceptors) && l.acceptors[number] != nil {
		number++
	}
	if number == len(l.acceptors) {
		l.acceptors = append(l.acceptors, nil)
	}
	a := &acceptor{socket: s, fd: s.fd, number: int32(number), batch: 1}
	a.timer.owner = a
	l.acceptors[number] = a
	a.watch(l)
}

// remove ends accepting from the socket.
func (l *loop) remove(s *adopted) {
	for i, a := range l.acceptors {
		if a != nil && a.socket == s {
			a.unwatch(l)
			l.wheel.disarm(&a.timer)
			l.acceptors[i] = nil
		}
	}
}

// watch has the loop told of clients, unless it pauses or rests, or there is no
// place for them.
func (a *acceptor) watch(l *loop) {
	if a.watched || a.starved || a.timer.armed() || l.resting.Load() {
		return
	}
	if errno := l.kernel.listen(l.epoll, a.fd, token{low: a.number}); errno != 0 {
		l.lacks("accept", os.NewSyscallError("epoll_ctl", errno))
		a.pause(l)
		return
	}
	a.watched = true
}

func (a *acceptor) unwatch(l *loop) {
	if a.watched {
		l.kernel.unlisten(l.epoll, a.fd)
		a.watched = false
	}
}

// accept takes a batch of clients. The batch grows while there are always
// more, so that a lone client costs one call and a crowd few wake-ups.
func (a *acceptor) accept(l *loop) {
	if l.plane.shortage.Left(l.now) > 0 {
		a.pause(l)
		return
	}
	if a.take(l, a.batch) {
		a.batch = min(2*a.batch, maxBatch)
	} else {
		a.batch = max(a.batch/2, 1)
	}
	if l.crowded() {
		l.rest()
	}
}

// take accepts up to n clients and reports whether there were as many.
func (a *acceptor) take(l *loop, n int) bool {
	listener := a.socket.listener.Load()
	places := l.plane.places.Take(listener, n)
	if places == 0 {
		a.starve(l)
		return false
	}
	taken := 0
	defer func() {
		if taken < places {
			l.plane.places.Give(listener, places-taken)
		}
	}()
	for range places {
		fd, peer, errno := l.kernel.accept(a.fd)
		switch {
		case errno == unix.EAGAIN:
			return false
		case errno == unix.ECONNABORTED || errno == unix.EINTR:
			continue // the client has gone already
		case errno != 0:
			l.lacks("accept", os.NewSyscallError("accept4", errno))
			a.pause(l)
			return false
		}
		taken++
		a.socket.arrivals.Add(1)
		listener.Accepted.Add(1)
		l.begin(fd, peer, listener)
		if l.plane.shortage.Left(l.now) > 0 {
			a.pause(l) // those who wait would have to wait here, too
			return false
		}
	}
	return places == n
}

// lacks begins a pause in which nobody accepts or dials, after an attempt to do
// so failed for want of something.
func (l *loop) lacks(what string, err error) {
	if pause, first := l.plane.shortage.Begin(l.now); first {
		l.plane.options.Log.Warn("cannot "+what+", pausing", "pause", pause, "error", err)
	}
}

// pause has the acceptor wait until the shortage is over.
func (a *acceptor) pause(l *loop) {
	a.unwatch(l)
	l.arm(&a.timer, l.plane.shortage.Left(l.now))
}

// expire ends a pause. Whoever came meanwhile is reported at once.
func (a *acceptor) expire(l *loop) { a.watch(l) }

// starve has the acceptor wait until there is a place for a session.
func (a *acceptor) starve(l *loop) {
	a.unwatch(l)
	a.starved = true
	if !a.socket.listener.Load().Full(l.plane.options.Log, l.now) {
		l.plane.complainFull(l.now)
	}
	l.hunger(a)
}

// hunger has the loop told when there may be a place for the acceptor again.
func (l *loop) hunger(a *acceptor) {
	l.starving.Store(true)
	if l.plane.places.Want(a.socket.listener.Load()) {
		l.plane.feed()
	}
}

// feed tells the loops that wait for places that there are some.
func (p *Plane) feed() {
	for _, l := range p.loops {
		if l.starving.CompareAndSwap(true, false) {
			l.mailbox.post(l.feed)
		}
	}
}

// feed lets as many acceptors go on as there are places, in turn.
func (l *loop) feed() {
	given, first := 0, l.fed
	for i := range l.acceptors {
		number := (first + i) % len(l.acceptors)
		a := l.acceptors[number]
		switch {
		case a == nil || !a.starved:
		case l.plane.places.Free(a.socket.listener.Load()) <= given:
		default:
			given++
			a.starved = false
			a.watch(l)
			l.fed = number + 1
		}
	}
	for _, a := range l.acceptors {
		if a != nil && a.starved {
			l.hunger(a)
		}
	}
}

func (p *Plane) complainFull(now int64) {
	if p.sessions() < int64(p.places.Limit()) {
		return // another loop has reserved places for clients who may not come
	}
	p.full.Full(p.options.Log, now)
}
