package portable

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"balance/engine/balancer"
	"balance/engine/plane"
)

// session is one client on its way to, and then joined with, a channel. It
// owns both connections: close, called once, closes them.
type session struct {
	plane    *Plane
	id       uint64
	listener *plane.Listener
	client   connection
	peer     netip.AddrPort // who has connected; not valid for a unix socket
	started  time.Time
	cancel   context.CancelFunc // ends dialling

	greeting *plane.Greeting // nil without an Edge; used by the session's first goroutine alone

	search  plane.Search // used by the session's first goroutine alone
	reset   bool         // likewise; the client is to see a reset at the end
	channel atomic.Pointer[balancer.Channel]
	group   atomic.Int32

	active   atomic.Int64 // when a byte last moved, as Plane.Now
	sent     atomic.Uint64
	received atomic.Uint64
	owed     atomic.Bool // the last byte that moved went to the channel
	stalls   [2]stall    // of the directions: nobody reads from where the bytes come meanwhile

	mu      sync.Mutex
	from    netip.AddrPort  // guarded by mu; who the client is
	via     *netip.AddrPort // guarded by mu; the peer, if that is another
	crowded bool            // guarded by mu; it is to make room while it greets
	state   plane.State     // guarded by mu
	cause   plane.Cause     // guarded by mu; the first one stays
	err     error           // guarded by mu; belongs to cause, or to broken as long as the session goes on
	broken  plane.Cause     // guarded by mu: ClientFailed or ChannelFailed, once that side has broken
	looked  uint32          // guarded by mu; once a side has broken: 1 + what the kernel had left to send to the other at the last look
	finishing
	server connection // guarded by mu until the session relays; nil before
}

// serve takes over the client's connection and returns when its session has
// ended.
func (p *Plane) serve(client connection, l *plane.Listener) {
	defer p.workers.Done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := &session{
		plane:    p,
		id:       p.ids.Add(1),
		listener: l,
		client:   client,
		peer:     addrPortOf(client.RemoteAddr()),
		started:  time.Now(),
		cancel:   cancel,
	}
	s.from = s.peer
	service := l.Service()
	if service.Edge != nil {
		s.greeting, s.state = new(plane.Greeting), plane.Greets
	}
	s.active.Store(p.Now())
	p.add(s)

	keepAlive(client, service.KeepAlive)
	userTimeout(client, service.UserTimeout)
	if s.greet() {
		s.search.Begin(&p.options, l, s.id, s.from, s.greeting, p.Now())
		if s.connect(ctx) {
			s.relay()
		}
	}
	p.options.EndSession(s, &p.places, l, p.Now())
}

// connect finds a channel that answers.
func (s *session) connect(ctx context.Context) bool {
	for s.next(ctx) == balancer.Dial {
		s.group.Store(int32(s.search.Group()))
		s.channel.Store(s.search.Channel())
		if err := failed(s.client); err != nil {
			s.abort(plane.ClientFailed, err)
			return false
		}
		if conn := s.plane.dial(ctx, s); conn != nil {
			s.search.Connected(s.plane.Now())
			if !s.join(conn) {
				return false
			}
			s.plane.options.BeginSession(s)
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		s.search.Failed(s.plane.Now())
	}
	if ctx.Err() != nil {
		return false
	}
	s.note(s.search.Cause())
	s.reset = s.listener.Service().ResetUnserved
	return false
}

// next goes on to the next channel, once there is a slot. It returns Reject, too, if
// ctx ends while the client waits for one.
func (s *session) next(ctx context.Context) balancer.Step {
	step := s.search.Next(s.plane.Now())
	if step != balancer.Wait {
		return step
	}
	woken := make(chan struct{}, 1)
	wake := func() {
		select {
		case woken <- struct{}{}:
		default: // it is told already
		}
	}
	step = s.search.Enqueue(balancer.Waiter{Client: s.from, Wake: wake}, s.plane.Now())
	if step != balancer.Wait {
		return step
	}
	s.channel.Store(nil)
	s.change(plane.Dialing, plane.Queued)
	defer s.change(plane.Queued, plane.Dialing)
	for {
		step, left := s.search.Patient(s.plane.Now())
		if step != balancer.Wait {
			return step
		}
		timer := time.NewTimer(left)
		select {
		case <-ctx.Done():
			step = balancer.Reject
		case <-woken:
			step = s.search.Woken(s.plane.Now())
		case <-timer.C:
		}
		timer.Stop()
		if step != balancer.Wait {
			return step
		}
	}
}

// change goes over from one state to another, unless the session was closed
// meanwhile.
func (s *session) change(from, to plane.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == from {
		s.state = to
	}
}

// join makes the connection the session's own, unless the session was aborted
// meanwhile.
func (s *session) join(server connection) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == plane.Closed {
		closeByReset(server)
		return false
	}
	s.server = server
	s.state = plane.Relaying
	return true
}

// note keeps the first cause.
func (s *session) note(cause plane.Cause) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause == 0 {
		s.cause = cause
	}
}

// finished tells that one side has sent its end of stream. It reports whether
// that is to be passed on: with the second the session ends, unless it parts. If that side has broken it is no end of stream, but an error that a
// write was told of.
func (s *session) finished(cause, broken plane.Cause) (first bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == broken {
		return false, s.err
	}
	if s.state != plane.Relaying {
		return s.parting, nil
	}
	s.state = plane.HalfClosed
	s.cause = cause
	return true, nil
}

// breaks takes note that one side has broken, and reports whether both have,
// and whether a direction has ended before, which ends of itself once the session
// parts.
func (s *session) breaks(cause plane.Cause, err error) (both, halfClosed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == 0 && s.state != plane.Closed {
		s.broken, s.err = cause, err
	}
	return s.broken != cause, s.state == plane.HalfClosed && !s.parting
}

