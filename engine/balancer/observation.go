package balancer

// Observation is what was observed of a channel, as plain values for another
// process to go on with. Times are on the clock of the plane, so those before its
// start are negative; 0 stands for one that is not known.
type Observation struct {
	Failures      int    // to connect to it, in a row; 0 if it is not failing
	FailingSince  int64  // the first of them
	FailureReason string // of the last of them
	HeldUntil     int64  // when being held off ends or ended; 0 if it was not

	Health       Health
	HealthSince  int64
	HealthReason string
}

// Observed returns what was observed of the channel.
func (c *Channel) Observed() Observation {
	c.mu.Lock()
	defer c.mu.Unlock()
	state := c.state.Load()
	observed := Observation{Health: healthOf(state)}
	if state&failing != 0 {
		observed.Failures, observed.FailingSince, observed.FailureReason = c.row, c.failure.since, c.failure.reason
	}
	if state&held != 0 {
		observed.HeldUntil = c.until.Load()
	}
	if observed.Health != Unchecked {
		observed.HealthSince, observed.HealthReason = c.health.since, c.health.reason
	}
	return observed
}

// Restore has a channel that nobody has dialled or checked yet go on with what
// was observed of it before. The reasons have to be printable.
func (c *Channel) Restore(observed Observation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	add := observed.Health.bits()
	c.health = note{observed.HealthSince, observed.HealthReason}
	if observed.Failures > 0 {
		add |= failing
		c.failure, c.row = note{observed.FailingSince, observed.FailureReason}, observed.Failures
		c.strikes = observed.Failures
		if observed.HeldUntil != 0 {
			add |= held
			c.until.Store(observed.HeldUntil)
		}
	}
	c.change(func(state uint64) uint64 {
		if add&failing != 0 {
			state &^= untested
		}
		return state | add
	})
}
