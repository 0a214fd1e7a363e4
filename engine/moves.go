package engine

import (
	"math"
	"slices"

	"balance/engine/balancer"
)

// moves counts the clients whom channels that are back would take, as if each that
// was told of came again at once.
type moves struct {
	router *balancer.Router
	now    int64
	back   []*balancer.Channel
	came   map[*balancer.Channel]int
}

// take reports whether a client for whom a channel is chosen now would come to one
// that is back: in a hash group to its own, in one with the mode first or leastconn to
// the one that comes first when all before it have come, and else, in turn, to any.
func (m *moves) take(chosen balancer.Verdict) bool {
	group := m.router.Groups()[chosen.Group]
	candidates := m.back
	switch group.Mode {
	case balancer.Hash:
		candidates = []*balancer.Channel{chosen.Channel}
	case balancer.First, balancer.LeastConn:
		candidates = group.Channels
	}
	var to *balancer.Channel
	for _, channel := range candidates {
		if m.room(chosen.Group, channel) > 0 && (to == nil || group.Mode == balancer.LeastConn && m.less(chosen.Group, channel, to)) {
			to = channel
		}
	}
	if !slices.Contains(m.back, to) {
		return false
	}
	m.came[to]++
	return true
}

// less reports whether a channel has fewer sessions for its weight than another.
func (m *moves) less(group int, a, b *balancer.Channel) bool {
	weightA, _ := m.router.Capacity(group, a, m.now)
	weightB, _ := m.router.Capacity(group, b, m.now)
	return (a.Active()+m.came[a])*weightB < (b.Active()+m.came[b])*weightA
}

// room returns how many clients the channel of the group may still be given.
func (m *moves) room(group int, channel *balancer.Channel) int {
	weight, limit := m.router.Capacity(group, channel, m.now)
	switch {
	case weight == 0 || !slices.Contains(m.router.Groups()[group].Channels, channel) || !channel.Standing(m.now).State.Up():
		return 0
	case limit == 0:
		return math.MaxInt
	}
	return limit - channel.Active() - m.came[channel]
}
