package balancer

// State is what there is to say of a channel, in a word.
type State uint8

// The states, by rank: of those that hold the last one is the channel's. It is
// failing rather than full, since one that answers nobody is full whenever its
// last slot is being dialled.
const (
	StateUp           State = iota
	StateFull               // in service, without a free slot
	StateFailing            // in service, but did not answer when it was tried last
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
		StateFull:         "full",
		StateFailing:      "failing",
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
func (s State) Up() bool { return s <= StateFull }

// Three words about a channel are kept apart: what the configuration declares,
// what the operator says, and what was observed. Enabled joins them.
//
//	removed                     no: it is in no configuration any more
//	observed to fail            no, until the operator enables it
//	operator says so            as the operator says; draining is a no
//	otherwise                   as declared
//
// They are the lower half of the state. The upper half counts how often the
// channel was given a new chance: what a dial that began before has to say of
// the channel, if it fails, is old news.
const (
	declaredDisabled uint64 = 1 << iota
	operatorEnabled
	operatorDisabled
	autoDisabled
	failing  // since it last answered; for the log, it disables nothing
	draining // the operator let its sessions finish before it counts as disabled
	removed
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
func (c *Channel) Enabled() bool { return enabled(c.state.Load()) }

// Failing reports whether connecting to the channel failed when it was tried
// last.
func (c *Channel) Failing() bool { return c.state.Load()&failing != 0 }

// State joins all words about the channel. Whoever shows one asks here.
func (c *Channel) State() State {
	state := c.state.Load()
	if joined := c.obstacle(state); joined > StateFull || state&failing == 0 {
		return joined
	}
	return StateFailing
}

// obstacle returns what keeps a client from being given the channel, whose words
// are these, now; StateUp if nothing does. That it fails is no obstacle.
func (c *Channel) obstacle(state uint64) State {
	if !enabled(state) {
		switch {
		case state&removed != 0:
			return StateRemoved
		case state&draining != 0 && c.Active() > 0:
			return StateDraining
		case state&autoDisabled != 0:
			return StateAutoDisabled
		}
		return StateDisabled
	}
	switch {
	case len(c.Addresses()) == 0:
		return StateUnresolved
	case !c.slots.free():
		return StateFull
	}
	return StateUp
}

// Enable is the operator's word that the channel is to serve. It clears an
// autodisable, and dials that are under way cannot bring it back. It reports
// false if the channel was enabled already.
func (c *Channel) Enable() bool {
	return c.change(func(state uint64) uint64 {
		state += generation
		state &^= autoDisabled | operatorEnabled | operatorDisabled | draining
		if state&declaredDisabled != 0 {
			state |= operatorEnabled
		}
		return state
	})
}

// Disable is the operator's word that the channel is not to serve; running
// sessions go on. It reports false if the channel was disabled already.
func (c *Channel) Disable() bool {
	return c.change(func(state uint64) uint64 {
		return disable(state &^ draining)
	})
}

// Drain is Disable, but while sessions run the channel counts as draining.
func (c *Channel) Drain() bool {
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
// chance.
func (c *Channel) Forgive() {
	c.change(func(state uint64) uint64 { return state&^(autoDisabled|failing) + generation })
}

// Remove takes the channel out of service for good.
func (c *Channel) Remove() {
	c.change(func(state uint64) uint64 { return state | removed })
}

// observeFailure reports what this failure, among concurrent ones, changed. It
// changes nothing if the state has left the generation in which the dial began.
func (c *Channel) observeFailure(disable bool, began uint32) Change {
	add := failing
	if disable {
		add |= autoDisabled
	}
	for {
		old := c.state.Load()
		if generationOf(old) != began || old|add == old {
			return Unchanged
		}
		if !c.state.CompareAndSwap(old, old|add) {
			continue
		}
		if disable && old&autoDisabled == 0 {
			return Disabled
		}
		return Failing
	}
}

// observeAnswer reports whether this answer is the first after a failure. That
// a channel answers is news whenever the dial began.
func (c *Channel) observeAnswer() Change {
	for {
		old := c.state.Load()
		if old&failing == 0 {
			return Unchanged
		}
		if c.state.CompareAndSwap(old, old&^failing) {
			return Recovered
		}
	}
}

// change applies a pure function to the state and reports whether the answer
// of Enabled changed with it.
func (c *Channel) change(next func(uint64) uint64) bool {
	for {
		old := c.state.Load()
		state := next(old)
		if c.state.CompareAndSwap(old, state) {
			return enabled(old) != enabled(state)
		}
	}
}
