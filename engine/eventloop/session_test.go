//go:build linux

package eventloop

import (
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"balance/engine/admit"
	"balance/engine/balancer"
	"balance/engine/plane"
	"balance/engine/plane/planetest"
)

// world is a loop over a fake kernel, and what happens to it.
type world struct {
	*script
	kernel   *fakeKernel
	loop     *loop
	listener *plane.Listener
	channels []*balancer.Channel
	clients  []*fakeSocket // the one with port n comes n-th
	ends     map[netip.AddrPort]plane.End
}

func newWorld(bytes []byte) *world {
	w := &world{script: &script{bytes}, ends: map[netip.AddrPort]plane.End{}}
	w.kernel = newFakeKernel(w.script)
	p := &Plane{epoch: time.Now()}
	p.options = plane.Options{Log: slog.New(slog.NewTextHandler(w, nil)), Ended: w.ended, Budget: plane.NewBudget()}
	w.loop = newLoop(p, w.kernel)
	w.kernel.locks = map[string]*sync.Mutex{"the mailbox": &w.loop.mailbox.mu}
	w.loop.acceptors = nil
	w.kernel.now = &w.loop.now
	p.loops = []*loop{w.loop}
	for i := range 2 {
		c := balancer.NewChannel(balancer.Key{Host: "channel", Port: 1, Nth: i})
		c.SetAddresses([]netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:1")})
		c.SetLimit(3)
		w.channels = append(w.channels, c)
	}
	w.listener = new(plane.Listener)
	w.listener.SetService(w.service())
	return w
}

func (w *world) service() *plane.Service {
	return &plane.Service{
		Name:             "world",
		Router:           balancer.NewRouter([]balancer.Group{{Channels: w.channels}}, balancer.Options{}, nil),
		ConnectTimeout:   2 * time.Second,
		IdleTimeout:      time.Duration(w.next()) * time.Second,
		HalfCloseTimeout: time.Duration(w.next()) * time.Second,
		Edge:             w.edge(),
	}
}

// edge asks for a name, or for a header that nobody sends. What clients say is neither.
func (w *world) edge() *plane.Edge {
	edge := &plane.Edge{Names: true, NamesTimeout: time.Second, ProxyTimeout: time.Second}
	switch w.next() % 4 {
	case 1:
		return edge
	case 2:
		edge.Peers = admit.NewList([]admit.Rule{{Network: netip.MustParsePrefix("198.51.100.0/25"), Allow: true}})
		edge.Reset = w.next()%2 == 1
		return edge
	}
	return nil
}

// Write takes the log.
func (w *world) Write(line []byte) (int, error) {
	w.kernel.called("a line of the log")
	return len(line), nil
}

func (w *world) ended(end plane.End) {
	w.kernel.called("the end of a session")
	if _, twice := w.ends[end.Client]; twice {
		w.kernel.defect("the end of %s is told twice", end.Client)
	}
	if end.State != plane.Closed {
		w.kernel.defect("an ended session is %s", end.State)
	}
	w.ends[end.Client] = end
}

// step lets one thing happen.
func (w *world) step() {
	switch op := w.next(); {
	case op < 16:
		s := w.kernel.newSocket()
		w.clients = append(w.clients, s)
		peer := netip.AddrPortFrom(netip.MustParseAddr("198.51.100.1"), uint16(len(w.clients)))
		w.loop.begin(s.fd, peer, w.listener)
	case op < 24:
		w.loop.now += int64(w.next()) * int64(10*time.Millisecond)
		w.loop.expire(w.loop.now)
	case op < 48:
		w.loop.runReady()
	case op == 48:
		w.listener.SetService(w.service())
	case op == 49:
		if s := w.anySocket(); s != nil {
			w.loop.each([]token{s.token}, abort(plane.Operator))
		}
	case op == 50:
		if s := w.anySocket(); s != nil {
			w.loop.each([]token{s.token}, finish(plane.Rebalanced))
		}
	default:
		if s := w.anySocket(); s != nil {
			w.happen(s)
		}
	}
}

// anySocket returns a socket that is registered, open or not: the kernel may
// still have events of one that was just closed.
func (w *world) anySocket() *fakeSocket {
	if len(w.kernel.sockets) == 0 {
		return nil
	}
	recent := min(len(w.kernel.sockets), 12)
	s := w.kernel.sockets[len(w.kernel.sockets)-1-w.next()%recent]
	if !s.watched {
		return nil
	}
	return s
}

// happen does something to a socket, and delivers the event or leaves it for
// later.
func (w *world) happen(s *fakeSocket) {
	what := w.next()
	switch {
	case s.connecting:
		s.connecting = false
		if what%8 == 1 {
			s.failed, s.failure = true, unix.ECONNREFUSED
		}
		s.event = true
	case what%16 < 6 && !s.finished && !s.failed:
		s.give([...]int{1, 100, 70_000, 200_000, 600_000, 0}[what%16])
	case what%16 == 6 && !s.failed && !s.finished:
		s.give(70_000)
		s.urgent = len(s.given) - 50
		s.event = true
	case what%16 == 7:
		s.finished = true
		s.event = true
	case what%64 == 8 && !s.failed:
		s.failed, s.failure = true, unix.ECONNRESET
		s.event = true
	case what%16 >= 8:
		s.drain([...]int{100, 10_000}[what%2]*w.next(), w.loop.now)
	}
	if what < 192 {
		w.deliver(s)
	}
}

func (s *fakeSocket) give(n int) {
	have := len(s.given)
	s.given = content[:min(have+n, len(content))]
	s.event = s.event || len(s.given) > have
}

func (s *fakeSocket) drain(n int, now int64) {
	s.space += n
	if n > 0 && s.unsent > 0 && !s.closed {
		s.unsent, s.progress = max(0, s.unsent-n), now
	}
	if s.wanted && s.space > 0 {
		s.wanted, s.event = false, true
	}
}

// deliver may deliver an event of a socket that was closed meanwhile, as the
// kernel does if it was fetched before: of a session that has ended, or of an
// attempt to connect than which another was faster.
func (w *world) deliver(s *fakeSocket) {
	if alive, _ := w.loop.slab.session(s.token); s.closed && alive != nil && (alive.state == plane.Dialing || alive.state == plane.Greets || s.token.attempt() == alive.attempt) {
		return
	}
	if s.event {
		s.event = false
		e := unix.EpollEvent{Events: s.events(), Fd: s.token.low, Pad: s.token.high}
		w.loop.dispatch(&e)
		if alive, which := w.loop.slab.session(s.token); s.failed && !s.closed && !alive.queued && !w.rest(alive, which) {
			w.kernel.defect("a session goes on after a reset")
		}
	}
}

// rest reports whether something that came from one side has not arrived on
// the other.
func (w *world) rest(s *session, which int) bool {
	if s.state == plane.Dialing || s.state == plane.Greets {
		return w.kernel.open[s.sides[which].fd].readable() != nil
	}
	return s.streams[which].pending() || w.kernel.open[s.sides[which^1].fd].unsent > 0
}

// settle lets the clients finish, half of the servers too, the others when they
// see the end of stream, and the kernel deliver whatever is outstanding, until all
// sessions have ended. At first nobody takes a byte.
func (w *world) settle() {
	for round := range 100 {
		for _, s := range w.kernel.sockets {
			if s.closed || !s.watched {
				continue
			}
			s.event = s.event || s.connecting
			s.connecting = false
			if !s.finished && (s.token.low&1 == client || s.fd%2 == 0 || s.shut) {
				s.finished, s.event = true, true
			}
			if round > 5 {
				s.drain(1<<20, w.loop.now)
			}
			w.deliver(s)
		}
		w.loop.runReady()
		w.loop.now += int64(100 * time.Millisecond) // somebody may wait to dial
		w.loop.expire(w.loop.now)
		if len(w.ends) == len(w.clients) {
			return
		}
	}
}

// check returns what is wrong in the end.
func (w *world) check() []string {
	k := w.kernel
	if len(w.ends) != len(w.clients) {
		k.defect("%d of %d sessions have ended", len(w.ends), len(w.clients))
	}
	w.loop.pipes.closeIdle()
	if n := len(k.open) + len(k.pipes); n > 0 {
		k.defect("%d descriptors are left open", n)
	}
	if w.loop.live.Load() != 0 || len(w.loop.slab.free) != pageSize*len(w.loop.slab.pages) || w.loop.pipes.out != 0 {
		k.defect("%d sessions live, %d slots free, %d pipes out", w.loop.live.Load(), len(w.loop.slab.free), w.loop.pipes.out)
	}
	if kept := w.loop.plane.options.Budget.Kept(); kept != 0 {
		k.defect("%d bytes are said to be kept", kept)
	}
	for _, b := range w.loop.buffers.idle {
		if b == w.loop.shared {
			k.defect("the shared buffer is in the pool")
		}
	}
	var sent, received, countedSent, countedReceived uint64
	for _, end := range w.ends {
		sent, received = sent+end.Sent, received+end.Received
	}
	for _, c := range w.channels {
		if c.Active() != 0 {
			k.defect("%d slots are not given back", c.Active())
		}
		countedSent += c.Counters.Sent.Load()
		countedReceived += c.Counters.Received.Load()
	}
	if sent != countedSent || received != countedReceived {
		k.defect("sessions moved %d and %d bytes, channels %d and %d", sent, received, countedSent, countedReceived)
	}
	for peer, end := range w.ends {
		c := w.clients[peer.Port()-1]
		w.checkPair(c, k.servers[c.token], end)
	}
	return k.defects
}

// checkPair looks at the two sockets of a session that has ended. The server
// is nil if none was dialled.
func (w *world) checkPair(c, s *fakeSocket, end plane.End) {
	if s == nil {
		s = new(fakeSocket)
	}
	clean, reset := false, s.reset || s.fd == 0 || end.Sent+end.Received == 0
	switch end.Cause {
	case plane.ClientClosed, plane.ChannelClosed:
		clean = true
		if c.reset || s.reset || end.Err != nil {
			w.kernel.defect("a session that both peers finished was reset: %v", end.Err)
		}
	case plane.Refused:
		if s.fd != 0 || end.Connected || end.Refusal == admit.Admitted {
			w.kernel.defect("a client who is refused for %q has a channel", end.Refusal)
		}
	case plane.NoChannel:
		if c.reset || end.Sent+end.Received > 0 {
			w.kernel.defect("a client without a channel was reset, or relayed")
		}
	case plane.Rebalanced:
		if c.reset != s.reset && s.fd != 0 && !reset {
			w.kernel.defect("one side alone was reset")
		}
		if !c.reset && end.Sent+end.Received > 0 && !(c.shut && s.shut) {
			w.kernel.defect("a session was finished without an end of stream")
		}
	default:
		if end.Cause == plane.ClientFailed && !c.failed && c.watched || end.Cause == plane.ChannelFailed && !s.failed {
			w.kernel.defect("the wrong side is said to have failed: %v", end.Err)
		}
		if !c.reset || !reset {
			w.kernel.defect("cause %q: no reset for the client (%t) or the server (%t)", end.Cause.How(), c.reset, s.reset)
		}
	}
	for _, way := range []struct {
		from, to *fakeSocket
		moved    uint64
	}{{c, s, end.Sent}, {s, c, end.Received}} {
		if way.to.wrong || way.to.taken > way.from.read {
			w.kernel.defect("%d bytes arrived that are not those of the sender", way.to.taken)
		}
		if parted := way.from.failed && !way.to.failed && way.to.watched && !way.to.connecting; parted &&
			(end.Cause == plane.ClientFailed || end.Cause == plane.ChannelFailed) &&
			(way.to.taken < len(way.from.given) || way.to.unsent > 0) &&
			way.to.ended-way.to.progress < int64(plane.Parting) {
			w.kernel.defect("%d of %d bytes arrived, %d left to send, before the reset that came after them was passed on",
				way.to.taken, len(way.from.given), way.to.unsent)
		}
		if uint64(way.to.taken) != way.moved {
			w.kernel.defect("%d bytes moved, but %d arrived", way.moved, way.to.taken)
		}
		if clean && way.to.taken < len(way.from.given) {
			w.kernel.defect("%d of %d bytes arrived before the end of stream", way.to.taken, len(way.from.given))
		}
		if clean && !way.from.finished {
			w.kernel.defect("an end of stream that was none")
		}
	}
}

// FuzzSession lets scripts decide what the kernel, the peers, the clock and
// the operator do to the sessions of a loop.
func FuzzSession(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 2))
	seeds := 500
	if planetest.RaceDetector {
		seeds = 100 // it all runs in one goroutine
	}
	for range seeds {
		seed := make([]byte, 1+random.IntN(4000))
		for i := range seed {
			seed[i] = byte(random.Uint32())
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		w := newWorld(script)
		for len(w.bytes) > 0 {
			w.step()
		}
		w.settle()
		for _, defect := range w.check() {
			t.Error(defect)
		}
	})
}

