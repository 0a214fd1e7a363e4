package balancer

import (
	"math"
	"slices"
	"sync/atomic"
)

// roundRobin offers the channels from the one whose turn it is.
type roundRobin struct{ turns }

func (p *roundRobin) next(_ uint64, at place, ask question) (place, *Channel) {
	return p.first(at, ask)
}

func (p *roundRobin) says(_ uint64, at place, ask question) (words string, over bool) {
	if words = p.share(p.channels[at.number-1], ask); words != "" {
		words = "its turn, " + words
	}
	return words, false
}

// turns are those of a group's channels. A cycle is a stretch of time from 0 to 1,
// and n turns that are to lie evenly in it are at (k+1/2)/n. So lie the turns of all
// channels of one weight, who take them in the order of the group; of several at
// one time that of the weight whose first channel comes first in the group is the
// first. So with equal weights they come in the order of the group, and otherwise as
// evenly as can be: 3:1 is AABA. Whom a turn belongs to hangs on the weights alone:
// a channel that is passed over leaves the turns of the others where they are.
//
// The turn moves with the reservation, not with the connection: clients who
// arrive together get different channels, and clients one after the other see the
// same order either way.
//
// The mark of a place is where the cursor was, or where the journey left it; then
// it is claimed. The turn is where the cursor goes with the channel.
type turns struct {
	weighed
	cursor atomic.Uint64 // the time, and the class that comes first at that time
}

// A cursor is a time, in parts of 1/cycle, above the index of a class.
const (
	timeBits  = 32
	cycle     = 1 << timeBits
	classBits = 31
	claimed   = 1 << 63
)

func cursorAt(time uint64, class int) uint64 { return time%cycle<<classBits | uint64(class) }

// begin returns the place of a journey that begins now, if it is not under way, and
// the time and the class to look from.
func (p *turns) begin(at place) (_ place, from uint64, start int) {
	if at.number == 0 {
		at.mark = p.cursor.Load()
	}
	return at, at.mark &^ claimed >> classBits, int(at.mark & (1<<classBits - 1))
}

// first returns the place of the channel whose turn comes first of those that the
// question admits.
func (p *turns) first(at place, ask question) (place, *Channel) {
	at, from, start := p.begin(at)
	s := p.weigh(ask)

	// Whose turn it is, whoever that may be.
	best, bestSlot, bestTime := -1, uint64(0), uint64(0)
	for k := range s.classes {
		class := &s.classes[k]
		slot := class.slotFrom(from, k < start)
		if best < 0 || class.before(slot, bestTime) {
			best, bestSlot, bestTime = k, slot, class.timeOf(slot)
			if bestTime == from {
				break // nobody's is sooner
			}
		}
	}
	if best >= 0 {
		i := s.classes[best].memberAt(bestSlot)
		channel := p.channels[i]
		state := channel.state.Load()
		if ask.admits(channel, state) && !ask.tried.has(p.number(i)) {
			return place{number: i + 1, mark: at.mark, turn: cursorAt(bestTime, best+1)}, channel
		}
	}

	next, channel, passed := p.soonest(at, s, &ask, load{})
	if channel == nil {
		return p.none(at, s, ask, passed)
	}
	return next, channel
}

