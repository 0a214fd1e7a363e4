package balancer

import "fmt"

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
	if first > 0 {
		less, other, more := p.lowest(s, &ask, 0, first, lowest)
		if passed |= more; less != lowest {
			lowest, member = less, other
		}
	}
	if lowest == overloaded {
		return p.none(at, s, ask, passed)
	}
	at.number, at.turn = class.members[member]+1, cursorAt(class.timeOf(class.slotOf(member, slot)), 1)
	return at, class.channels[member]
}

// overloaded is a load above all others.
var overloaded = load{sessions: 1}

// lowest returns the lowest load, below another, of those channels of the scale that
// the question admits, and the first that has it; that other load if there is none.
// It adds the words of those that were passed over. One is looked at when no better was
// found before.
func (p *leastConn) lowest(s *scale, ask *question, from, to int, than load) (lowest load, first int, passed uint64) {
	demand, channels := ask.demand, s.channels[from:to]
	weights, members := s.weights[from:to], s.members[from:to]
	lowest = than
	for i, channel := range channels {
		n := p.sessions(channel, members[i], demand)
		if n*lowest.weight >= lowest.sessions*weights[i] || ask.tried.has(p.number(members[i])) {
			continue
		}
		state := channel.state.Load()
		if !ask.free(channel, state) && !ask.rested(channel, state) {
			passed |= state
			continue
		}
		lowest, first = load{n, weights[i]}, from+i
		if n == 0 {
			break // none is lower
		}
	}
	return lowest, first, passed
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
