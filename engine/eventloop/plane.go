//go:build linux

package eventloop

import (
	"context"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"balance/engine/plane"
)

// Plane is a plane.Plane. New makes one; Shutdown ends it. Options.Ended and
// the log are called on the loops: neither may call Sessions, Abort or
// Shutdown, or stop an acceptor.
type Plane struct {
	options plane.Options
	epoch   time.Time // sessions keep times as nanoseconds since then
	ids     atomic.Uint64
	loops   []*loop
	awake   atomic.Int32 // loops that do not rest
	picked  uint16       // the lowest port that connect picks, when the plane was made

	places   plane.Places
	full     plane.Complaint // that there is no place
	shortage plane.Shortage
	life     context.Context // ends with Shutdown
	end      context.CancelFunc
	workers  sync.WaitGroup // relieve
}

var _ plane.Plane = (*Plane)(nil)

// New returns a plane that runs until Shutdown. If loops is not positive, it
// has as many as GOMAXPROCS, which should be one more than the loops from then
// on: each may keep a processor busy.
func New(options plane.Options, loops int) (*Plane, error) {
	if loops <= 0 {
		loops = runtime.GOMAXPROCS(0)
	}
	p := &Plane{options: options, epoch: time.Now(), picked: lowestPort()}
	p.places.Freed = p.feed
	p.places.SetLimit(math.MaxInt)
	p.awake.Store(int32(loops))
	for range loops {
		l := newLoop(p, linux{})
		if options.Pipes > 0 {
			l.pipes.most = min(maxPipes, max(options.Pipes/loops, 1))
		}
		p.loops = append(p.loops, l)
		if err := l.open(); err != nil {
			for _, opened := range p.loops {
				opened.close()
			}
			return nil, err
		}
	}
	for _, l := range p.loops {
		go l.run()
	}
	p.life, p.end = context.WithCancel(context.Background())
	if options.Budget != nil {
		p.workers.Go(p.relieve)
	}
	return p, nil
}

// Now returns the time since the plane began, never 0.
func (p *Plane) Now() int64 { return int64(time.Since(p.epoch)) + 1 }

// SetMaxSessions implements plane.Plane.
func (p *Plane) SetMaxSessions(n int) { p.places.SetLimit(n) }

// Sessions implements plane.Plane. Each loop is asked for a page of its slab
// at a time, so however many sessions there are, none waits for long.
func (p *Plane) Sessions(yield func(plane.Session) bool) {
	p.pages(func(_ *loop, page []shown) bool {
		for i := range page {
			if !yield(page[i].Session) {
				return false
			}
		}
		return true
	})
}

// Loops implements plane.Plane.
func (p *Plane) Loops() []int {
	held := make([]int, len(p.loops))
	for i, l := range p.loops {
		held[i] = int(l.live.Load())
	}
	return held
}

// Abort implements plane.Plane. The sessions are matched on the caller's
// goroutine and ended on their loops.
func (p *Plane) Abort(cause plane.Cause, match func(*plane.Session) bool) int {
	return p.each(match, abort(cause))
}

func abort(cause plane.Cause) func(*loop, *session) bool {
	return func(l *loop, s *session) bool {
		l.end(s, cause, nil, true)
		return true
	}
}

// Finish implements plane.Plane, in the way of Abort.
func (p *Plane) Finish(cause plane.Cause, match func(*plane.Session) bool) int {
	return p.each(match, finish(cause))
}

func finish(cause plane.Cause) func(*loop, *session) bool {
	return func(l *loop, s *session) bool { return l.finish(s, cause) }
}

// each does something to the sessions that match, on their loops, and returns to
// how many that was news.
func (p *Plane) each(match func(*plane.Session) bool, do func(*loop, *session) bool) int {
	n := 0
	p.pages(func(l *loop, page []shown) bool {
		var victims []token
		for i := range page {
			if match(&page[i].Session) {
				victims = append(victims, page[i].token)
			}
		}
		if len(victims) > 0 {
			l.mailbox.do(func() { n += l.each(victims, do) })
		}
		return true
	})
	return n
}

// shown is a picture of a session, and how to find the session again.
type shown struct {
	plane.Session
	token token
}

func (p *Plane) pages(yield func(*loop, []shown) bool) {
	for _, l := range p.loops {
		for i, more := 0, true; more; i++ {
			var page []shown
			if !l.mailbox.do(func() { page, more = l.page(i) }) {
				break // the loop has ended
			}
			if !yield(l, page) {
				return
			}
		}
	}
}

// page returns the sessions on one page of the slab, and whether there are
// more pages.
func (l *loop) page(i int) (page []shown, more bool) {
	if i >= len(l.slab.pages) {
		return nil, false
	}
	for j := range l.slab.pages[i] {
		if s := &l.slab.pages[i][j]; s.state != vacant {
			page = append(page, shown{l.picture(s), s.token(client)})
		}
	}
	return page, i+1 < len(l.slab.pages)
}

// each does something to those of the sessions that have not ended yet, and returns
// to how many that was news.
func (l *loop) each(victims []token, do func(*loop, *session) bool) int {
	n := 0
	for _, t := range victims {
		if s, _ := l.slab.session(t); s != nil && do(l, s) {
			n++
		}
	}
	return n
}

// Shutdown implements plane.Plane. Once it has returned, the loops have ended
// and all their descriptors are closed.
func (p *Plane) Shutdown(ctx context.Context) {
	for _, l := range p.loops {
		l.mailbox.post(func() { l.stopping = true })
	}
	for _, l := range p.loops {
		select {
		case <-l.ended:
			continue
		case <-ctx.Done():
		}
		p.Abort(plane.Shutdown, func(*plane.Session) bool { return true })
		<-l.ended
	}
	p.end()
	p.workers.Wait()
}
