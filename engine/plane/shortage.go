package plane

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"balance/engine/socket"
)

// Exhausted reports whether a system call failed because the machine or the
// process is out of descriptors or memory (accept(2), socket(2), epoll_ctl(2)).
// It says nothing about a client or a channel, and an attempt without a pause
// would fail the same way.
func Exhausted(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ENOSPC} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// ErrNoPort is in the error of an attempt to connect for which this machine had
// no port that is free towards the one destination (EADDRNOTAVAIL in connect(2),
// ip_local_port_range in ip(7)). That says nothing about other destinations, nor
// about the channel. It is not in that of an attempt for which there was no
// address to connect from, though the system says the same of that: bind(2), or
// connect(2) where no interface has an IPv6 address, fail with EADDRNOTAVAIL too.
var ErrNoPort = errors.New("no local port is free")

// ErrBacklog is the error of an attempt to connect to a unix socket whose queue of
// clients is full (EAGAIN in connect(2)). That says something about the channel: where
// TCP would try again by itself, for as long as there is time, the search does.
var ErrBacklog = errors.New("too many wait to be accepted")

// portLook is how often a search looks whether there is a port, or room in a
// backlog: others free them, which nobody is told of.
const portLook = 50 * time.Millisecond

// Shortage is a time in which the machine lacks what sessions take: nobody of
// the process accepts or dials until a pause is over. Times are nanoseconds of
// a clock that runs on and is never 0.
type Shortage struct {
	until atomic.Int64 // 0 = the last attempt succeeded

	mu      sync.Mutex     // loops take it: whoever holds it only reckons
	backoff socket.Backoff // guarded by mu
}

// Begin is called after an attempt failed, and returns how long to make none.
// It reports whether a new pause has begun: those who fail at the same time
// share one.
func (s *Shortage) Begin(now int64) (pause time.Duration, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	until := s.until.Load()
	if until > now {
		return time.Duration(until - now), false
	}
	if now-until > int64(time.Second) {
		s.backoff.Reset() // that was another shortage
	}
	pause = s.backoff.Next()
	s.until.Store(now + int64(pause))
	return pause, true
}

// Left returns how much of the pause is left, nothing if there is none.
func (s *Shortage) Left(now int64) time.Duration { return time.Duration(max(s.until.Load()-now, 0)) }

// Lasts reports whether no attempt has succeeded since one failed.
func (s *Shortage) Lasts() bool { return s.until.Load() != 0 }

// End is called after an attempt to dial succeeded. That one to accept did tells
// nothing: a client is of no use without a descriptor for its channel.
func (s *Shortage) End() {
	if s.until.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until.Store(0)
	s.backoff.Reset()
}
