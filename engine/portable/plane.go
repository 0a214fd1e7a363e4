// Package portable is the data plane for every Unix: package net, and two
// copies a session, each in a goroutine of its own. It is simple enough to be
// the yardstick for the behaviour of the others.
//
// An idle session holds no buffer and no pipe: a copy waits until there is
// something to read, and only then takes one from a pool.
package portable

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"balance/engine/plane"
)

// Plane is a plane.Plane. New makes one; Shutdown ends it.
type Plane struct {
	options plane.Options
	epoch   time.Time // sessions keep times as nanoseconds since then

	ids     atomic.Uint64
	pipes   pipePool
	workers sync.WaitGroup // acceptors and sessions
	stop    chan struct{}  // closed to end the sweeper
	swept   chan struct{}  // closed when the sweeper has ended

	places   plane.Places
	shortage plane.Shortage

	full plane.Complaint // that there is no place

	freeing sync.Mutex
	freed   chan struct{} // guarded by freeing; closed when there may be a place

	mu       sync.Mutex
	sessions map[*session]struct{} // guarded by mu
}

var _ plane.Plane = (*Plane)(nil)

// New returns a plane that runs until Shutdown.
func New(options plane.Options) *Plane {
	p := &Plane{
		options:  options,
		epoch:    time.Now(),
		stop:     make(chan struct{}),
		swept:    make(chan struct{}),
		freed:    make(chan struct{}),
		sessions: make(map[*session]struct{}),
	}
	p.places.Freed = p.feed
	p.places.SetLimit(math.MaxInt)
	p.pipes.most = maxPipes
	if options.Pipes > 0 {
		p.pipes.most = min(maxPipes, options.Pipes)
	}
	go p.sweep()
	return p
}

// SetMaxSessions implements plane.Plane.
func (p *Plane) SetMaxSessions(n int) { p.places.SetLimit(n) }

// feed tells all who wait for a place that there may be one.
func (p *Plane) feed() {
	p.freeing.Lock()
	defer p.freeing.Unlock()
	close(p.freed)
	p.freed = make(chan struct{})
}

// news returns what the next feed closes.
func (p *Plane) news() <-chan struct{} {
	p.freeing.Lock()
	defer p.freeing.Unlock()
	return p.freed
}

// Sessions implements plane.Plane.
func (p *Plane) Sessions(yield func(plane.Session) bool) {
	for _, s := range p.all() {
		if !yield(s.picture()) {
			return
		}
	}
}

// Loops implements plane.Plane: it has none.
func (p *Plane) Loops() []int { return nil }

// Abort implements plane.Plane.
func (p *Plane) Abort(cause plane.Cause, match func(*plane.Session) bool) int {
	n := 0
	for _, s := range p.all() {
		if picture := s.picture(); match(&picture) && s.abort(cause, nil) {
			n++
		}
	}
	return n
}

// Finish implements plane.Plane.
func (p *Plane) Finish(cause plane.Cause, match func(*plane.Session) bool) int {
	n := 0
	for _, s := range p.all() {
		if picture := s.picture(); match(&picture) && s.finish(cause) {
			n++
		}
	}
	return n
}

// Shutdown implements plane.Plane.
func (p *Plane) Shutdown(ctx context.Context) {
	ended := make(chan struct{})
	go p.awaitWorkers(ended)
	select {
	case <-ended:
	case <-ctx.Done():
		// A client may be on its way from its socket to its session, so one
		// round could miss it.
		for waiting := true; waiting; {
			p.Abort(plane.Shutdown, func(*plane.Session) bool { return true })
			select {
			case <-ended:
				waiting = false
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	close(p.stop)
	<-p.swept
	p.pipes.closeIdle()
}

func (p *Plane) awaitWorkers(ended chan<- struct{}) {
	p.workers.Wait()
	close(ended)
}

func (p *Plane) all() []*session {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*session, 0, len(p.sessions))
	for s := range p.sessions {
		all = append(all, s)
	}
	return all
}

func (p *Plane) add(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sessions[s] = struct{}{}
}

func (p *Plane) remove(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sessions, s)
}

// Now returns the time since the plane began, never 0.
func (p *Plane) Now() int64 { return int64(time.Since(p.epoch)) + 1 }

// The sweeper looks at every session at least each longestNap: a timeout that
// is set or shortened while it naps may be noticed so much late.
const (
	shortestNap = 10 * time.Millisecond
	longestNap  = 250 * time.Millisecond
)

// sweep ends the sessions in which no byte moved for too long, and those that
// keep too much or have broken unseen. One that slept much longer than its nap
// was stopped, and so was all else: the sessions are told of what came meanwhile
// before it looks at them.
func (p *Plane) sweep() {
	defer close(p.swept)
	timer := time.NewTimer(longestNap)
	defer timer.Stop()
	waited, looked := false, p.Now()
	budget := p.options.Budget
	over := budget.Over()                // nil once it has yielded, until a timer finds no excess
	relieved := -int64(plane.StuckCheck) // when it looked for sessions that are stuck last, as now
	for {
		began := time.Now()
		select {
		case <-p.stop:
			return
		case <-over:
			over = nil
		case <-timer.C:
			if budget.Excess() == 0 {
				over = budget.Over()
			}
		}
		if waited = !waited && time.Since(began) > 2*longestNap; waited {
			over = nil
			timer.Reset(longestNap)
			continue
		}
		if budget.Due(time.Duration(p.Now() - relieved)) {
			p.relieve(budget)
			relieved = p.Now()
		}
		next := longestNap
		if over == nil && budget != nil {
			next = plane.RushedCheck
		}
		look := p.Now()-looked >= int64(longestNap)
		if look {
			looked = p.Now()
		}
		for _, s := range p.all() {
			switch left, cause := s.timeLeft(); {
			case cause == 0:
			case left > 0:
				next = min(next, left)
			case cause == plane.MaxAge:
				s.finish(cause)
			default:
				s.abort(cause, nil)
			}
			if left, leaving := s.finishOn(); leaving {
				next = min(next, left)
			}
			if look {
				s.watch()
			}
		}
		timer.Reset(max(next, shortestNap))
	}
}
