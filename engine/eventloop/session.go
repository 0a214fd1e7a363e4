//go:build linux

package eventloop

import (
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"balance/engine/balancer"
	"balance/engine/plane"
)

// session is one client on its way to, and then joined with, a channel. It
// lives in the slab of its loop, whose goroutine alone touches it. It owns
// both sockets and all that its streams hold; end, called once, gives back
// everything.
type session struct {
	slot       uint32
	generation uint32
	id         uint64
	listener   *listener
	client     netip.AddrPort // as a PROXY header has it, if there is one; not valid for one of a unix socket
	started    int64          // as Plane.Now
	active     int64          // when a byte last moved
	timer      timer

	search  *dialing          // while dialling; without it the session holds a slot on the channel, or greets
	channel *balancer.Channel // the last that was tried
	err     error             // of the side that broke first
	group   uint16

	state   plane.State
	cause   plane.Cause // once a peer has finished or broken
	told    plane.Cause // once it is being finished: why
	parting bool        // likewise, and it is put off no more
	reset   bool        // the peers are to see a reset at the end
	queued  bool        // in loop.ready
	settled bool        // keep-alive and the user timeout are set towards the channel, or it has none
	noDelay bool        // likewise TCP_NODELAY
	owed    bool        // the last byte that moved went to the channel
	attempt uint8       // of which the connection to the channel came, as its token has it

	// looked is once a side has broken 1 + what the kernel had left to send to the
	// other at the last look. Before, while the session is being finished, it is
	// when the step began that it is in, in milliseconds.
	looked uint32

	sides   [2]side
	streams [2]stream
}

// The sides of a session, and the streams by the side that they come from.
const (
	client = iota
	server
)

// vacant is the state of a slot without a session.
const vacant = ^plane.State(0)

// side is one of the two sockets, and what the kernel last said of it.
type side struct {
	fd       int32
	local    bool // a unix socket
	readable bool // no read has come back empty since the last event
	writable bool // likewise no write has come back short
	finished bool // the peer's end of stream is here, behind the last byte
	urgent   bool // there is urgent data: a short read does not tell of an empty queue
	broken   bool // the connection has failed; a read tells once it has come to that, unless a write was told
}

// heard takes note of events.
func (s *side) heard(events uint32) {
	const broken = unix.EPOLLERR | unix.EPOLLHUP
	s.readable = s.readable || events&(unix.EPOLLIN|unix.EPOLLRDHUP|broken) != 0
	s.writable = s.writable || events&(unix.EPOLLOUT|broken) != 0
	s.finished = s.finished || events&(unix.EPOLLRDHUP|unix.EPOLLHUP) != 0
	s.urgent = s.urgent || events&unix.EPOLLPRI != 0
	s.broken = s.broken || events&unix.EPOLLERR != 0
}

func (s *side) emptied() { s.readable, s.urgent = false, false }

// stream is the way of the bytes from one side to the other. At most one of
// buffer and pipe is held, and only while there are bytes in it.
type stream struct {
	moved    uint64 // bytes given to the kernel
	buffer   *buffer
	pipe     *pipe
	begin    uint32 // of what is pending in the buffer or the pipe
	end      uint32
	stuck    uint32 // when it last moved, as seconds has it; 0 = nothing pending waits for the receiver
	splicing bool   // reads have come back full
	finished bool   // the end of stream was read
	closed   bool   // and was passed on
}

func (t *stream) pending() bool { return t.buffer != nil || t.pipe != nil }

// begin takes over the connection of a client.
func (l *loop) begin(fd int32, peer netip.AddrPort, listener *plane.Listener) {
	s := l.slab.take()
	s.id = l.plane.ids.Add(1)
	s.client = peer
	s.started, s.active = l.now, l.now
	s.sides[client] = side{fd: fd, local: !peer.IsValid(), writable: true}
	s.sides[server].fd = -1
	s.listener = l.listener(listener)
	s.listener.sessions++
	l.live.Add(1)
	step := plane.Go
	if listener.Service().Edge != nil {
		step = l.meet(s)
	}
	switch step {
	case plane.Refuse:
		return
	case plane.Go:
		l.search(s)
	}
	if errno := l.kernel.watch(l.epoll, fd, s.token(client)); errno != 0 {
		l.end(s, plane.ClientFailed, os.NewSyscallError("epoll_ctl", errno), true)
		return
	}
	if step == plane.Go {
		l.connect(s)
	}
}

