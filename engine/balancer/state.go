package balancer

// State is what there is to say of a channel, in a word.
type State uint8

// The states, by rank: of those that hold the last one is the channel's. It is
// failing rather than full, since one that answers nobody is full whenever its
// last slot is being dialled.
const (
	StateUp           State = iota
	StateUntested           // in service, but neither a client nor a check has found out about it yet
	StateFull               // in service, without a free slot
	StateWeightless         // in service, but with weight 0, so it is given no new client
	StateSlow               // in service, but was sent bytes and sent none back
	StateFailing            // in service, but did not answer when it was tried last
	StateHeld               // likewise, and passed over for a while
	StateDown               // in service, but its check says that it is down
	StateUnresolved         // in service, but its host has no address
	StateDisabled           // by the configuration or the operator
	StateAutoDisabled       // because connecting to it failed, until the operator enables it
	StateDraining           // the operator lets its sessions finish, then it is disabled
	StateRemoved            // in no configuration any more
)

// String returns the state as one word.
func (s State) String() string {
	return [...]string{
		StateUp:           "up",
		StateUntested:     "untested",
		StateFull:         "full",
		StateWeightless:   "weight 0",
		StateSlow:         "slow",
		StateFailing:      "failing",
		StateHeld:         "held off",
		StateDown:         "down",
		StateUnresolved:   "unresolved",
		StateDisabled:     "disabled",
		StateAutoDisabled: "autodisabled",
		StateDraining:     "draining",
		StateRemoved:      "removed",
	}[s]
}

// MarshalText returns what String does, for JSON.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Enabled reports whether the channel is in service: whether neither the
// configuration, nor the operator, nor a failure took it out.
func (s State) Enabled() bool { return s <= StateUnresolved }

// Up reports whether the channel serves, as far as is known.
func (s State) Up() bool { return s <= StateSlow }

// These words about a channel are kept apart: what the configuration declares,
// what the operator says, what clients' dials observed, what checks say. The
// first three decide whether it is in service:
//
//	removed                     no: it is in no configuration any more
//	observed to fail            no, with autodisable, until the operator enables it
//	operator says so            as the operator says; draining is a no
//	otherwise                   as declared
//
// They are the lower half of the state. The upper half counts what makes a
// failure old news, if the dial began before: that the channel was given a new
// chance, that it answered again, and each failure that counted. So of dials that
// run at the same time and fail, one counts.
const (
	declaredDisabled uint64 = 1 << iota
	operatorEnabled
	operatorDisabled
	autoDisabled
	draining // the operator let its sessions finish before it counts as disabled
	removed
	off        // what all of these come to
	unresolved // it has no address
	untested   // no client's dial came to anything, since the start or since a new chance
	failing    // since it last answered; disables nothing
	held       // likewise, and passed over until Channel.until
	healthy    // by its check
	unhealthy  // by its check
	slow       // was sent bytes and sent none back
	warming    // began to serve at Channel.warm, which may be long ago
	weightless // of weight 0; the weight itself is in the bits from weightAt on
)

// generation is one in the upper half of the state. It may wrap: no dial lasts
// as long.
const generation uint64 = 1 << 32

func generationOf(state uint64) uint32 { return uint32(state >> 32) }

func enabled(state uint64) bool {
	switch {
	case state&(removed|autoDisabled|operatorDisabled|draining) != 0:
		return false
	case state&operatorEnabled != 0:
		return true
	default:
		return state&declaredDisabled == 0
	}
}

// Enabled reports whether the channel is in service.
func (c *Channel) Enabled() bool { return c.state.Load()&off == 0 }

// Failing reports whether connecting to the channel failed when it was tried
// last.
func (c *Channel) Failing() bool { return c.state.Load()&failing != 0 }

// Enable is the operator's word that the channel is to serve. It clears an
// autodisable and what else failed dials have said, and those that are under way
// cannot bring it back. It reports false if the channel was enabled already.
func (c *Channel) Enable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.change(func(state uint64) uint64 {
		state = c.forgive(state) &^ (operatorEnabled | operatorDisabled | draining)
		if state&declaredDisabled != 0 {
			state |= operatorEnabled
		}
		return state
	})
}

// Disable is the operator's word that the channel is not to serve; running
// sessions go on. It reports false if the channel was disabled already.
func (c *Channel) Disable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.change(func(state uint64) uint64 {
		return disable(state &^ draining)
	})
}

// Drain is Disable, but while sessions run the channel counts as draining.
func (c *Channel) Drain() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.change(func(state uint64) uint64 {
		return disable(state) | draining
	})
}

func disable(state uint64) uint64 {
	state &^= operatorEnabled | operatorDisabled
	if state&declaredDisabled == 0 {
		state |= operatorDisabled
	}
	return state
}

// Draining reports whether the channel drains and sessions still run.
func (c *Channel) Draining() bool {
	return c.state.Load()&draining != 0 && c.Active() > 0
}

// Declare sets what the configuration says. The operator's word, where there
// is one, stays in force; once both say the same it is forgotten.
func (c *Channel) Declare(disabled bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.change(func(state uint64) uint64 {
		state &^= declaredDisabled
		if disabled {
			state = state&^(operatorDisabled|draining) | declaredDisabled
		} else {
			state &^= operatorEnabled
		}
		return state
	})
}

// Forgive clears what was observed about the channel, and what dials that are
// under way are about to observe if they fail: a new declaration gives it a new
// chance. The word of its checks stays.
func (c *Channel) Forgive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.change(c.forgive)
}

// Remove takes the channel out of service for good.
func (c *Channel) Remove() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.change(func(state uint64) uint64 { return state | removed })
}

// forgive returns the state without what failed dials have said. The mutex is
// held.
func (c *Channel) forgive(state uint64) uint64 {
	c.strikes = 0
	if state&failing != 0 {
		c.clearFailure()
		state = state&^(failing|held) | untested
	}
	return state&^autoDisabled + generation
}

// change applies a function to the state, takes note of what it changed, and
// reports whether the answer of Enabled changed with it. The mutex is held.
func (c *Channel) change(next func(uint64) uint64) bool {
	const service = declaredDisabled | operatorEnabled | operatorDisabled | autoDisabled | draining | removed
	old := c.state.Load()
	state := next(old) &^ off
	if !enabled(state) {
		state |= off
	}
	if state&off != 0 && state&service != old&service {
		c.out = note{}
	}
	if (old^state)&(off|untested|unresolved) != 0 {
		c.up = note{}
	}
	c.state.Store(state)
	return (old^state)&off != 0
}
