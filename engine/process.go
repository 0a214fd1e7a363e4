package engine

import (
	"math"

	"golang.org/x/sys/unix"
)

// A session has two descriptors. What else the process needs some for (control,
// log, names, counters, the pipes through which bulk goes) is kept free of
// sessions, a quarter of them all, so that it can be asked how it is when it is
// full.
const (
	leastReserve = 32  // the process by itself has a dozen
	mostReserve  = 512 // of which clients of the control socket may have half
)

// descriptorLimit returns how many descriptors the process may have. Package os
// has raised it as far as it may go.
func descriptorLimit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || uint64(limit.Cur) > math.MaxInt32 {
		return math.MaxInt32
	}
	return int(limit.Cur)
}

func reserve(limit int) int { return min(max(limit/4, leastReserve), mostReserve) }

// maxPipes returns how many pipes the reserve has room for, beside the rest.
func maxPipes(limit int) int { return reserve(limit) / 4 }

// maxSessions returns how many sessions the descriptors allow beside so many
// listening sockets, at least one.
func maxSessions(limit, sockets int) int { return max((limit-reserve(limit)-sockets)/2, 1) }

// MaxSessions returns how many sessions there may be under the configuration in
// force, and whether the limit of descriptors keeps them below what it declares.
func (e *Engine) MaxSessions() (n int, lowered bool) {
	s := e.current.Load()
	n = maxSessions(descriptorLimit(), len(s.sockets))
	if s.config == nil || s.config.Process.MaxSessions == 0 {
		return n, false
	}
	return min(n, s.config.Process.MaxSessions), n < s.config.Process.MaxSessions
}

// limitSessions puts the limit of the configuration in force into effect.
func (e *Engine) limitSessions() {
	n, lowered := e.MaxSessions()
	e.plane.SetMaxSessions(n)
	if lowered {
		e.log.Warn("the limit of descriptors allows fewer sessions than max_sessions", "limit", descriptorLimit(),
			"max_sessions", e.Config().Process.MaxSessions, "allowed", n)
	}
}
