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
	weight := uint64(weightOf(state)) << fineBits
	if q.slow != 0 && state&warming != 0 && weight > 0 {
		return q.part(c, weight)
	}
	return weight
}

// part returns the part of a whole that the channel has come to, at least 1. It
// grows in steps of 1/(1<<fineBits) of the whole, or smaller ones.
func (q question) part(c *Channel, whole uint64) uint64 {
	passed := q.now - c.warm.Load()
	if passed >= q.slow {
		return whole
	}
	return max(uint64(float64(max(passed, 0))/float64(q.slow)*float64(whole)), 1)
}

// most returns the part of its limit that the channel has come to.
func (q question) most(c *Channel, state uint64) uint64 {
	limit := uint64(c.slots.limit())
	if limit == 0 {
		return math.MaxUint64
	}
	if q.slow != 0 && state&warming != 0 {
		return q.part(c, limit)
	}
	return limit
}

// weightWords prints a weight in parts of 1/(1<<fineBits).
func weightWords(weight uint64) string {
	return strconv.FormatFloat(math.Round(float64(weight)/(1<<fineBits)*100)/100, 'f', -1, 64)
}
