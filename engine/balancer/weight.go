package balancer

import (
	"math"
	"strconv"
)

// MaxWeight is the highest weight a channel can have.
const MaxWeight = 1000

// The weight of a channel stands among the words of its state, so that whoever
// looks at these has it at hand.
const (
	weightAt   = 16
	weightBits = 1<<10 - 1
)

// fineBits is by how much a weight is finer than what is declared: a channel that
// begins to serve has a part of its weight, which may be 1.
const fineBits = 7

func weightOf(state uint64) int { return int(state >> weightAt & weightBits) }

// Weight returns the share of the channel among those of its group, 1 at first.
func (c *Channel) Weight() int { return weightOf(c.state.Load()) }

// SetWeight changes the weight, 0 to MaxWeight. With 0 the channel is given no new
// client. Router.Review is to be called then.
func (c *Channel) SetWeight(weight int) {
	weight = min(max(weight, 0), MaxWeight)
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.state.Load()
	state := old&^(weightBits<<weightAt|weightless) | uint64(weight)<<weightAt
	if weight == 0 {
		state |= weightless
	}
	if (old^state)&weightless != 0 {
		c.up, c.idle = note{}, note{}
	}
	c.state.Store(state)
	if state != old {
		weighings.Add(1)
	}
}

// Warm says that the channel begins to serve now: it came up, was enabled or
// created. What that means is Group.SlowStart's.
func (c *Channel) Warm(now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.warm.Store(now)
	c.state.Store(c.state.Load() | warming)
	weighings.Add(1)
}

// weight returns the weight of a channel, whose state this is, in parts of
// 1/(1<<fineBits): that part of its own that it has come to, and at least 1.
func (q question) weight(c *Channel, state uint64) uint64 {
	weight := uint64(weightOf(state))
	if q.slow != 0 && state&warming != 0 && weight > 0 {
		return q.part(c, weight)
	}
	return weight << fineBits
}

// part returns the part of a weight that the channel has come to, at least 1. It
// grows in 1<<fineBits steps.
func (q question) part(c *Channel, weight uint64) uint64 {
	return max(weight*uint64(q.steps(c)), 1)
}

// steps returns how many steps of 1<<fineBits the channel has come towards its share,
// and nextStep when it takes the next, 0 if there is none.
func (q question) steps(c *Channel) int64 {
	return min(max(q.now-c.warm.Load(), 0), q.slow) << fineBits / q.slow
}

func (q question) nextStep(c *Channel) int64 {
	steps := q.steps(c) + 1
	if steps > 1<<fineBits {
		return 0
	}
	return c.warm.Load() + (steps*q.slow+1<<fineBits-1)>>fineBits
}

// most returns the part of its limit that the channel has come to, at least 1; of
// none all.
func (q question) most(c *Channel, state uint64) uint64 {
	limit := uint64(c.slots.limit())
	if limit == 0 {
		return math.MaxUint64
	}
	if q.slow == 0 || state&warming == 0 {
		return limit
	}
	passed := q.now - c.warm.Load()
	if passed >= q.slow {
		return limit
	}
	return max(uint64(float64(max(passed, 0))/float64(q.slow)*float64(limit)), 1)
}

// roomAt returns when a channel that starts, and has no room though a slot is free,
// is to have room.
func (q question) roomAt(c *Channel) int64 {
	part := float64(c.slots.taken()+1) / float64(max(c.slots.limit(), 1))
	return max(c.warm.Load()+int64(math.Ceil(part*float64(q.slow))), q.now+1)
}

// weightWords prints a weight in parts of 1/(1<<fineBits).
func weightWords(weight uint64) string {
	return strconv.FormatFloat(math.Round(float64(weight)/(1<<fineBits)*100)/100, 'f', -1, 64)
}