// Both peers have finished, and one does not take the last bytes yet.
func TestLastBytesComeBeforeTheEnd(t *testing.T) {
	w := newWorld(nil)
	c := w.kernel.newSocket()
	w.clients = append(w.clients, c)
	w.loop.begin(c.fd, netip.MustParseAddrPort("198.51.100.1:1"), w.listener)
	s := w.kernel.servers[c.token]
	c.space, s.space = 1000, 50
	s.connecting, s.event = false, true
	w.deliver(s)
	c.give(100)
	c.finished, s.finished, s.event = true, true, true
	w.deliver(c)
	w.deliver(s)
	if len(w.ends) != 0 || s.taken != 50 || s.shut || !c.shut {
		t.Fatalf("%d ends, %d bytes arrived, shut down %t and %t", len(w.ends), s.taken, c.shut, s.shut)
	}
	s.drain(50, w.loop.now)
	w.deliver(s)
	for _, defect := range w.check() {
		t.Error(defect)
	}
}

// A splice goes up to urgent data and no further, and is not told of what is
// behind: neither bytes nor, before them, a reset may get lost with that.
func TestUrgentDataDoesNotStopASplice(t *testing.T) {
	for name, reset := range map[string]bool{"GoesOn": false, "Reset": true} {
		t.Run(name, func(t *testing.T) {
			const before, behind = 2*bufferSize + 1000, 500
			w := newWorld(nil)
			c := w.kernel.newSocket()
			w.clients = append(w.clients, c)
			w.loop.begin(c.fd, netip.MustParseAddrPort("198.51.100.1:1"), w.listener)
			s := w.kernel.servers[c.token]
			s.space, s.connecting, s.event = 1<<20, false, true
			w.deliver(s)
			c.give(before)
			c.urgent = before
			c.give(behind)
			if reset {
				c.failed, c.failure = true, unix.ECONNRESET
			}
			w.deliver(c)
			if s.taken != before+behind {
				t.Errorf("%d of %d bytes arrived", s.taken, before+behind)
			}
			if end, ended := w.ends[netip.MustParseAddrPort("198.51.100.1:1")]; ended != reset || reset && (end.Cause != plane.ClientFailed || !errors.Is(end.Err, unix.ECONNRESET)) {
				t.Errorf("ended %t, cause %v, error %v", ended, end.Cause, end.Err)
			}
			w.settle()
			for _, defect := range w.check() {
				t.Error(defect)
			}
		})
	}
}

