package balancer

import (
	"fmt"
	"math"
)

// leastConn offers the channel with the lowest load, in turn among equals.
type leastConn struct{ turns }

// next looks for the lowest load, and then whose turn it is of those that have it.
func (p *leastConn) next(_ uint64, at place, ask question) (place, *Channel) {
	at, from, start := p.begin(at)
	s := p.weigh(ask)
	if len(s.classes) == 1 {
		return p.fewest(at, s, ask, s.classes[0].slotFrom(from, start > 0))
	}
	for {
		lowest, _, passed := p.lowest(s, &ask, 0, len(s.channels), overloaded)
		if lowest == overloaded {
			return p.none(at, s, ask, passed)
		}
		// There is one, unless other clients have taken slots on all of them meanwhile.
		if next, channel, _ := p.soonest(at, s, &ask, lowest); channel != nil {
			return next, channel
		}
	}
}

// fewest is next where all weigh the same: the first of the fewest sessions from that
// turn on.
func (p *leastConn) fewest(at place, s *scale, ask question, slot uint64) (place, *Channel) {
	class := &s.classes[0]
	first := class.memberOf(slot)
	lowest, member, passed := p.lowest(s, &ask, first, len(s.channels), overloaded)
	if first > 0 && lowest.sessions > 0 {
		less, other, more := p.lowest(s, &ask, 0, first, lowest)
		if passed |= more; less != lowest {
			lowest, member = less, other
		}
	}
	if lowest == overloaded {
		return p.none(at, s, ask, passed)
	}
	if slot += uint64(member - first); member < first {
		slot += uint64(len(class.members))
	}
	at.number, at.turn = class.members[member]+1, cursorAt(class.timeOf(slot), 1)
	return at, class.channels[member]
}

// overloaded is a load above all others.
var overloaded = load{sessions: 1}

// lowest returns the lowest load, below another, of those channels of the scale that
// the question admits, and the first that has it; that other load if there is none.
// It adds the words of those that were passed over. One is looked at when no better was
// found before.
func (p *leastConn) lowest(s *scale, ask *question, from, to int, than load) (lowest load, first int, passed uint64) {
	lowest = than
	for {
		i, sessions := p.below(s, from, to, lowest, ask.demand)
		if i == to {
			return lowest, first, passed
		}
		from = i + 1
		channel := s.channels[i]
		if ask.tried.has(p.number(s.members[i])) {
			continue
		}
		if state := channel.state.Load(); !ask.free(channel, state) && !ask.rested(channel, state) {
			passed |= state
			continue
		}
		if lowest, first = (load{sessions, s.weights[i]}), i; sessions == 0 {
			return lowest, first, passed // none is lower
		}
	}
}

// below returns the first of those channels of the scale with less load, and its
// sessions; the end of them if there is none. It is a loop of its own so that all that
// it needs is in registers.
func (m *members) below(s *scale, from, to int, load load, demand *demand) (index int, sessions uint64) {
	channels, weights := s.channels[:to], s.weights[:to]
	for i := from; i < len(channels); i++ {
		n := channels[i].slots.word.Load() & math.MaxUint32
		if demand != nil {
			n += demand.of(m.number(s.members[i]))
		}
		if n*load.weight < load.sessions*weights[i] {
			return i, n
		}
	}
	return to, 0
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
