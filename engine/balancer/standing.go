package balancer

import (
	"fmt"
	"time"
)

// Standing is how it stands with a channel: the one answer of all who show it.
type Standing struct {
	State  State
	Since  int64  // when that began, on the clock of the plane; 0 if it is not known
	Until  int64  // when being held off ends; 0 in every other state
	Reason string // why, in printable words; empty where the state says it all
}

// Words returns the standing in words, such as "down for 12s: connection refused".
func (s Standing) Words(now int64) string {
	words := s.State.String()
	switch s.State {
	case StateHeld:
		words += " for " + lasting(s.Until-now) + " more"
	case StateAutoDisabled:
		words = "disabled because connecting to it failed"
	case StateUnresolved:
		return s.Reason
	case StateDisabled:
		return words + " " + s.Reason
	case StateFailing, StateSlow, StateDown:
		if s.Since != 0 {
			words += " for " + lasting(now-s.Since)
		}
	}
	if s.Reason != "" {
		words += ": " + s.Reason
	}
	return words
}

// lasting prints a time in whole seconds, or in milliseconds if it is shorter.
func lasting(nanoseconds int64) string {
	d := max(time.Duration(nanoseconds), 0)
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// note is since when a word about a channel holds, 0 if nobody has said so yet,
// and why.
type note struct {
	since  int64
	reason string
}

// notes are those of the words in the state of a channel. The note of a word that
// is not in the state has no meaning.
type notes struct {
	up         note // of none of the words below, or of untested
	full       note
	idle       note // of weight 0
	slow       note
	failure    note
	health     note
	unresolved note
	out        note // of service

	row     int // failures in a row, at least 1 while the channel is failing
	strikes int // what being held off grows by: failures that no client's answer came between, nor a long time
}

// stands returns the state of the highest rank that the words in the channel's
// state come to.
func (c *Channel) stands(state uint64, now int64) State {
	switch {
	case state&removed != 0:
		return StateRemoved
	case state&draining != 0 && c.Active() > 0:
		return StateDraining
	case state&autoDisabled != 0:
		return StateAutoDisabled
	case state&off != 0:
		return StateDisabled
	case state&unresolved != 0:
		return StateUnresolved
	case state&unhealthy != 0:
		return StateDown
	case state&held != 0 && c.until.Load() > now:
		return StateHeld
	case state&failing != 0:
		return StateFailing
	case state&slow != 0:
		return StateSlow
	case state&weightless != 0:
		return StateWeightless
	case !c.slots.free():
		return StateFull
	case state&untested != 0 && state&healthy == 0:
		return StateUntested
	}
	return StateUp
}

// Standing joins all words about the channel. Whoever shows one asks here.
func (c *Channel) Standing(now int64) Standing {
	c.mu.Lock()
	defer c.mu.Unlock()
	state := c.state.Load()
	standing := Standing{State: c.stands(state, now)}
	var why note
	switch standing.State {
	case StateUp, StateUntested:
		why = c.up
	case StateFull:
		why = note{c.full.since, fmt.Sprintf("%d of %d", c.Active(), c.Limit())}
	case StateWeightless:
		why = note{c.idle.since, "no new clients"}
	case StateSlow:
		why = c.slow
	case StateFailing:
		why = note{c.failure.since, c.failures()}
	case StateHeld:
		why = note{c.failure.since, c.failures()}
		standing.Until = c.until.Load()
	case StateDown:
		why = c.health
	case StateUnresolved:
		why = note{c.unresolved.since, "its host does not resolve"}
	case StateDisabled:
		why = note{c.out.since, "by the operator"}
		if state&(operatorDisabled|draining) == 0 {
			why.reason = "by the configuration"
		}
	case StateAutoDisabled, StateDraining, StateRemoved:
		why = c.out // without a reason, but for the first
	}
	standing.Since, standing.Reason = why.since, why.reason
	return standing
}

// failures tells why the channel is failing, and how often.
func (c *Channel) failures() string {
	if c.row > 1 {
		return fmt.Sprintf("%s, %d times in a row", c.failure.reason, c.row)
	}
	return c.failure.reason
}

// Date says that what was told about the channel without a time (that it is to
// serve or not, that it has addresses or none, that it is there at all) was told
// now, if no earlier call has said so.
func (c *Channel) Date(now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range []*note{&c.up, &c.idle, &c.unresolved, &c.out} {
		if n.since == 0 {
			n.since = now
		}
	}
}

// SetSlow says since when the channel was sent bytes and has sent none back, and
// so why it is slow; 0 says that it is not. It reports whether that is news.
func (c *Channel) SetSlow(since int64, reason string) (changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.state.Load()
	state := old &^ slow
	if since != 0 {
		state |= slow
		c.slow = note{since, reason}
	} else if old&slow != 0 {
		c.up = note{}
	}
	c.state.Store(state)
	return state != old
}

// NoteFull says since when the channel has no free slot; 0 says that it has one,
// or that nobody knows since when it has none.
func (c *Channel) NoteFull(since int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.full.since = since
}