// A loop that was stopped finds a dial overdue that has succeeded in time.
func TestDialIsAskedBeforeItTimesOut(t *testing.T) {
	w := newWorld(nil)
	c := w.kernel.newSocket()
	w.clients = append(w.clients, c)
	w.loop.begin(c.fd, netip.MustParseAddrPort("198.51.100.1:1"), w.listener)
	server := w.kernel.servers[c.token]
	server.connecting, server.space = false, 1
	w.loop.now += int64(time.Minute)
	w.loop.expire(w.loop.now)
	s, _ := w.loop.slab.session(c.token)
	if s == nil || s.state != plane.Relaying || w.channels[0].Failing() {
		t.Errorf("the session is not relayed: %v; the channel fails: %t", w.ends, w.channels[0].Failing())
	}
}

// However far a timeout is away, the loop sleeps until then.
func TestLongTimeoutsSleep(t *testing.T) {
	for _, timeout := range []time.Duration{24 * time.Hour, 87600 * time.Hour, 2562047*time.Hour + 47*time.Minute, math.MaxInt64} {
		w := newWorld(nil)
		service := w.service()
		service.IdleTimeout = timeout
		w.listener.SetService(service)
		for i := range 6 { // what the channels take
			c := w.kernel.newSocket()
			w.clients = append(w.clients, c)
			w.loop.begin(c.fd, netip.AddrPortFrom(netip.MustParseAddr("198.51.100.1"), uint16(i+1)), w.listener)
			s := w.kernel.servers[c.token]
			s.space, s.connecting, s.event = 1, false, true
			w.deliver(s)
		}
		turns := 0
		for minute := w.loop.now + int64(time.Minute); turns <= 1000; turns++ {
			when, ok := w.loop.wheel.next()
			if !ok || when*int64(tick) > minute {
				break
			}
			w.loop.now = when * int64(tick)
			w.loop.expire(w.loop.now)
		}
		// The session settles once, and the loop looks for reloads twice a
		// second; its timer moves down the wheel between.
		if turns > 300 {
			t.Errorf("a timeout of %s wakes the loop %d times in a minute", timeout, turns)
		}
		if len(w.ends) > 0 {
			t.Errorf("a timeout of %s has ended %d sessions", timeout, len(w.ends))
		}
	}
}

