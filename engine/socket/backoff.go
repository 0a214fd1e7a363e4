package socket

import "time"

// Backoff paces attempts while the kernel has no room: 5 ms at first, doubling
// to 1 s.
type Backoff struct{ pause time.Duration }

// Next returns how long to wait before the next attempt.
func (b *Backoff) Next() time.Duration {
	b.pause = min(max(2*b.pause, 5*time.Millisecond), time.Second)
	return b.pause
}

// Reset starts anew after an attempt that succeeded.
func (b *Backoff) Reset() { b.pause = 0 }
