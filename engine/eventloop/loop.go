//go:build linux

package eventloop

import (
	"fmt"
	"math"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"balance/engine/plane"
)

// loop is one event loop. Its fields belong to its goroutine, which runs until
// it was told to stop and its last session has ended.
type loop struct {
	plane   *Plane
	kernel  kernel
	epoll   int32
	mailbox mailbox
	ended   chan struct{} // closed when the goroutine has ended

	now     int64 // as Plane.Now, when the turn began
	heard   heard
	wheel   wheel
	slab    slab
	shared  *buffer // what was read and not written yet, within a turn
	buffers buffers
	pipes   pipes

	searches  searches
	greetings greetings
	opening   []byte // what a channel is sent first, within a call

	live      atomic.Int64 // sessions; others read it
	resting   atomic.Bool  // others read it
	invited   atomic.Bool  // others set it
	listeners map[*plane.Listener]*listener
	services  services
	acceptors []*acceptor
	starving  atomic.Bool // there are acceptors that wait for a place; others clear it
	fed       int         // where among the acceptors those begin who are the next to get one

	ready    []token // sessions that have more to do than fitted their turn
	running  []token // those of the turn before
	stopping bool
	busy     bool // the last wait found more than one event
	events   [256]unix.EpollEvent
}

// newLoop returns a loop that does not run yet.
func newLoop(p *Plane, k kernel) *loop {
	l := &loop{
		plane:     p,
		kernel:    k,
		epoll:     -1,
		mailbox:   mailbox{kernel: k, event: -1},
		ended:     make(chan struct{}),
		now:       p.Now(),
		shared:    new(buffer),
		pipes:     pipes{kernel: k, most: maxPipes},
		listeners: make(map[*plane.Listener]*listener),
		greetings: make(greetings),
	}
	l.wheel.now = l.now / int64(tick)
	l.pipes.timer.owner = &l.pipes
	l.services.timer.owner = &l.services
	return l
}

// open makes what the loop waits on.
func (l *loop) open() error {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	l.epoll = int32(epoll)
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	l.mailbox.event = event
	// Edge-triggered, each write to it is an event, and nobody need read it.
	if errno := control(l.epoll, unix.EPOLL_CTL_ADD, int32(event), unix.EPOLLIN|unix.EPOLLET, mailToken); errno != 0 {
		return os.NewSyscallError("epoll_ctl", errno)
	}
	return nil
}

// close closes what open made, and the idle pipes.
func (l *loop) close() {
	l.pipes.closeIdle()
	for _, fd := range []int{l.mailbox.event, int(l.epoll)} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// run is the loop's goroutine.
func (l *loop) run() {
	defer close(l.ended)
	for !l.stopping || l.live.Load() > 0 {
		l.turn()
	}
	for _, task := range l.mailbox.shut() {
		task()
	}
	l.close()
}

// turn waits for events and acts on them, and on what is due.
func (l *loop) turn() {
	n, all := l.wait()
	// Both sockets of each session, the listening ones and the mailbox.
	l.heard.turn(n, all, l.now, 2*int(l.live.Load())+len(l.acceptors)+1)
	l.now = l.plane.Now()
	l.runReady()
	for i := range l.events[:n] {
		l.dispatch(&l.events[i])
	}
	l.expire(l.heard.upTo)
}

// wait returns how many events there are, and whether those are all. It does
// not wait while sessions are ready. Asking first without waiting keeps the scheduler out of the turns of
// a busy loop; the wait itself must let it know, so that the processor can be
// put to other use. A loop that got one event at most is not busy, and asking
// first would be one system call more for it.
func (l *loop) wait() (n int, all bool) {
	if l.busy || len(l.ready) > 0 {
		n, errno := l.kernel.poll(l.epoll, l.events[:])
		if n > 0 && errno == 0 || len(l.ready) > 0 {
			l.busy = n > 1
			return max(n, 0), errno == 0 && n < len(l.events)
		}
	}
	timeout := -1
	if when, ok := l.wheel.next(); ok {
		left := time.Duration(when*int64(tick) - l.plane.Now())
		timeout = int((max(left, 0) + time.Millisecond - 1) / time.Millisecond)
	}
	n, errno := l.kernel.wait(l.epoll, l.events[:], timeout)
	if errno != 0 && errno != unix.EINTR {
		panic(fmt.Sprintf("eventloop: epoll_wait: %v", errno)) // the descriptor is ours, so this is a defect
	}
	l.busy = n > 1
	return max(n, 0), errno == 0 && n < len(l.events)
}

// heard tells up to which time a loop has been told of all that happened. A
// process that was stopped, or whose machine was, finds its timers due before
// it has seen what came in time: so they are due by that time, not by the clock.
type heard struct {
	upTo   int64 // as Plane.Now
	since  int64 // when the first of the waits began that left events behind
	events int   // that have been taken since; 0 if the last wait took all
}

// turn takes note of a wait that began after the time given and took n events,
// all that there were or not. The kernel tells of each of so many registered
// descriptors once before it tells of one again (ep_send_events in
// fs/eventpoll.c goes through a list from its front), so that many events are
// all that were there at first.
func (h *heard) turn(n int, all bool, began int64, registered int) {
	if all {
		h.upTo, h.events = began, 0
		return
	}
	if h.events == 0 {
		h.since = began
	}
	h.events += n
	if h.events >= registered {
		h.upTo, h.events = h.since, 0
	}
}

// Events that are not of a session have a generation of 0.
var mailToken = token{low: -1}

func (l *loop) dispatch(e *unix.EpollEvent) {
	t := token{low: e.Fd, high: e.Pad}
	switch {
	case t == mailToken:
		for _, task := range l.mailbox.take() {
			task()
		}
	case t.high == 0:
		if a := l.acceptors[t.low]; a != nil {
			a.accept(l)
		}
	default:
		if s, side := l.slab.session(t); s != nil {
			l.event(s, side, t, e.Events)
		}
	}
}

// enqueue gives a session another turn.
func (l *loop) enqueue(s *session) {
	if !s.queued {
		s.queued = true
		l.ready = append(l.ready, s.token(client))
	}
}

// runReady gives each session that was ready one turn.
func (l *loop) runReady() {
	l.running, l.ready = l.ready, l.running[:0]
	for _, t := range l.running {
		if s, _ := l.slab.session(t); s != nil {
			s.queued = false
			l.relay(s, client)
		}
	}
}

// expire lets happen what is due by a time.
func (l *loop) expire(by int64) {
	for t := l.wheel.due(by / int64(tick)); t != nil; t = l.wheel.due(by / int64(tick)) {
		t.owner.expire(l)
	}
}

// arm sets a timer to the first tick that is not before the delay is over. A
// delay beyond the last nanosecond of 64 bits ends there.
func (l *loop) arm(t *timer, delay time.Duration) {
	const roundUp = int64(tick) - 1
	left := math.MaxInt64 - roundUp - l.now
	l.wheel.arm(t, (l.now+min(max(int64(delay), 0), left)+roundUp)/int64(tick))
}
