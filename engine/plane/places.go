package plane

import "sync/atomic"

// Places counts the sessions of a plane against how many there may be. The zero
// Places has none.
type Places struct {
	// Freed is called after places have become free, or more, while somebody
	// waits for one (see Wait). It must not block.
	Freed func()

	limit, taken atomic.Int64
	waiting      atomic.Int32
}

// SetLimit changes how many places there are. Those that are taken stay taken.
func (p *Places) SetLimit(limit int) {
	p.limit.Store(int64(limit))
	p.freed()
}

// Limit returns how many places there are.
func (p *Places) Limit() int { return int(p.limit.Load()) }

// Take reserves up to n places and returns how many it got.
func (p *Places) Take(n int) int {
	for {
		taken := p.taken.Load()
		got := min(int64(n), p.limit.Load()-taken)
		if got <= 0 {
			return 0
		}
		if p.taken.CompareAndSwap(taken, taken+got) {
			return int(got)
		}
	}
}

// Give gives n places back.
func (p *Places) Give(n int) {
	p.taken.Add(int64(-n))
	p.freed()
}

// Free returns how many places are not taken; fewer than none after the limit
// was lowered.
func (p *Places) Free() int { return int(p.limit.Load() - p.taken.Load()) }

// Wait counts one more, or with -1 one less, who waits for a place. Who begins
// to wait looks at Free once more then: a place may have become free before.
func (p *Places) Wait(n int32) { p.waiting.Add(n) }

func (p *Places) freed() {
	if p.waiting.Load() > 0 {
		p.Freed()
	}
}
