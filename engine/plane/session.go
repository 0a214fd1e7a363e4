package plane

import "time"

// TimeLeft returns how long a session in which no byte has moved for a time may
// go on without one, and what it ends of then; without a cause it may go on for
// ever.
func (s *Service) TimeLeft(state State, idle time.Duration) (time.Duration, Cause) {
	if state != Relaying && state != HalfClosed {
		return 0, 0
	}
	limit, cause := s.IdleTimeout, IdleTimeout
	if half := s.HalfCloseTimeout; half > 0 && state == HalfClosed && (limit <= 0 || half < limit) {
		limit, cause = half, HalfCloseTimeout
	}
	if limit <= 0 {
		return 0, 0
	}
	return limit - idle, cause
}

// Parting is how a session ends one side of which has broken. What came from
// that side before still goes to the other, for as long as that takes it; when
// there is nothing left, or nothing of it was taken for so long since then, the
// reset is passed on. What comes from the other side is dropped.
const Parting = time.Second

// PartingLook is how often a plane looks whether the kernel has sent the rest,
// which no event tells.
const PartingLook = 10 * time.Millisecond

// Ending is a session that ends, as its plane has it.
type Ending interface {
	// LeaveChannel closes the connection to the channel, and drops what was on
	// its way.
	LeaveChannel()
	// FreeSlot gives the slot on the channel back, if one is held.
	FreeSlot(now int64)
	// LeaveClient closes the connection to the client.
	LeaveClient()
	// End returns what is told of the session.
	End() End
	// Forget has the plane forget the session.
	Forget()
}

// EndSession ends a session, whose place is free afterwards. The channel has
// lost the session before its slot is free, and its slot is free before the
// client knows, so that limits hold and a client that comes again is not turned
// away.
func (o *Options) EndSession(s Ending, places *Places, now int64) {
	s.LeaveChannel()
	s.FreeSlot(now)
	s.LeaveClient()
	if o.Ended != nil {
		o.Ended(s.End())
	}
	s.Forget()
	places.Give(1)
}
