package balancer

import (
	"sync/atomic"
	"time"
)

// Throttle counts what there is to tell, and lets it be told once in a second of
// a clock that is never 0. The zero value is ready. All methods may be called from any goroutine.
type Throttle struct {
	second atomic.Int64 // of the clock, from 1, in which something was told last
	untold atomic.Uint64
}

// Add counts one more thing to tell.
func (t *Throttle) Add() { t.untold.Add(1) }

// Pending reports whether there is something to tell.
func (t *Throttle) Pending() bool { return t.untold.Load() > 0 }

// Take returns how much there is to tell, and counts from zero again; 0 if
// there is nothing, or if something was told in this second already.
func (t *Throttle) Take(now int64) uint64 {
	second := now/int64(time.Second) + 1
	if !t.Pending() || t.second.Swap(second) == second {
		return 0
	}
	return t.untold.Swap(0)
}
