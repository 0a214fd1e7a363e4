//go:build linux

package eventloop

import (
	"io"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"balance/engine/balancer"
	"balance/engine/plane"
)

// dialing is what a session needs while it dials, and leaves behind then.
type dialing struct {
	plane.Search
	attempts []attempt // under way
	few      [2]attempt
}

// attempt is one to connect to the channel.
type attempt struct {
	plane.Attempt
	fd     int32
	number uint8  // as its token has it: no other one that is under way has the same
	open   bool   // it is connected
	told   bool   // and is sent something first
	agreed bool   // which it has to answer
	events uint32 // all that it was told of
	rest   []byte // of what is sent first
}

// find returns the place of an attempt that is under way, or -1.
func (d *dialing) find(number uint8) int {
	return slices.IndexFunc(d.attempts, func(a attempt) bool { return a.number == number })
}

// number returns one that no attempt under way has.
func (d *dialing) number() (n uint8) {
	for d.find(n) >= 0 {
		n++
	}
	return n
}

// take takes out an attempt, whose socket is the caller's then.
func (d *dialing) take(i int) attempt {
	a := d.attempts[i]
	d.attempts = slices.Delete(d.attempts, i, i+1)
	return a
}

// searches keeps what sessions need while they dial, and leave behind then.
type searches struct{ idle []*dialing }

// idleSearches is how many are kept for the next sessions: less than 640 KiB.
const idleSearches = 1024

func (p *searches) get() *dialing {
	d := new(dialing)
	if last := len(p.idle) - 1; last >= 0 {
		d = p.idle[last]
		p.idle = p.idle[:last]
	}
	d.attempts = d.few[:0]
	return d
}

func (p *searches) put(d *dialing) {
	*d = dialing{}
	if len(p.idle) < idleSearches {
		p.idle = append(p.idle, d)
	}
}

// connect dials the next channel that is to be had, or ends the session if none
// is left. While it dials, the client is not read from.
func (l *loop) connect(s *session) { l.goOn(s, s.search.Next(l.now)) }

// goOn takes the step, and those that follow at once.
func (l *loop) goOn(s *session, step balancer.Step) {
	for ; ; step = s.search.Next(l.now) {
		if step == balancer.Wait {
			step = l.queue(s)
		}
		switch step {
		case balancer.Wait:
			return
		case balancer.Reject:
			l.end(s, s.search.Cause(), nil, s.listener.Service().ResetUnserved)
			return
		}
		s.state = plane.Dialing
		s.channel, s.group = s.search.Channel(), uint16(s.search.Group())
		if l.dial(s) {
			return
		}
		s.search.Failed(l.now)
	}
}

// queue has the client wait for a slot, unless it does already. The timer is armed
// then.
func (l *loop) queue(s *session) balancer.Step {
	if s.state != plane.Queued {
		t := s.token(client)
		step := s.search.Enqueue(balancer.Waiter{
			Client: s.client,
			Wake:   func() { l.mailbox.post(func() { l.woken(t) }) },
		}, l.now)
		if step != balancer.Wait {
			return step
		}
		s.state, s.channel, s.group = plane.Queued, nil, 0
	}
	return l.patient(s)
}

// patient arms the timer for as long as the client may wait.
func (l *loop) patient(s *session) balancer.Step {
	step, left := s.search.Patient(l.now)
	if step == balancer.Wait {
		l.arm(&s.timer, left)
	}
	return step
}

// woken is called when there is news for who waits. It may have left since, and even
// wait anew.
func (l *loop) woken(t token) {
	s, _ := l.slab.session(t)
	if s == nil || s.state != plane.Queued {
		return
	}
	step := s.search.Woken(l.now)
	if step == balancer.Wait {
		step = l.patient(s)
	}
	if step != balancer.Wait {
		l.wheel.disarm(&s.timer)
		l.goOn(s, step)
	}
}

