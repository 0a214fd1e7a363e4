//go:build linux

package eventloop

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"balance/engine/balancer"
	"balance/engine/plane"
)

// searches keeps what sessions need while they dial, and leave behind then.
type searches struct{ idle []*plane.Search }

// idleSearches is how many are kept for the next sessions: less than 256 KiB.
const idleSearches = 1024

func (p *searches) get() *plane.Search {
	if last := len(p.idle) - 1; last >= 0 {
		s := p.idle[last]
		p.idle = p.idle[:last]
		return s
	}
	return new(plane.Search)
}

func (p *searches) put(s *plane.Search) {
	*s = plane.Search{}
	if len(p.idle) < idleSearches {
		p.idle = append(p.idle, s)
	}
}

// connect dials the next channel that is to be had, or ends the session if none
// is left. While it dials, the client is not read from.
func (l *loop) connect(s *session) {
	for s.search.Next(l.now) == balancer.Dial {
		s.channel, s.group = s.search.Channel(), uint16(s.search.Group())
		if l.dial(s) {
			return
		}
		s.search.Failed(l.now)
	}
	l.end(s, plane.NoChannel, nil, false)
}

// dial starts connecting to the next address of the channel, or waits until
// this machine has what that takes. It reports false if there is no address
// left.
func (l *loop) dial(s *session) bool {
	for addr, share, ok := s.search.Address(l.now); ok; addr, share, ok = s.search.Address(l.now) {
		fd, err := l.kernel.dial(addr, s.search.Service().Source)
		if err == nil {
			s.sides[server] = side{fd: fd, writable: true}
			errno := l.kernel.watch(l.epoll, fd, s.token(server))
			if errno == 0 {
				l.plane.shortage.End()
				l.arm(&s.timer, share)
				return true
			}
			l.hangUp(&s.sides[server], false)
			err = os.NewSyscallError("epoll_ctl", errno)
		}
		if plane.Exhausted(err) {
			l.lacks("dial", err)
			if left := s.search.Left(l.now); left > 0 {
				s.search.Again(err)
				l.arm(&s.timer, min(left, l.plane.shortage.Left(l.now)))
				return true
			}
		}
		err = plane.DialError(addr, err)
		if errors.Is(err, plane.ErrNoPort) {
			if pause := s.search.AwaitPort(err, l.now); pause > 0 {
				l.arm(&s.timer, pause)
				return true
			}
			continue
		}
		s.search.Undialled(err)
	}
	return false
}

// redial goes on with a session that waits until it can dial.
func (l *loop) redial(s *session) {
	left, pause := s.search.Left(l.now), l.plane.shortage.Left(l.now)
	if pause > 0 && left > 0 {
		l.arm(&s.timer, min(left, pause))
		return
	}
	l.dialOn(s)
}

// dialOn goes on with the next address, or the next channel.
func (l *loop) dialOn(s *session) {
	if !l.dial(s) {
		s.search.Failed(l.now)
		l.connect(s)
	}
}

// answered is called when something has come of the connection attempt.
func (l *loop) answered(s *session, events uint32) {
	if events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		l.undialled(s, os.NewSyscallError("connect", l.kernel.socketError(s.sides[server].fd)))
		return
	}
	if events&unix.EPOLLOUT == 0 {
		return
	}
	if port := s.channel.Key().Port; port >= l.plane.picked && l.kernel.selfConnected(s.sides[server].fd, port) {
		// Nobody was there, and connect picked the port that it dialled
		// (simultaneous open, RFC 9293, 3.5). The reset frees that port for
		// the server; a close would hold it for the time of TIME-WAIT.
		l.hangUp(&s.sides[server], true)
		l.undialled(s, os.NewSyscallError("connect", unix.ECONNREFUSED))
		return
	}
	s.search.Connected(l.now)
	l.searches.put(s.search)
	s.search = nil
	s.state = plane.Relaying
	s.active = l.now
	l.schedule(s)
	if l.relay(s, client) && s.streams[client].moved == 0 {
		// The server may be the one who speaks first, and does not know of
		// the connection before the ACK that dial holds back.
		l.kernel.quickAck(s.sides[server].fd)
	}
}

// dialTimedOut fails the attempt, unless it has come to something that the loop
// was not told of yet.
func (l *loop) dialTimedOut(s *session) {
	if events := l.kernel.pending(s.sides[server].fd); events != 0 {
		l.answered(s, events)
		return
	}
	l.undialled(s, os.ErrDeadlineExceeded)
}

// undialled goes on after an attempt failed.
func (l *loop) undialled(s *session, err error) {
	l.hangUp(&s.sides[server], false)
	s.search.Undialled(plane.DialError(s.search.Dialled(), err))
	l.dialOn(s)
}