// soonest returns the place of the channel whose turn comes first of those that the
// question admits, that have no more than so much load, and that are of the classes
// nil if there is none, with the words of those
// that were passed over.
func (p *turns) soonest(at place, s *scale, ask *question, most load) (_ place, _ *Channel, passed uint64) {
	_, from, start := p.begin(at)
	var best *Channel
	var soonest uint64
	for k := range s.classes {
		class := &s.classes[k]
		slot := class.slotFrom(from, k < start)
		if best != nil && !class.before(slot, soonest) {
			if soonest == from {
				break // nobody's is sooner
			}
			continue
		}
		member, sessions := 0, most.sessions*class.weight // times the other weight
		if len(class.members) > 1 {
			if sessions != 0 && sessions%most.weight != 0 {
				continue // none has just that load
			}
			member = class.memberOf(slot)
		}
		for range class.members {
			if best != nil && !class.before(slot, soonest) {
				break
			}
			channel := class.channels[member]
			if (most.weight == 0 || p.sessions(channel, class.members[member], ask.demand)*most.weight <= sessions) && !ask.tried.has(p.number(class.members[member])) {
				state := channel.state.Load()
				if ask.free(channel, state) || ask.rested(channel, state) {
					best, soonest = channel, class.timeOf(slot)
					at.number, at.turn = class.members[member]+1, cursorAt(soonest, k+1)
					break
				}
				passed |= state
			}
			slot++
			if member++; member == len(class.members) {
				member = 0
			}
		}
	}
	return at, best, passed
}

// none returns what is left of a journey when no channel with a weight is, where so
// much was passed over: with everybody asked for one without.
func (p *turns) none(at place, s *scale, ask question, passed uint64) (place, *Channel) {
	if number, channel := p.unweighted(s, ask); channel != nil {
		return place{number: number, mark: at.mark, turn: at.mark &^ claimed}, channel
	}
	return place{mark: passed}, nil
}

// slotFrom returns the number of the class's first turn at that time, or after it.
func (c *class) slotFrom(time uint64, after bool) uint64 {
	if after {
		time++
	}
	return (time*c.rate + (cycle/2 - 1)) / (cycle / 2) / 2
}

// timeOf returns when a turn is, and before whether it is before a time.
func (c *class) timeOf(slot uint64) uint64            { return (2*slot + 1) * (cycle / 2) / c.rate }
func (c *class) before(slot uint64, time uint64) bool { return (2*slot+1)*(cycle/2) < time*c.rate }

// slotOf returns the number of a member's first turn from that of the class on.
func (c *class) slotOf(member int, slot uint64) uint64 {
	n := uint64(len(c.members))
	return slot + (uint64(member)+n-slot%n)%n
}

// memberOf returns which member has a turn. A number of turns is about the rate at most.
func (c *class) memberOf(slot uint64) int { return int(uint32(slot) % uint32(len(c.members))) }

func (c *class) memberAt(slot uint64) int32 { return c.members[c.memberOf(slot)] }

// take takes the turn with the first channel of a journey: if another client
// has taken it, the journey begins anew.
func (p *turns) take(at place, channel *Channel, ask question) (place, bool) {
	if at.mark&claimed == 0 {
		if !p.cursor.CompareAndSwap(at.mark, at.turn) {
			return place{}, false
		}
		at.mark = claimed | at.turn
		return at, ask.take(channel, math.MaxUint64)
	}
	if !ask.take(channel, math.MaxUint64) {
		return at, false
	}
	p.cursor.CompareAndSwap(at.mark&^claimed, at.turn)
	at.mark = claimed | at.turn
	return at, true
}

func (p *turns) turn() *turns { return p }

// follow gives the turn to the first channel that the older picker would have
// offered and that this one has too.
func (p *turns) follow(older picker) {
	taking, ok := older.(interface{ turn() *turns })
	if !ok {
		return
	}
	before := taking.turn()
	gone := newNumbers(before.offset + len(before.channels))
	index := make(map[*Channel]int32, len(p.channels))
	for i, channel := range p.channels {
		index[channel] = int32(i)
	}
	for i, channel := range before.channels {
		if _, ok := index[channel]; !ok {
			gone.add(before.number(int32(i)))
		}
	}
	at, channel := before.first(place{}, question{obstacles: everyone, tried: gone})
	if channel == nil {
		return
	}
	s := p.weigh(question{})
	for k := range s.classes {
		class := &s.classes[k]
		slot := class.slotFrom(at.turn>>classBits, false)
		if member := slices.Index(class.members, index[channel]); member >= 0 {
			p.cursor.Store(cursorAt(class.timeOf(class.slotOf(member, slot)), k))
		}
	}
}