// The reset of a client waits for its last bytes to be sent, and a new timeout
// of the listener does not change for how long.
func TestResetWaitsForUnsentBytes(t *testing.T) {
	for name, sent := range map[string]bool{"Sent": true, "NeverSent": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(nil)
			c := w.kernel.newSocket()
			w.clients = append(w.clients, c)
			w.loop.begin(c.fd, netip.MustParseAddrPort("198.51.100.1:1"), w.listener)
			s := w.kernel.servers[c.token]
			s.space, s.connecting, s.event = 1000, false, true
			w.deliver(s)
			c.give(100)
			w.deliver(c)
			s.unsent = 100
			c.failed, c.failure, c.event = true, unix.ECONNRESET, true
			w.deliver(c)
			changed := w.service()
			changed.IdleTimeout = time.Hour
			w.listener.SetService(changed)
			pass := func(d time.Duration) {
				w.loop.now += int64(d)
				w.loop.expire(w.loop.now)
			}
			pass(serviceCheck + plane.PartingLook)
			if len(w.ends) != 0 {
				t.Fatal("the reset was passed on before the bytes")
			}
			if sent {
				s.drain(100, w.loop.now)
				pass(2 * plane.PartingLook)
			} else {
				pass(plane.Parting - serviceCheck)
			}
			for _, defect := range w.check() {
				t.Error(defect)
			}
		})
	}
}

