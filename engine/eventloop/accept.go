//go:build linux

package eventloop

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// acceptor is a listening socket as one loop sees it. The socket is registered
// level-triggered, so clients beyond a batch are reported again, and exclusive:
// the kernel wakes one loop that waits for a client, not all.
type acceptor struct {
	socket  *socket
	fd      int32
	number  int32 // in loop.acceptors
	batch   int
	watched bool
	timer   timer // armed in a pause
}

const maxBatch = 64

// add starts accepting from the socket.
func (l *loop) add(s *socket) {
	number := 0
	for number < len(l.acceptors) && l.acceptors[number] != nil {
		number++
	}
	if number == len(l.acceptors) {
		l.acceptors = append(l.acceptors, nil)
	}
	a := &acceptor{socket: s, fd: int32(s.fd), number: int32(number), batch: 1}
	a.timer.owner = a
	l.acceptors[number] = a
	a.watch(l)
}

// remove ends accepting from the socket.
func (l *loop) remove(s *socket) {
	for i, a := range l.acceptors {
		if a != nil && a.socket == s {
			a.unwatch(l)
			l.wheel.disarm(&a.timer)
			l.acceptors[i] = nil
		}
	}
}

// watch has the loop told of clients, unless it pauses or rests.
func (a *acceptor) watch(l *loop) {
	if a.watched || a.timer.armed() || l.resting.Load() {
		return
	}
	errno := control(l.epoll, unix.EPOLL_CTL_ADD, a.fd, unix.EPOLLIN|unix.EPOLLEXCLUSIVE, token{low: a.number})
	if errno != 0 {
		a.exhaust(l, os.NewSyscallError("epoll_ctl", errno))
		return
	}
	a.watched = true
}

func (a *acceptor) unwatch(l *loop) {
	if a.watched {
		control(l.epoll, unix.EPOLL_CTL_DEL, a.fd, 0, token{})
		a.watched = false
	}
}

// accept takes a batch of clients. The batch grows while there are always
// more, so that a lone client costs one call and a crowd few wake-ups.
func (a *acceptor) accept(l *loop) {
	if until := a.socket.pausedUntil.Load(); until > l.now {
		a.pause(l, time.Duration(until-l.now))
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
	a.socket.followKeepAlive(listener.Service().KeepAlive)
	for range n {
		fd, peer, errno := accept(a.fd)
		switch {
		case errno == unix.EAGAIN:
			return false
		case errno == unix.ECONNABORTED || errno == unix.EINTR:
			continue // the client has gone already
		case errno != 0:
			a.exhaust(l, os.NewSyscallError("accept4", errno))
			return false
		}
		a.socket.arrivals.Add(1)
		a.socket.recovered()
		listener.Accepted.Add(1)
		l.exhausted = nil
		l.begin(fd, peer, listener)
		if l.exhausted != nil {
			// Those who wait would be turned away the same way.
			a.exhaust(l, l.exhausted)
			return false
		}
	}
	return true
}

// exhaust pauses all loops that come to accept from this socket.
func (a *acceptor) exhaust(l *loop, err error) {
	a.pause(l, a.socket.exhausted(l.now, err))
}

func (a *acceptor) pause(l *loop, pause time.Duration) {
	a.unwatch(l)
	l.arm(&a.timer, pause)
}

// expire ends a pause. Whoever came meanwhile is reported at once.
func (a *acceptor) expire(l *loop) { a.watch(l) }
