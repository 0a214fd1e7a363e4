package plane

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"
)

// Budget bounds the bytes that all sessions of a plane keep because their
// receivers do not take them: buffers and pipes, each at its full size. A nil
// Budget bounds nothing. All methods may be called from any goroutine.
type Budget struct {
	limit atomic.Int64
	kept  atomic.Int64
	over  chan struct{} // holds one while nobody has acted on it
}

// NewBudget returns a budget without a limit.
func NewBudget() *Budget { return &Budget{over: make(chan struct{}, 1)} }

// SetLimit changes how many bytes there may be; 0 is no limit.
func (b *Budget) SetLimit(bytes int64) {
	b.limit.Store(bytes)
	b.check()
}

// Keep adds to what is kept, or takes away if bytes is negative. It never waits.
func (b *Budget) Keep(bytes int64) {
	if b == nil {
		return
	}
	b.kept.Add(bytes)
	if bytes > 0 {
		b.check()
	}
}

// Kept returns how many bytes are kept.
func (b *Budget) Kept() int64 { return b.kept.Load() }

func (b *Budget) check() {
	if b.Excess() > 0 {
		select {
		case b.over <- struct{}{}:
		default:
		}
	}
}

// Over yields when the limit has been passed. For a nil Budget it is nil.
func (b *Budget) Over() <-chan struct{} {
	if b == nil {
		return nil
	}
	return b.over
}

// Excess returns how many bytes are kept beyond the limit.
func (b *Budget) Excess() int64 {
	if b == nil {
		return 0
	}
	if limit := b.limit.Load(); limit > 0 {
		return max(b.kept.Load()-limit, 0)
	}
	return 0
}

// Stuck is a session that keeps bytes because a receiver does not take them.
type Stuck[T any] struct {
	Session T
	Bytes   int64         // that it keeps
	For     time.Duration // since a byte last moved that way
}

// StuckAtLeast is how long a session must be stuck before it may be ended for
// what it keeps: a receiver that is only slow has moved a byte since. The limit
// may be passed as long as there are none, but at most twofold: beyond that,
// receivers that trickle could make a plane keep what all sessions can.
const StuckAtLeast = 3 * time.Second

// How often a plane looks for sessions to end: StuckCheck while the limit is
// passed, RushedCheck while it is passed more than twofold.
const (
	StuckCheck  = time.Second
	RushedCheck = 100 * time.Millisecond
)

// Due reports whether to look for sessions to end so long after the last look.
func (b *Budget) Due(since time.Duration) bool {
	return b.Excess() > 0 && (since >= StuckCheck || since >= RushedCheck && b.farOver())
}

// farOver reports whether the limit is passed more than twofold.
func (b *Budget) farOver() bool { return b.Excess() > b.limit.Load() }

// MostStuck returns those of the sessions that are to be ended, the longest
// stuck first: of those that are stuck for long so many that no more than the
// limit is kept, of the others so many that no more than twice as much is.
func MostStuck[T any](b *Budget, sessions []Stuck[T]) (victims []Stuck[T]) {
	slices.SortFunc(sessions, func(a, b Stuck[T]) int { return cmp.Compare(b.For, a.For) })
	excess := b.Excess()
	for _, s := range sessions {
		allowed := int64(0)
		if s.For < StuckAtLeast {
			allowed = b.limit.Load()
		}
		if excess <= allowed {
			break
		}
		victims = append(victims, s)
		excess -= s.Bytes
	}
	return victims
}
