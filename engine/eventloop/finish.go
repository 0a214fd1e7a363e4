//go:build linux

package eventloop

import (
	"time"

	"balance/engine/plane"
)

// finish begins to end a session in order, as plane.Finishing has it. It reports
// false if the session ends already.
func (l *loop) finish(s *session, cause plane.Cause) bool {
	if s.search != nil || s.state == plane.Greets {
		l.end(s, cause, nil, false)
		return true
	}
	if _, broken := s.broken(); broken || s.told != 0 {
		return false
	}
	s.told = cause
	s.looked = milliseconds(l.now)
	l.finishOn(s)
	return true
}

// finishOn takes the next step of the end if it is time for it.
func (l *loop) finishOn(s *session) {
	if left := l.finishLeft(s); left > 0 {
		l.arm(&s.timer, left)
		return
	}
	if s.parting {
		l.end(s, s.told, nil, s.holds())
		return
	}
	s.parting = true
	s.looked = milliseconds(l.now)
	s.state, s.cause = plane.HalfClosed, s.told
	l.arm(&s.timer, plane.Finishing)
	l.relay(s, client)
}

// finishLeft returns how long the step of the end lasts at most that a session
// that is being finished is in.
func (l *loop) finishLeft(s *session) time.Duration {
	since := time.Duration((milliseconds(l.now)-s.looked)&^finishing) * time.Millisecond
	if s.parting {
		return max(plane.Finishing-since, 0)
	}
	return plane.PutOff(since, time.Duration(l.now-s.active), s.owed)
}

// finishing marks session.looked as a time: no socket has as much left to send.
const finishing = 1 << 31

// milliseconds is a time of which the difference to a later one is right for 24 days.
func milliseconds(now int64) uint32 { return uint32(now/int64(time.Millisecond)) | finishing }

// holds reports whether something waits for its receiver.
func (s *session) holds() bool { return s.streams[client].pending() || s.streams[server].pending() }

// over reports whether nothing is to be moved between the sides any more, nor, of
// a session that parts, to be read.
func (s *session) over() bool {
	c, v := &s.streams[client], &s.streams[server]
	return c.closed && v.closed && (!s.parting || c.finished && v.finished)
}