// dial begins the attempts that are due. It reports false if there is nothing
// to wait for then.
func (l *loop) dial(s *session) bool {
	for a, ok := s.search.Attempt(l.now); ok; a, ok = s.search.Attempt(l.now) {
		if err := l.attempt(s, a); err != nil {
			l.attemptFailed(s, a, err)
		}
	}
	pause, ok := s.search.Wait(l.now)
	if ok {
		l.arm(&s.timer, pause)
	}
	return ok
}

// attempt starts connecting. What this machine lacked it is not asked for again
// while the pause lasts.
func (l *loop) attempt(s *session, a plane.Attempt) error {
	if a.Lack != nil && l.plane.shortage.Left(l.now) > 0 {
		return a.Lack
	}
	fd, err := l.start(s, a)
	if err != nil {
		return plane.DialError(s.channel.Key(), a.Addr, err)
	}
	number := s.search.number()
	if errno := l.kernel.watch(l.epoll, fd, s.serverToken(number)); errno != 0 {
		l.kernel.close(fd)
		return plane.DialError(s.channel.Key(), a.Addr, os.NewSyscallError("epoll_ctl", errno))
	}
	l.plane.shortage.End()
	s.search.attempts = append(s.search.attempts, attempt{Attempt: a, fd: fd, number: number})
	return nil
}

// start begins to connect a new socket.
func (l *loop) start(s *session, a plane.Attempt) (fd int32, err error) {
	if path, ok := s.channel.Key().Unix(); ok {
		return l.kernel.dialUnix(path)
	}
	source, transparent, err := s.search.Source(a)
	if err != nil {
		return -1, err
	}
	return l.kernel.dial(a.Addr, source, transparent)
}

func (l *loop) attemptFailed(s *session, a plane.Attempt, err error) {
	if plane.Exhausted(err) {
		l.lacks("dial", err)
	}
	s.search.AttemptFailed(a, err, l.plane.shortage.Left(l.now), l.now)
}

// dialOn goes on with the next address, or the next channel.
func (l *loop) dialOn(s *session) {
	if !l.dial(s) {
		s.search.Failed(l.now)
		l.connect(s)
	}
}

// dialDue is called when an attempt is to begin, or the time is over. The
// attempts under way fail then, unless one has come to something that the loop
// was not told of yet.
func (l *loop) dialDue(s *session) {
	for s.search.Left(l.now) <= 0 && len(s.search.attempts) > 0 {
		switch l.came(s, 0, l.kernel.pending(s.search.attempts[0].fd)) {
		case won:
			return
		case underWay:
			var err error = os.ErrDeadlineExceeded
			if s.search.attempts[0].agreed {
				err = plane.Unagreed(err)
			}
			l.undialled(s, 0, err, false)
		}
	}
	l.dialOn(s)
}

// answered is called when something has come of an attempt.
func (l *loop) answered(s *session, number uint8, events uint32) {
	if i := s.search.find(number); i >= 0 && l.came(s, i, events) == lost {
		l.dialOn(s)
	}
}

// progress is what has come of an attempt:
//
//	connecting ──► told what comes first ──► to agree ──► won
//	     └────────────────────┴──────────────────┴──────► lost
type progress uint8

const (
	underWay progress = iota
	won
	lost
)