// part passes on the reset of the side that has broken, once the kernel has
// sent to the other what came from it (see plane.Parting).
func (s *session) part(to connection) {
	for {
		unsent, idle := s.left(to)
		if unsent == 0 || idle >= plane.Parting {
			s.passOn()
			return
		}
		time.Sleep(plane.PartingLook)
	}
}

// passOn ends the session if a side has broken.
func (s *session) passOn() {
	s.mu.Lock()
	cause, err := s.broken, s.err
	if cause != 0 && s.parting {
		cause, err = s.told, nil
	}
	s.mu.Unlock()
	if cause != 0 {
		s.abort(cause, err)
	}
}

// left returns how much the kernel has left to send to the side that has not
// broken, and for how long that has taken nothing since.
func (s *session) left(to connection) (unsent uint32, idle time.Duration) {
	unsent = unsentTo(to)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.plane.Now()
	if s.looked != unsent+1 {
		s.looked = unsent + 1
		s.active.Store(now)
	}
	return unsent, time.Duration(now - s.active.Load())
}

// watch looks at what nobody reads from: the client while it waits or its
// channel is dialled, and either side while its bytes wait to be written.
func (s *session) watch() {
	s.mu.Lock()
	state, server := s.state, s.server
	s.mu.Unlock()
	if state == plane.Dialing || state == plane.Queued {
		if err := failed(s.client); err != nil {
			s.abort(plane.ClientFailed, err)
		}
		return
	}
	if server == nil || time.Duration(s.plane.Now()-s.active.Load()) < plane.Parting {
		return
	}
	for i, way := range [...]struct {
		from, to connection
		failed   plane.Cause
	}{{s.client, server, plane.ClientFailed}, {server, s.client, plane.ChannelFailed}} {
		if s.stalls[i].since.Load() == 0 {
			continue
		}
		if err := pendingError(way.from); err != nil {
			s.breaks(way.failed, err)
		}
		if s.hasBroken(way.failed) {
			if _, idle := s.left(way.to); idle >= plane.Parting {
				s.passOn()
			}
		}
	}
}

func (s *session) hasBroken(cause plane.Cause) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken == cause
}

// abort resets both sides and reports whether this call ended the session.
// The copies and the dialling notice it at once.
func (s *session) abort(cause plane.Cause, err error) bool { return s.stop(cause, err, true) }

// stop is abort, with a reset or an end of stream.
func (s *session) stop(cause plane.Cause, err error, reset bool) bool {
	s.mu.Lock()
	if s.state == plane.Closed {
		s.mu.Unlock()
		return false
	}
	s.cause, s.err = cause, err
	s.mu.Unlock()
	return s.close(reset)
}

// LeaveChannel implements plane.Ending.
func (s *session) LeaveChannel() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != plane.Closed && s.server != nil {
		s.server.Close()
		s.server = nil
	}
}

// Searched implements plane.Ending.
func (s *session) Searched() *plane.Search { return &s.search }

// Greeted implements plane.Ending.
func (s *session) Greeted() *plane.Greeting { return s.greeting }

// FreeSlot implements plane.Ending.
func (s *session) FreeSlot(now int64) { s.search.Close(now) }

// LeaveClient implements plane.Ending.
func (s *session) LeaveClient() { s.close(s.reset) }

// End implements plane.Ending.
func (s *session) End() plane.End {
	end := plane.End{Session: s.picture()}
	s.mu.Lock()
	defer s.mu.Unlock()
	end.Cause, end.Err = s.cause, s.err
	return end
}

// Forget implements plane.Ending.
func (s *session) Forget() { s.plane.remove(s) }

func (s *session) close(reset bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closeLocked(reset)
}

func (s *session) closeLocked(reset bool) bool {
	if s.state == plane.Closed {
		return false
	}
	s.state = plane.Closed
	s.cancel()
	for _, conn := range []connection{s.client, s.server} {
		switch {
		case conn == nil:
		case reset:
			closeByReset(conn)
		default:
			conn.Close()
		}
	}
	return true
}

// timeLeft is that of plane.Service.TimeLeft.
func (s *session) timeLeft() (time.Duration, plane.Cause) {
	s.mu.Lock()
	state, told := s.state, s.told
	s.mu.Unlock()
	if told != 0 {
		return 0, 0
	}
	return s.listener.Service().TimeLeft(state, s.id, time.Since(s.started), time.Duration(s.plane.Now()-s.active.Load()))
}

// stuck returns what the session keeps, and for how long at least one of its
// directions has not moved.
func (s *session) stuck(now int64) (bytes int64, stuckFor time.Duration) {
	for i := range s.stalls {
		if since := s.stalls[i].since.Load(); since != 0 {
			bytes += s.stalls[i].bytes.Load()
			stuckFor = max(stuckFor, time.Duration(now-since))
		}
	}
	return bytes, stuckFor
}

func (s *session) picture() plane.Session {
	s.mu.Lock()
	state, told, client, via := s.state, s.told, s.from, s.via
	s.mu.Unlock()
	return plane.Session{
		ID:       s.id,
		Client:   client,
		Peer:     via,
		Listener: s.listener,
		Channel:  s.channel.Load(),
		Group:    int(s.group.Load()),
		State:    state,
		Started:  s.started,
		Active:   s.plane.epoch.Add(time.Duration(s.active.Load())),
		Sent:     s.sent.Load(),
		Received: s.received.Load(),
		Owed:     s.owed.Load(),
		Leaving:  told != 0,
	}
}
