package balancer

import (
	"fmt"
	"math"
)

// leastConn offers the channel with the lowest load, in turn among equals.
type leastConn struct{ turns }

// next looks for the lowest load, and then whose turn it is of those that have it.
func (p *leastConn) next(_ uint64, at place, ask question) (place, *Channel) {
	at, _, _ = p.begin(at)
	s := p.weigh(ask)
	for {
		lowest, from, to, passed := p.lowest(s, &ask)
		if lowest.weight == 0 {
			return p.none(at, s, ask, passed)
		}
		// There is one, unless other clients have taken slots on all of them meanwhile.
		if next, channel, _ := p.soonest(at, s, &ask, lowest, from, to); channel != nil {
			return next, channel
		}
	}
}

// lowest returns the lowest load of a channel that the question admits, and between
// which of the scale's channels those are that have it; the zero load if there is no
// such channel, with the words of all. One is looked at closer when no better was
// found before.
func (p *leastConn) lowest(s *scale, ask *question) (lowest load, from, to int, passed uint64) {
	lowest.sessions = 1 // for no weight: above all others
	weights, members := s.weights[:len(s.channels)], s.members[:len(s.channels)]
	for i, channel := range s.channels {
		n, weight := channel.slots.word.Load()&math.MaxUint32, weights[i]
		if ask.demand != nil {
			n += ask.demand.of(p.number(members[i]))
		}
		this, that := n*lowest.weight, lowest.sessions*weight
		if this > that || ask.tried.has(p.number(members[i])) {
			continue
		}
		if this == that && lowest.weight != 0 {
			to = i + 1
			continue
		}
		state := channel.state.Load()
		if !ask.free(channel, state) && !ask.rested(channel, state) {
			passed |= state
			continue
		}
		lowest, from, to = load{n, weight}, i, i+1
		if n == 0 {
			return lowest, from, len(s.channels), passed
		}
	}
	return lowest, from, to, passed
}

func (p *leastConn) says(client uint64, at place, ask question) (words string, over bool) {
	own := p.load(at.number-1, ask)
	ask.tried = newNumbers(p.offset + len(p.channels))
	ask.tried.add(p.number(at.number - 1))
	words = fmt.Sprintf("least connections, %s", own)
	next, channel := p.next(client, place{}, ask)
	if channel == nil {
		return words, false
	}
	other := p.load(next.number-1, ask)
	if !own.above(other) && !other.above(own) {
		return fmt.Sprintf("%s against %s, in turn", words, other), false
	}
	return fmt.Sprintf("%s against %s", words, other), false
}
