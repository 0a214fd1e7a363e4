//go:build linux

package eventloop

import (
	"os"

	"golang.org/x/sys/unix"

	"balance/engine/plane"
)

// greetings are those of the sessions that greet, or that have something of their
// greeting to give back or to show, by their slots: a session is not larger for what
// most of them do not have. It keeps the memory of the most there were at a time.
type greetings map[uint32]*plane.Greeting

// meet begins the greeting of a client, who is not registered yet. With Refuse the
// session has ended.
func (l *loop) meet(s *session) plane.Step {
	g := new(plane.Greeting)
	l.greetings[s.slot] = g
	s.state = plane.Greets
	t := s.token(client)
	away := func() { l.mailbox.post(func() { l.sendAway(t) }) }
	step := g.Begin(&l.plane.options, &l.plane.places, s.listener.Listener, s.client, away, l.now)
	switch step {
	case plane.Listen:
		l.arm(&s.timer, g.Left(l.now))
	case plane.Refuse:
		l.refuse(s, g.Reset())
	}
	return step
}

// hear goes on with a greeting as far as the client has come with it. What it has
// sent stays in the socket but for what is balance's own; the side counts as readable
// all the while, so that the relay begins with what is left there.
func (l *loop) hear(s *session) {
	g, in := l.greetings[s.slot], &s.sides[client]
	for {
		n, errno := l.kernel.look(in.fd, l.shared[:g.Most()])
		switch {
		case errno == unix.EAGAIN:
			return
		case errno == unix.EINTR:
			continue
		case errno == 0 && n == 0 && in.broken: // which is no end of stream
			errno = l.kernel.socketError(in.fd)
		}
		if errno != 0 {
			l.end(s, plane.ClientFailed, os.NewSyscallError("read", errno), true)
			return
		}
		step, take, reply := g.Heard(l.shared[:n], n == 0 || in.finished || in.broken, l.now)
		s.client = g.Client()
		if step != plane.Refuse {
			call, errno := l.answer(in.fd, take, reply)
			if errno != 0 {
				l.end(s, plane.ClientFailed, os.NewSyscallError(call, errno), true)
				return
			}
		}
		l.greeted(s, step)
		if step != plane.Listen || take == 0 {
			return
		}
	}
}

// answer takes so many bytes from the socket that were looked at, and sends a reply,
// for which there is room in the socket of a client who was sent next to nothing. It
// returns the call that failed.
func (l *loop) answer(fd int32, take int, reply []byte) (call string, errno unix.Errno) {
	for take > 0 {
		n, errno := l.kernel.recv(fd, l.shared[:take])
		if errno != 0 && errno != unix.EINTR {
			return "read", errno
		}
		take -= max(n, 0)
	}
	for len(reply) > 0 {
		n, errno := l.kernel.send(fd, reply)
		if errno != 0 && errno != unix.EINTR {
			return "write", errno
		}
		reply = reply[max(n, 0):]
	}
	return "", 0
}

// late is called when the time of a greeting is over, or the client has to make room.
func (l *loop) late(s *session) { l.greeted(s, l.greetings[s.slot].Late(l.now)) }

// sendAway is called when a client has to make room. It may have left since.
func (l *loop) sendAway(t token) {
	if s, _ := l.slab.session(t); s != nil && s.state == plane.Greets {
		l.late(s)
	}
}

// greeted takes the next step of a greeting.
func (l *loop) greeted(s *session, step plane.Step) {
	g := l.greetings[s.slot]
	switch step {
	case plane.Listen:
		l.arm(&s.timer, g.Left(l.now))
	case plane.Refuse:
		l.refuse(s, g.Reset())
	case plane.Go:
		l.wheel.disarm(&s.timer)
		if s.sides[client].broken && !l.speaks(s) {
			return
		}
		l.search(s)
		l.connect(s)
	}
}

// refuse ends a session whose client is refused. A socket that is closed with bytes to
// read sends a reset (RFC 2525, 2.17), so where there is to be none they are read.
func (l *loop) refuse(s *session, reset bool) {
	if !reset {
		l.kernel.recv(s.sides[client].fd, l.shared[:])
	}
	l.end(s, plane.Refused, nil, reset)
}
