package plane

import (
	"log/slog"
	"math"
	"sync/atomic"
	"time"
)

// Places counts the sessions of a plane and of its listeners against how many
// there may be: of all, and of each listener as its service says. The zero Places
// has none.
type Places struct {
	// Freed is called after places have become free, or more, while somebody
	// waits for one (see Want). It must not block.
	Freed func()

	limit atomic.Int64
	seats
}

// seats are those places that are counted together.
type seats struct {
	taken  atomic.Int64
	wanted atomic.Bool // by somebody who is to be told; cleared by who tells
}

// take reserves up to n of so many and returns how many it got.
func (s *seats) take(n, limit int64) int64 {
	for {
		taken := s.taken.Load()
		got := min(n, limit-taken)
		if got <= 0 {
			return 0
		}
		if s.taken.CompareAndSwap(taken, taken+got) {
			return got
		}
	}
}

// maxSessions is how many sessions the listener may have.
func (l *Listener) maxSessions() int64 {
	if n := l.Service().MaxSessions; n > 0 {
		return int64(n)
	}
	return math.MaxInt64
}

// SetLimit changes how many places there are. Those that are taken stay taken.
func (p *Places) SetLimit(limit int) {
	p.limit.Store(int64(limit))
	p.tell(&p.seats)
}

// Limit returns how many places there are.
func (p *Places) Limit() int { return int(p.limit.Load()) }

// Take reserves up to n places for a listener and returns how many it got.
func (p *Places) Take(l *Listener, n int) int {
	seats := l.seats.take(int64(n), l.maxSessions())
	got := p.take(seats, p.limit.Load())
	if got < seats {
		l.seats.taken.Add(got - seats)
		p.tell(&l.seats)
	}
	return int(got)
}

// Give gives n places of a listener back.
func (p *Places) Give(l *Listener, n int) {
	l.seats.taken.Add(int64(-n))
	p.taken.Add(int64(-n))
	p.tell(&l.seats)
	p.tell(&p.seats)
}

// Free returns how many places are not taken that a listener could have; fewer than
// none after a limit was lowered.
func (p *Places) Free(l *Listener) int {
	return int(min(p.limit.Load()-p.taken.Load(), l.maxSessions()-l.seats.taken.Load()))
}

// Want has Freed called once when there may be a place for the listener again, for
// all who wait. It reports true if there is one already. That the service of the
// listener allows for more it is not told of.
func (p *Places) Want(l *Listener) bool {
	for {
		short, free := &l.seats, func() bool { return l.seats.taken.Load() < l.maxSessions() }
		if all := func() bool { return p.taken.Load() < p.limit.Load() }; !all() {
			short, free = &p.seats, all
		} else if free() {
			return true
		}
		short.wanted.Store(true)
		if !free() { // since it is known who waits
			return false
		}
	}
}

func (p *Places) tell(s *seats) {
	if s.wanted.Load() && s.wanted.CompareAndSwap(true, false) {
		p.Freed()
	}
}

// complainEvery is how often it is told that there is no place for a session.
const complainEvery = time.Minute

// Complaint tells now and then that something is full. The zero Complaint is ready.
type Complaint struct {
	last atomic.Int64 // when it was told, on a clock that is never 0
}

// due reports whether it is to be told.
func (c *Complaint) due(now int64) bool {
	last := c.last.Load()
	return (last == 0 || now-last >= int64(complainEvery)) && c.last.CompareAndSwap(last, now)
}

// Full logs that there are as many sessions as there may be.
func (c *Complaint) Full(log *slog.Logger, now int64) {
	if c.due(now) {
		log.Warn("there are as many sessions as there may be, clients wait")
	}
}

// Full logs that the listener has as many sessions as it may have, and reports
// whether it does.
func (l *Listener) Full(log *slog.Logger, now int64) bool {
	if l.seats.taken.Load() < l.maxSessions() {
		return false
	}
	if service := l.Service(); l.complaint.due(now) {
		log.Warn("the listener has as many sessions as it may have, clients wait", "listener", service.Name, "max_sessions", service.MaxSessions)
	}
	return true
}
