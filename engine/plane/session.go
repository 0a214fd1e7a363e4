package plane

import "time"

// TimeLeft returns how long the session with this id, which has an age, and in
// which no byte has moved for a time, may go on without one, and what it ends of
// then; without a cause it may go on for ever. With MaxAge it is to be finished,
// else it is reset.
func (s *Service) TimeLeft(state State, id uint64, age, idle time.Duration) (left time.Duration, cause Cause) {
	if state != Relaying && state != HalfClosed {
		return 0, 0
	}
	limit := func(by Cause, most, passed time.Duration) {
		if most > 0 && (cause == 0 || most-passed < left) {
			left, cause = most-passed, by
		}
	}
	limit(IdleTimeout, s.IdleTimeout, idle)
	if state == HalfClosed {
		limit(HalfCloseTimeout, s.HalfCloseTimeout, idle)
	}
	limit(MaxAge, s.maxAge(id), age)
	return left, cause
}

// maxAge returns at which age a session ends, 0 for never. What is random about it
// comes of the id, and is so the same each time it is asked.
func (s *Service) maxAge(id uint64) time.Duration {
	if s.MaxAge <= 0 {
		return 0
	}
	const denominator = 1 << 16
	chance := time.Duration(scatter(id) % denominator)
	// In this order it neither overflows nor loses more than a fraction of a second.
	return s.MaxAge + s.MaxAge/denominator*chance/100*time.Duration(s.MaxAgeJitter)
}

// scatter is the output function of SplitMix64 (Steele, Lea and Flood, 2014), which
// makes of numbers in a row some that look like random ones.
func scatter(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
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
	// Searched returns what the session found its channel with, or nil if it has
	// left that behind, connected, or still greets.
	Searched() *Search
	// Greeted returns the greeting, or nil if there was none or it was left behind.
	Greeted() *Greeting
	// End returns what is told of the session, but for the Outcome.
	End() End
	// Forget has the plane forget the session.
	Forget()
}

// EndSession ends a session of a listener, whose place is free afterwards. The channel has
// lost the session before its slot is free, and its slot is free before the
// client knows, so that limits hold and a client that comes again is not turned
// away. What it has of its source is given back with the slot.
func (o *Options) EndSession(s Ending, places *Places, l *Listener, now int64) {
	outcome, greeting := Outcome{Connected: true}, s.Greeted()
	if search := s.Searched(); search != nil {
		outcome = search.outcome
	}
	if greeting != nil {
		outcome.Connected = outcome.Connected && greeting.stage == passed
		outcome.Refusal = greeting.refusal
	}
	s.LeaveChannel()
	s.FreeSlot(now)
	if greeting != nil {
		greeting.leave(now)
	}
	s.LeaveClient()
	if o.Ended != nil {
		end := s.End()
		end.Outcome = outcome
		o.Ended(end)
	}
	s.Forget()
	places.Give(l, 1)
}
