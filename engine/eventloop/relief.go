//go:build linux

package eventloop

import (
	"slices"
	"time"

	"balance/engine/plane"
)

// keep counts what a stream keeps beyond a turn, until leave.
func (l *loop) keep(t *stream) {
	if t.stuck == 0 {
		t.stuck = seconds(l.now)
		l.plane.options.Budget.Keep(t.size())
	}
}

// leave is called before a stream lets go of its buffer or pipe.
func (l *loop) leave(t *stream) {
	if t.stuck != 0 {
		t.stuck = 0
		l.plane.options.Budget.Keep(-t.size())
	}
}

func (t *stream) size() int64 {
	if t.pipe != nil {
		return pipeSize
	}
	return bufferSize
}

// seconds returns a time of the plane in seconds, never 0.
func seconds(now int64) uint32 { return uint32(now/int64(time.Second)) + 1 }

// stuck returns what a session keeps, and since when, in seconds, at least one
// of its streams has not moved.
func (s *session) stuck() (bytes int64, since uint32) {
	for i := range s.streams {
		if t := &s.streams[i]; t.stuck != 0 {
			bytes += t.size()
			if since == 0 || t.stuck < since {
				since = t.stuck
			}
		}
	}
	return bytes, since
}

// suspect is a session that is stuck.
type suspect struct {
	loop  *loop
	token token
	since uint32
}

// relieve is the one goroutine beside the loops, for it compares the sessions
// of all: while too much is kept, it ends those that have been stuck longest.
func (p *Plane) relieve() {
	budget := p.options.Budget
	var looked time.Time
	for {
		select {
		case <-p.life.Done():
			return
		case <-budget.Over():
		}
		for budget.Excess() > 0 {
			if budget.Due(time.Since(looked)) {
				kept := budget.Kept()
				if n := p.endMostStuck(); n > 0 {
					p.options.Overfull(n, kept)
				}
				looked = time.Now()
			}
			select {
			case <-p.life.Done():
				return
			case <-time.After(plane.RushedCheck):
			}
		}
	}
}

// endMostStuck returns how many sessions it has ended. A loop ends a batch at a
// time, so it neither is held up for long nor makes relief wait for a turn of a
// busy loop with each session.
func (p *Plane) endMostStuck() int {
	const batch = 64
	victims := make(map[*loop][]suspect)
	for _, v := range plane.MostStuck(p.options.Budget, p.suspects()) {
		l := v.Session.loop
		victims[l] = append(victims[l], v.Session)
	}
	n := 0
	for l, all := range victims {
		for some := range slices.Chunk(all, batch) {
			l.mailbox.do(func() { n += l.endStuck(some) })
		}
	}
	return n
}

// endStuck ends those of the sessions that have not moved since, and returns how
// many.
func (l *loop) endStuck(victims []suspect) (n int) {
	for _, v := range victims {
		if s, _ := l.slab.session(v.token); s != nil {
			if _, since := s.stuck(); since == v.since {
				l.end(s, plane.Overfull, nil, true)
				n++
			}
		}
	}
	return n
}

// suspects asks each loop for a page of its slab at a time, so none waits for
// long.
func (p *Plane) suspects() (all []plane.Stuck[suspect]) {
	for _, l := range p.loops {
		for i, more := 0, true; more; i++ {
			if !l.mailbox.do(func() { all, more = l.suspects(all, i) }) {
				break // the loop has ended
			}
		}
	}
	return all
}

// suspects appends the stuck sessions on one page of the slab, and returns
// whether there are more pages.
func (l *loop) suspects(to []plane.Stuck[suspect], i int) (_ []plane.Stuck[suspect], more bool) {
	if i >= len(l.slab.pages) {
		return to, false
	}
	for j := range l.slab.pages[i] {
		s := &l.slab.pages[i][j]
		if bytes, since := s.stuck(); bytes > 0 {
			stuckFor := time.Duration(seconds(l.now)-since) * time.Second
			to = append(to, plane.Stuck[suspect]{Session: suspect{l, s.token(client), since}, Bytes: bytes, For: stuckFor})
		}
	}
	return to, i+1 < len(l.slab.pages)
}
