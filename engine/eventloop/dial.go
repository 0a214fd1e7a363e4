//go:build linux

package eventloop

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"balance/engine/balancer"
	"balance/engine/plane"
)

// connect dials the next channel of the session's route, or ends the session
// if none is left. While it dials, the client is not read from.
func (l *loop) connect(s *session) {
	for {
		step := s.route.Next(l.now)
		if current := s.tenant.listener.Service(); step == balancer.Reject && current != s.service {
			// What this client had left was taken away by a change of the
			// configuration.
			s.service = current
			s.route = current.Router.Route(balancer.Client{Addr: s.client.Addr()}, l.now)
			continue
		}
		if step == balancer.Reject {
			s.tenant.listener.Reject(&s.route)
			l.end(s, plane.NoChannel, nil, false)
			return
		}
		s.channel, s.group = s.route.Channel(), uint16(s.route.Group())
		s.address, s.err = 0, nil
		s.dialled = l.now + int64(s.service.ConnectTimeout)
		if l.dial(s) {
			return
		}
		if l.failed(s) {
			return
		}
	}
}

// failed tells of the failure of a channel. It reports whether the session has
// ended with that: a lack on this machine is no reason to go to another channel.
func (l *loop) failed(s *session) bool {
	l.plane.options.Failed(s.service, &s.route, s.err, l.now)
	if !plane.Exhausted(s.err) {
		return false
	}
	s.tenant.listener.Reject(&s.route)
	l.end(s, plane.NoChannel, nil, false)
	return true
}

// dial starts connecting to the next address of the channel, or waits until
// this machine has what that takes. It reports false if there is no address
// left, or no time; the session's err tells why. All
// addresses together have the connect timeout; each may use an equal share of
// what is left.
func (l *loop) dial(s *session) bool {
	addrs := s.channel.Addresses()
	for int(s.address) < len(addrs) {
		addr := addrs[s.address]
		share := time.Duration(s.dialled-l.now) / time.Duration(len(addrs)-int(s.address))
		s.address++
		fd, err := l.kernel.dial(addr, s.service.Source)
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
			if left := time.Duration(s.dialled - l.now); left > 0 {
				s.address--
				l.arm(&s.timer, min(left, l.plane.shortage.Left(l.now)))
				return true
			}
		}
		s.note(addr, err)
	}
	if s.err == nil {
		s.err = errors.New("the channel has no address")
	}
	return false
}

// redial goes on with a session that waits until it can dial.
func (l *loop) redial(s *session) {
	left := time.Duration(s.dialled - l.now)
	if pause := l.plane.shortage.Left(l.now); pause > 0 && left > 0 {
		l.arm(&s.timer, min(left, pause))
		return
	}
	if !l.dial(s) && !l.failed(s) {
		l.connect(s)
	}
}

// note adds the failure of one address to those of the channel.
func (s *session) note(addr netip.AddrPort, err error) {
	s.err = plane.Undialled(s.err, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(addr), Err: err})
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
	took := s.service.ConnectTimeout - time.Duration(s.dialled-l.now)
	l.plane.options.Connected(s.service, &s.route, took, l.now)
	s.state = plane.Relaying
	s.service, s.err = nil, nil
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

// undialled goes on with the next address, or the next channel, after an
// attempt failed.
func (l *loop) undialled(s *session, err error) {
	l.hangUp(&s.sides[server], false)
	addrs := s.channel.Addresses()
	if tried := int(s.address) - 1; tried < len(addrs) {
		s.note(addrs[tried], err)
	} else if s.err == nil { // the name was resolved anew meanwhile
		s.err = err
	}
	if !l.dial(s) && !l.failed(s) {
		l.connect(s)
	}
}
