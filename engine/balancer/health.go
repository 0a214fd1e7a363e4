package balancer

// Health is what checks say of a channel.
type Health uint8

// The words of checks.
const (
	Unchecked Health = iota // there is no check, or none has come to its end yet
	Healthy
	Unhealthy // an enabled channel is down then, and is given to nobody
)

// String returns the word.
func (h Health) String() string { return [...]string{"unchecked", "up", "down"}[h] }

func healthOf(state uint64) Health {
	switch {
	case state&unhealthy != 0:
		return Unhealthy
	case state&healthy != 0:
		return Healthy
	}
	return Unchecked
}

func (h Health) bits() uint64 { return [...]uint64{0, healthy, unhealthy}[h] }

// SetHealth sets the word of the checks, since when it holds, on the clock of the
// router's plane, and why, in printable words. It reports whether the word is
// another one; Router.Review is to be called then.
func (c *Channel) SetHealth(h Health, since int64, reason string) (changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.state.Load()
	c.health = note{since, reason}
	state := old&^(healthy|unhealthy) | h.bits()
	if state == old {
		return false
	}
	if old&unhealthy != 0 || old&untested != 0 {
		c.up = note{since: since}
	}
	c.state.Store(state)
	return true
}

// Health returns the word of the checks.
func (c *Channel) Health() Health { return healthOf(c.state.Load()) }
