package balancer

import (
	"fmt"
	"math"
)

// leastConn offers the channel with the lowest load, in turn among equals.
type leastConn struct{ turns }

func (p *leastConn) next(_ uint64, at place, ask question) (place, *Channel) {
	at, from, start := p.begin(at)
	s := p.weigh(ask)
	var least load
	var best *Channel
	var soonest, passed uint64
	for k := range s.classes {
		class := &s.classes[k]
		slot, n := class.slotFrom(from, k < start), len(class.members)
		first := int(uint32(slot) % uint32(n)) // a slot is about the rate at most
		member, fewest := p.fewest(class, first, n, &ask, math.MaxUint64, &passed)
		if first > 0 {
			if other, less := p.fewest(class, 0, first, &ask, fewest, &passed); other >= 0 {
				member, fewest = other+n, less
			}
		}
		load := load{fewest, class.weight}
		if member < 0 || best != nil && load.above(least) {
			continue
		}
		slot += uint64(member - first)
		if best == nil || least.above(load) || class.before(slot, soonest) {
			best, least, soonest = class.channels[member%n], load, class.timeOf(slot)
			at.number, at.turn = class.members[member%n]+1, cursorAt(soonest, k+1)
		}
	}
	if best == nil {
		return p.none(at, s, ask, passed)
	}
	return at, best
}

// fewest returns which of those members of a class has the fewest sessions, below a
// number, of those that the question admits, the first of several; -1 if there is
// none. It adds the words of those that are passed over, which are not looked at
// once there is a better one.
func (p *leastConn) fewest(class *class, from, to int, ask *question, below uint64, passed *uint64) (member int, sessions uint64) {
	member = -1
	for i, channel := range class.channels[from:to] {
		n := channel.slots.word.Load() & math.MaxUint32
		if ask.demand != nil {
			n += ask.demand.of(p.number(class.members[from+i]))
		}
		if n >= below || ask.tried.has(p.number(class.members[from+i])) {
			continue
		}
		if state := channel.state.Load(); ask.free(channel, state) || ask.rested(channel, state) {
			member, below = from+i, n
		} else {
			*passed |= state
		}
	}
	return member, below
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