// search begins the search for a channel.
func (l *loop) search(s *session) {
	s.state = plane.Dialing
	s.search = l.searches.get()
	s.search.Begin(&l.plane.options, s.listener.Listener, s.id, s.client, l.greetings[s.slot], l.now)
}

// event acts on what the kernel says of one side. Events of an attempt to connect
// that was given up, because another was faster, may be on their way still.
func (l *loop) event(s *session, which int, t token, events uint32) {
	if which == server && s.search != nil {
		l.answered(s, t.attempt(), events)
		return
	}
	if which == server && t.attempt() != s.attempt {
		return
	}
	e := &s.sides[which]
	e.heard(events)
	switch {
	case s.state == plane.Greets:
		l.hear(s)
	case s.search == nil:
		if !s.queued { // or else its turn is to come
			l.relay(s, which)
		}
	case events&unix.EPOLLERR != 0, events&unix.EPOLLHUP != 0 && !e.local:
		l.speaks(s)
	}
}

// speaks reports whether a client whose connection has failed has said something.
// Then it has gone on to the channel; no channel is bothered for one without, and the
// session has ended with that.
func (l *loop) speaks(s *session) bool {
	n, errno := l.kernel.peek(s.sides[client].fd)
	if n == 0 {
		l.end(s, plane.ClientFailed, os.NewSyscallError("read", errno), true)
	}
	return n > 0
}

// broke takes note that the connection of one side has broken.
func (l *loop) broke(s *session, which int, call string, errno unix.Errno) {
	s.sides[which].broken = true
	if s.err == nil && !s.parting {
		s.cause = [...]plane.Cause{client: plane.ClientFailed, server: plane.ChannelFailed}[which]
		s.err = os.NewSyscallError(call, errno)
	}
}

// part ends a session one side of which has broken, or reports true if there
// is still something to wait for (see plane.Parting).
func (l *loop) part(s *session, which int) bool {
	t, other := &s.streams[which], &s.sides[which^1]
	if !other.broken && (t.pending() || t.moved > 0) {
		unsent := l.kernel.unsent(other.fd)
		if s.looked != unsent+1 {
			s.looked, s.active = unsent+1, l.now
		}
		if left := plane.Parting - time.Duration(l.now-s.active); left > 0 && (t.pending() || unsent > 0) {
			l.arm(&s.timer, min(left, plane.PartingLook))
			return true
		}
	}
	if s.err == nil && !s.parting {
		l.broke(s, which, "read", l.kernel.socketError(s.sides[which].fd))
	}
	l.end(s, s.cause, s.err, !s.parting || s.holds())
	return false
}

// broken returns the side that has broken, if one has.
func (s *session) broken() (which int, ok bool) {
	for which := range s.sides {
		if s.sides[which].broken {
			return which, true
		}
	}
	return 0, false
}

// end closes both connections, gives back what the session held and tells of
// its end, in the order of plane.EndSession. The peers see a reset or an end of
// stream.
func (l *loop) end(s *session, cause plane.Cause, err error, reset bool) {
	s.cause, s.err, s.reset = cause, err, reset
	l.plane.options.EndSession(s, &l.plane.places, s.listener.Listener, l.now)
	if l.resting.Load() && l.live.Load() <= l.plane.mean() {
		l.rejoin()
	}
}

// LeaveChannel implements plane.Ending.
func (s *session) LeaveChannel() {
	l := s.listener.loop
	if s.search != nil {
		l.giveUp(s, s.reset)
	}
	l.hangUp(&s.sides[server], s.reset)
	for i := range s.streams {
		l.dropBuffer(&s.streams[i])
		l.dropPipe(&s.streams[i])
	}
	l.wheel.disarm(&s.timer)
}

// Searched implements plane.Ending.
func (s *session) Searched() *plane.Search {
	if s.search == nil {
		return nil
	}
	return &s.search.Search
}