// What only a session that dials needs is left behind once it is connected, or
// has ended, and is there for the next; the slot is given back all the same.
func TestOnlyDialingTakesASearch(t *testing.T) {
	w := newWorld(nil)
	dial := func(port uint16) (c *fakeSocket, s *session) {
		c = w.kernel.newSocket()
		w.clients = append(w.clients, c)
		w.loop.begin(c.fd, netip.AddrPortFrom(netip.MustParseAddr("198.51.100.1"), port), w.listener)
		s, _ = w.loop.slab.session(c.token)
		return c, s
	}
	c, s := dial(1)
	search := s.search
	server := w.kernel.servers[c.token]
	server.space, server.connecting, server.event = 1, false, true
	w.deliver(server)
	if s.state != plane.Relaying || s.search != nil || w.channels[0].Active() != 1 {
		t.Fatalf("connected: %s, search %v, %d slots", s.state, s.search, w.channels[0].Active())
	}
	second, s := dial(2)
	if s.search != search {
		t.Error("the next session has a search of its own")
	}
	w.loop.each([]token{second.token}, abort(plane.Operator))
	if _, s = dial(3); s.search != search {
		t.Error("a session that has ended while it dialled has kept its search")
	}
	w.settle()
	for _, defect := range w.check() {
		t.Error(defect)
	}
	if n := len(w.loop.searches.idle); n != 1 {
		t.Errorf("%d searches are kept for one session at a time", n)
	}
}
