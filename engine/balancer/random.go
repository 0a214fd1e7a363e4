package balancer

import (
	"fmt"
	"math"
	"math/bits"
	"sync/atomic"
)

// randomTwo draws two channels by weight, and offers the one with fewer sessions
// for its weight (Mitzenmacher: The Power of Two Choices in Randomized Load
// Balancing, 2001). What is drawn hangs on the first channel of the group and on how
// many draws there were before alone, so that a run can be played again.
//
// The mark of a place is the number of the draw; then it is claimed.
type randomTwo struct {
	weighed
	draws atomic.Uint64
}

func (p *randomTwo) next(_ uint64, at place, ask question) (place, *Channel) {
	if at.number == 0 {
		at.mark = p.draws.Load()
	}
	if ask.obstacles&everyone != 0 { // first those that are not drawn from
		ask.obstacles &^= everyone
		for i, channel := range p.channels {
			if !ask.tried.has(p.number(int32(i))) && !ask.admits(channel, channel.state.Load()) {
				return place{number: int32(i) + 1, mark: at.mark}, channel
			}
		}
	}
	one, two, passed := p.two(at.mark&^claimed, ask)
	if one < 0 {
		return place{mark: passed}, nil
	}
	if two >= 0 && p.load(int32(one), ask).above(p.load(int32(two), ask)) {
		one = two
	}
	return place{number: int32(one) + 1, mark: at.mark}, p.channels[one]
}

func (p *randomTwo) says(_ uint64, at place, ask question) (words string, over bool) {
	one, two, _ := p.two(at.mark&^claimed, ask)
	if two < 0 {
		return "the only one to draw", false
	}
	if one != int(at.number)-1 {
		one, two = two, one
	}
	return fmt.Sprintf("two at random, %s against %s", p.load(int32(one), ask), p.load(int32(two), ask)), false
}

// two returns the channels that come of the draw with that number, one of them or both -1 if
// there are no more, and the words of those that are not drawn from.
func (p *randomTwo) two(number uint64, ask question) (one, two int, passed uint64) {
	if len(p.channels) == 0 {
		return -1, -1, 0
	}
	seed := mix(p.channels[0].hash + number)
	if one, passed = p.draw(seed, -1, ask); one < 0 {
		return -1, -1, passed
	}
	two, _ = p.draw(mix(seed), one, ask)
	return one, two, passed
}

// draws is how often chance is tried before the channels are counted that can be
// drawn at all.
const draws = 4

// draw returns the index of a channel that the question admits, drawn by weight,
// but for one; -1 if there is none.
func (p *randomTwo) draw(seed uint64, but int, ask question) (index int, passed uint64) {
	if s := p.weigh(ask); len(s.classes) > 0 {
		for n := range uint64(draws) {
			i := s.at(mix(seed + n))
			channel := p.channels[i]
			if i != but && !ask.tried.has(p.number(int32(i))) && ask.admits(channel, channel.state.Load()) {
				return i, 0
			}
		}
	}
	var sum uint64
	for i, channel := range p.channels {
		if i == but || ask.tried.has(p.number(int32(i))) {
			continue
		}
		if state := channel.state.Load(); ask.admits(channel, state) {
			sum += ask.weight(channel, state)
		} else {
			passed |= state
		}
	}
	index = -1
	chance, _ := bits.Mul64(mix(seed+draws), sum)
	for i, channel := range p.channels {
		if i == but || ask.tried.has(p.number(int32(i))) {
			continue
		}
		if state := channel.state.Load(); ask.admits(channel, state) {
			index = i
			weight := ask.weight(channel, state)
			if chance < weight {
				break
			}
			chance -= weight
		}
	}
	return index, passed
}

// at returns the index of the channel that a hash falls on.
func (s *scale) at(hash uint64) int {
	chance, rest := bits.Mul64(hash, s.classes[len(s.classes)-1].upTo)
	low, high := 0, len(s.classes)-1
	for low < high {
		if middle := (low + high) / 2; chance < s.classes[middle].upTo {
			high = middle
		} else {
			low = middle + 1
		}
	}
	members := s.classes[low].members
	member, _ := bits.Mul64(mix(rest), uint64(len(members)))
	return int(members[member])
}

// take takes the draw with the first channel of a journey: if another client has
// taken it, the journey begins anew.
func (p *randomTwo) take(at place, channel *Channel, ask question) (place, bool) {
	if at.mark&claimed == 0 {
		if !p.draws.CompareAndSwap(at.mark, at.mark+1) {
			return place{}, false
		}
		at.mark |= claimed
	}
	return at, ask.take(channel, math.MaxUint64)
}

// follow goes on with the draws.
func (p *randomTwo) follow(older picker) {
	if before, ok := older.(*randomTwo); ok {
		p.draws.Store(before.draws.Load())
	}
}
