package balancer

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// DialStats are what became of the attempts to connect to a channel: atomics
// of fixed size, whatever happens.
type DialStats struct {
	Durations Histogram // of the attempts that succeeded
	failures  [Failures]atomic.Uint64
}

// Failed returns how many attempts failed for a reason.
func (d *DialStats) Failed(f Failure) uint64 { return d.failures[f].Load() }

// Reset sets everything to zero. Concurrent additions may survive it.
func (d *DialStats) Reset() {
	d.Durations.reset()
	for i := range d.failures {
		d.failures[i].Store(0)
	}
}

// Failure is why connecting to a channel failed.
type Failure uint8

// The failures.
const (
	Refused      Failure = iota
	TimedOut             // the connect timeout of the listener, or the kernel's
	Unreachable          // the network or the host cannot be reached
	ResetByPeer          // the host took the connection and broke it
	LocalFailure         // the cause is on this machine; see Local
	OtherFailure
	Failures // how many there are
)

// String returns the failure as one word.
func (f Failure) String() string {
	return [Failures]string{
		Refused:      "refused",
		TimedOut:     "timeout",
		Unreachable:  "unreachable",
		ResetByPeer:  "reset",
		LocalFailure: "local",
		OtherFailure: "other",
	}[f]
}

// FailureOf returns why connecting failed. Of the errors of several addresses
// the first counts.
func FailureOf(err error) Failure {
	var errno syscall.Errno
	switch {
	case errors.Is(err, ErrTooLate):
		return TimedOut
	case Local(err):
		return LocalFailure
	case prohibited(err):
		return Unreachable
	case errors.As(err, &errno):
		switch errno {
		case syscall.ECONNREFUSED:
			return Refused
		case syscall.ETIMEDOUT:
			return TimedOut
		case syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.EHOSTDOWN:
			return Unreachable
		case syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE:
			return ResetByPeer
		}
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return TimedOut
	}
	return OtherFailure
}

// Bounds are the upper bounds of the buckets of a Histogram. They reach from
// the same machine to a lost SYN, which is sent again after one second and
// then after three (RFC 6298), and beyond the usual connect timeout.
var Bounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// Histogram counts durations by the bucket that they fall in.
type Histogram struct {
	buckets [len(Bounds) + 1]atomic.Uint64 // the last has no upper bound
	sum     atomic.Uint64                  // nanoseconds
}

// Observe counts a duration.
func (h *Histogram) Observe(d time.Duration) {
	d = max(d, 0)
	i := 0
	for i < len(Bounds) && d > Bounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(uint64(d))
}

// Read returns how many durations are at most as long as each of the Bounds,
// how many there are in all, and their sum. What is observed meanwhile may be
// in the sum alone or in the counts alone.
func (h *Histogram) Read() (upTo [len(Bounds)]uint64, count uint64, sum time.Duration) {
	for i := range Bounds {
		count += h.buckets[i].Load()
		upTo[i] = count
	}
	count += h.buckets[len(Bounds)].Load()
	return upTo, count, time.Duration(h.sum.Load())
}

func (h *Histogram) reset() {
	for i := range h.buckets {
		h.buckets[i].Store(0)
	}
	h.sum.Store(0)
}