// came acts on what has come of an attempt. One that is lost is under way no more.
func (l *loop) came(s *session, i int, events uint32) progress {
	a := &s.search.attempts[i]
	a.events |= events
	if !a.open {
		local := !a.Addr.IsValid()
		if events&unix.EPOLLERR != 0 || events&unix.EPOLLHUP != 0 && !local { // a unix socket may have gone again
			l.undialled(s, i, os.NewSyscallError("connect", l.kernel.socketError(a.fd)), false)
			return lost
		}
		if events&unix.EPOLLOUT == 0 {
			return underWay
		}
		if port := s.channel.Key().Port; port >= l.plane.picked && l.kernel.selfConnected(a.fd, port) {
			// Nobody was there, and connect picked the port that it dialled
			// (simultaneous open, RFC 9293, 3.5). The reset frees that port for
			// the server; a close would hold it for the time of TIME-WAIT.
			l.undialled(s, i, os.NewSyscallError("connect", unix.ECONNREFUSED), true)
			return lost
		}
		a.open = true
		l.opening, a.agreed = s.search.Opening(l.opening[:0], func() netip.AddrPort { return l.kernel.local(s.sides[client].fd) })
		a.rest, a.told = l.opening, len(l.opening) > 0
	}
	p, err := won, error(nil)
	if len(a.rest) > 0 {
		p, err = l.tell(a)
	}
	if p == won && a.agreed {
		p, err = l.agree(s, a)
	}
	switch p {
	case lost:
		l.undialled(s, i, err, false)
	case won:
		l.connected(s, s.search.take(i))
	}
	return p
}

// tell sends what comes first. A new socket has room for it, unless the machine is
// short of memory or has been told to give sockets little: then the rest waits, since
// the channel is not to blame.
func (l *loop) tell(a *attempt) (progress, error) {
	n, errno := l.kernel.send(a.fd, a.rest)
	switch errno {
	case 0, unix.EAGAIN, unix.EINTR:
	default:
		return lost, os.NewSyscallError("write", errno)
	}
	if a.rest = a.rest[max(n, 0):]; len(a.rest) == 0 {
		return won, nil
	}
	a.rest = slices.Clone(a.rest) // the loop has but one buffer for it
	if errno == unix.EINTR {
		return l.tell(a)
	}
	return underWay, nil
}

// agree takes the byte that the channel has to answer.
func (l *loop) agree(s *session, a *attempt) (progress, error) {
	var answer [1]byte
	n, errno := l.kernel.recv(a.fd, answer[:])
	switch {
	case errno == unix.EINTR:
		return l.agree(s, a)
	case errno == unix.EAGAIN && a.events&(unix.EPOLLERR|unix.EPOLLHUP) == 0:
		return underWay, nil
	case errno != 0:
		return lost, plane.Unagreed(os.NewSyscallError("read", errno))
	case n == 0:
		return lost, plane.Unagreed(io.EOF)
	}
	if err := s.search.Agreed(answer[0]); err != nil {
		return lost, err
	}
	return won, nil
}

// connected begins to relay, over the connection of the attempt.
func (l *loop) connected(s *session, a attempt) {
	out := &s.sides[server]
	s.attempt = a.number
	*out = side{fd: a.fd, local: !a.Addr.IsValid(), readable: a.agreed} // there may be more behind the answer
	out.heard(a.events)
	s.settled, s.noDelay = out.local, out.local
	if a.told && !out.local {
		// What is sent next is not the first segment any more, see flush.
		s.noDelay = true
		l.kernel.noDelay(a.fd)
	}
	l.giveUp(s, false)
	s.search.Connected(l.now)
	l.searches.put(s.search)
	s.search = nil
	if g := l.greetings[s.slot]; g != nil && !g.Outlasts() {
		delete(l.greetings, s.slot)
	}
	s.state = plane.Relaying
	s.active = l.now
	l.plane.options.BeginSession(s)
	l.schedule(s)
	if l.relay(s, client) && s.streams[client].moved == 0 && !a.told && !out.local {
		// The server may be the one who speaks first, and does not know of
		// the connection before the ACK that dial holds back.
		l.kernel.quickAck(out.fd)
	}
}

// undialled closes the socket of an attempt that failed.
func (l *loop) undialled(s *session, i int, err error, reset bool) {
	a := s.search.take(i)
	l.drop(a.fd, reset)
	l.attemptFailed(s, a.Attempt, plane.DialError(s.channel.Key(), a.Addr, err))
}

// giveUp closes the sockets of the attempts under way.
func (l *loop) giveUp(s *session, reset bool) {
	for len(s.search.attempts) > 0 {
		l.drop(s.search.take(len(s.search.attempts)-1).fd, reset)
	}
}
