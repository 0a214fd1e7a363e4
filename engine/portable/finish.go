package portable

import (
	"syscall"
	"time"

	"balance/engine/plane"
)

// finishing is what a session knows of its end in order, see plane.Finishing.
// session.mu guards it.
type finishing struct {
	told    plane.Cause // once it is being finished: why
	parting bool        // likewise, and it is put off no more
	step    int64       // when the step began that it is in, as Plane.Now
}

// finish begins to end the session in order. It reports false if it ends already.
func (s *session) finish(cause plane.Cause) bool {
	s.mu.Lock()
	searches := s.state == plane.Dialing || s.state == plane.Queued || s.state == plane.Greets
	ends := s.over() || s.broken != 0 || s.told != 0
	if !ends && !searches {
		s.told, s.step = cause, s.plane.Now()
	}
	s.mu.Unlock()
	switch {
	case ends:
		return false
	case searches:
		return s.stop(cause, nil, false)
	}
	s.finishOn()
	return true
}

// finishOn takes the next step of the end if it is time for it. It returns how long
// that lasts at most, and whether the session is being finished at all.
func (s *session) finishOn() (left time.Duration, leaving bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.plane.Now()
	since := time.Duration(now - s.step)
	switch {
	case s.told == 0 || s.over():
		return 0, false
	case s.parting && since < plane.Finishing:
		return plane.Finishing - since, true
	case s.parting:
		s.giveUpLocked()
		return plane.Finishing, true
	}
	if left := plane.PutOff(since, time.Duration(now-s.active.Load()), s.owed.Load()); left > 0 {
		return left, true
	}
	s.parting, s.step = true, now
	s.state, s.cause = plane.HalfClosed, s.told
	for _, conn := range []connection{s.client, s.server} {
		conn.SetReadDeadline(time.Unix(1, 0))
	}
	return plane.Finishing, true
}

// over reports whether the session is closed, or has left its channel, which comes
// first. The mutex is held.
func (s *session) over() bool {
	return s.state == plane.Closed || s.server == nil && (s.state == plane.Relaying || s.state == plane.HalfClosed)
}

// giveUpLocked resets both sides if one does not take what waits for it. If
// nothing waits, the directions end in time.
func (s *session) giveUpLocked() {
	if s.stalls[0].since.Load() != 0 || s.stalls[1].since.Load() != 0 {
		s.closeLocked(true)
	}
}

// parts reports whether the end has come so far that nothing is passed on any more.
func (s *session) parts() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parting
}

// part passes on an end of stream that has not come, then drops what still comes
// until it does.
func (d *direction) part(from syscall.RawConn) {
	d.closeWrite()
	d.from.SetReadDeadline(time.Now().Add(plane.Finishing))
	for {
		buffer, n, err := read(from)
		if n == 0 || err != nil {
			return
		}
		buffers.Put(buffer)
	}
}