// Greeted implements plane.Ending.
func (s *session) Greeted() *plane.Greeting { return s.listener.loop.greetings[s.slot] }

// FreeSlot implements plane.Ending.
func (s *session) FreeSlot(now int64) {
	if s.search == nil {
		if s.channel != nil { // or else it greets
			s.channel.Leave(now)
		}
		return
	}
	s.search.Close(now)
	s.listener.loop.searches.put(s.search)
	s.search = nil
}

// LeaveClient implements plane.Ending.
func (s *session) LeaveClient() {
	s.listener.loop.hangUp(&s.sides[client], s.reset)
	s.state = plane.Closed
}

// End implements plane.Ending.
func (s *session) End() plane.End {
	return plane.End{Session: s.listener.loop.picture(s), Cause: s.cause, Err: s.err}
}

// Forget implements plane.Ending.
func (s *session) Forget() {
	l := s.listener.loop
	s.listener.sessions--
	l.live.Add(-1)
	delete(l.greetings, s.slot)
	l.slab.give(s)
}

func (l *loop) hangUp(s *side, reset bool) {
	if s.fd >= 0 {
		l.drop(s.fd, reset)
	}
	s.fd = -1
}

// drop closes a socket.
func (l *loop) drop(fd int32, reset bool) {
	if reset {
		l.kernel.reset(fd)
	} else {
		l.kernel.close(fd)
	}
}

// settleAfter is how long a session lives before it is treated as one that
// may live long.
const settleAfter = time.Second

// expire implements expirer. The timer is not set anew for each byte: when it
// expires, the session may have been active since.
func (s *session) expire(l *loop) {
	switch s.state {
	case plane.Greets:
		l.late(s)
		return
	case plane.Dialing:
		l.dialDue(s)
		return
	case plane.Queued:
		l.goOn(s, balancer.Wait)
		return
	}
	if which, ok := s.broken(); ok {
		l.relay(s, which)
		return
	}
	if s.told != 0 {
		l.finishOn(s)
		return
	}
	if !s.settled {
		s.settled = true
		service := s.listener.Service()
		l.kernel.keepAlive(s.sides[server].fd, service.KeepAlive)
		if service.UserTimeout > 0 {
			l.kernel.userTimeout(s.sides[server].fd, service.UserTimeout)
		}
	}
	switch left, cause := s.timeLeft(l.now); {
	case cause == 0 || left > 0:
	case cause == plane.MaxAge:
		l.finish(s, cause)
		return
	default:
		l.end(s, cause, nil, true)
		return
	}
	l.schedule(s)
}

// schedule sets the timer of a session that relays to what comes first.
func (l *loop) schedule(s *session) {
	left, cause := s.timeLeft(l.now)
	_, parting := s.broken()
	switch {
	case parting:
		l.arm(&s.timer, plane.PartingLook)
	case s.told != 0:
		l.arm(&s.timer, l.finishLeft(s))
	case !s.settled && (cause == 0 || left > settleAfter):
		l.arm(&s.timer, settleAfter)
	case cause != 0:
		l.arm(&s.timer, left)
	default:
		l.wheel.disarm(&s.timer)
	}
}

// timeLeft is that of plane.Service.TimeLeft.
func (s *session) timeLeft(now int64) (time.Duration, plane.Cause) {
	return s.listener.Service().TimeLeft(s.state, s.id, time.Duration(now-s.started), time.Duration(now-s.active))
}

func (l *loop) picture(s *session) plane.Session {
	var peer *netip.AddrPort
	if g := l.greetings[s.slot]; g != nil {
		peer = g.Peer()
	}
	return plane.Session{
		Peer:     peer,
		ID:       s.id,
		Client:   s.client,
		Listener: s.listener.Listener,
		Channel:  s.channel,
		Group:    int(s.group),
		State:    s.state,
		Started:  l.plane.epoch.Add(time.Duration(s.started)),
		Active:   l.plane.epoch.Add(time.Duration(s.active)),
		Sent:     s.streams[client].moved,
		Received: s.streams[server].moved,
		Owed:     s.owed,
		Leaving:  s.told != 0,
	}
}
