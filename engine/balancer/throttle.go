package balancer

import (
	"sync/atomic"
	"time"
)

// Throttle counts what there is to tell, and lets it be told once in a second.
// The zero value is ready. All methods may be called from any goroutine.
type Throttle struct {
	second atomic.Int64 // since 1970, in which something was told last
	untold atomic.Uint64
}

// Add counts one more thing to tell.
func (t *Throttle) Add() { t.untold.Add(1) }

// Pending reports whether there is something to tell.
func (t *Throttle) Pending() bool { return t.untold.Load() > 0 }

// Take returns how much there is to tell, and counts from zero again; 0 if
// there is nothing, or if something was told in this second already.
func (t *Throttle) Take(now time.Time) uint64 {
	if !t.Pending() || t.second.Swap(now.Unix()) == now.Unix() {
		return 0
	}
	return t.untold.Swap(0)
}
