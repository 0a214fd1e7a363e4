package balancer

import (
	"fmt"
	"math"
	"math/bits"
)

// rendezvous offers a client's own channel, and with failover the others behind
// it as the client prefers them. A weight that changes moves clients to the channel,
// or away from it, and none between others.
//
// With a bound on the load (Mirrokni, Thorup, Zadimoghaddam: Consistent Hashing with
// Bounded Loads, 2016) the client of a channel that carries more than its share
// allows goes to the next that it prefers, with failover or without. The mean is
// that of the channels that the client could be given; so one of these is always
// below its bound. The turn of a place is the bound, 0 if there is none.
type rendezvous struct {
	members
	failover bool
	load     uint64 // in percent of the mean; 0 for no bound
}

// next passes over the group once or twice for each channel that it returns, not
// for those that it leaves out: with no usable channel left a journey is over at
// once.
func (p *rendezvous) next(client uint64, at place, ask question) (place, *Channel) {
	if p.failover {
		return p.preferred(client, ask)
	}
	if at.number == 0 { // the client's own alone counts
		others := ask
		others.obstacles, others.tried = ask.obstacles|everyone, nil
		best, _ := p.best(client, others, bound{})
		if best < 0 {
			return place{}, nil
		}
		channel := p.channels[best]
		state := channel.state.Load()
		if !ask.admits(channel, state) || ask.tried.has(p.number(int32(best))) {
			return place{mark: state}, nil
		}
		if p.load == 0 || ask.obstacles&everyone != 0 {
			return place{number: int32(best) + 1}, channel
		}
		return p.preferred(client, ask)
	}
	if p.load == 0 {
		return place{}, nil
	}
	if ask.obstacles&everyone != 0 {
		ask.obstacles &^= everyone
		last := p.channels[at.number-1]
		if most := p.bound(ask, nil); !ask.admits(last, last.state.Load()) || most.free(last, ask) {
			return place{}, nil
		}
		best, _ := p.best(client, ask, bound{})
		if best < 0 {
			return place{}, nil
		}
		return place{number: int32(best) + 1}, p.channels[best]
	}
	if ask.tried.has(p.number(at.number - 1)) {
		return place{}, nil
	}
	return p.preferred(client, ask) // a slot was taken, not refused
}

// preferred returns the channel that the client prefers to all others that the
// question admits and that are below their bound.
func (p *rendezvous) preferred(client uint64, ask question) (place, *Channel) {
	var most bound
	if p.load > 0 && ask.obstacles&everyone == 0 {
		most = p.bound(ask, ask.tried)
	}
	best, passed := p.best(client, ask, most)
	if best < 0 && most.load > 0 { // it got sessions meanwhile
		most = bound{}
		best, passed = p.best(client, ask, most)
	}
	if best < 0 {
		return place{mark: passed}, nil
	}
	channel := p.channels[best]
	return place{number: int32(best) + 1, turn: most.of(channel, ask)}, channel
}

// bound is how many sessions a channel may have for its weight; the zero bound
// is none.
type bound struct{ load, weight uint64 }

// bound adds up what the channels carry that the question admits, with one more
// session, and weigh.
func (p *rendezvous) bound(ask question, tried *numbers) bound {
	sessions, weights := uint64(1), uint64(0)
	for i, channel := range p.channels {
		if tried.has(p.number(int32(i))) {
			continue
		}
		state := channel.state.Load()
		if ask.free(channel, state) || ask.rested(channel, state) {
			sessions += uint64(channel.slots.taken())
			weights += ask.weight(channel, state)
		}
	}
	if weights == 0 {
		return bound{}
	}
	return bound{p.load * sessions, 100 * weights}
}

// of returns how many sessions the channel may have; 0 for no bound.
func (b bound) of(c *Channel, ask question) uint64 {
	if b.load == 0 {
		return 0
	}
	high, low := bits.Mul64(b.load, ask.weight(c, c.state.Load()))
	low, carry := bits.Add64(low, b.weight-1, 0)
	most, _ := bits.Div64(min(high+carry, b.weight-1), low, b.weight)
	return max(most, 1)
}

func (b bound) free(c *Channel, ask question) bool {
	return b.load == 0 || uint64(c.slots.taken()) < b.of(c, ask)
}

// best returns the channel that the client prefers to all others that the
// question admits and that are below the bound, and the words of those that were
// passed over; -1 says that there is none.
func (p *rendezvous) best(client uint64, ask question, most bound) (best int, passed uint64) {
	best = -1
	var favourite preference
	for i, channel := range p.channels {
		score := score(channel.hash, client)
		state := channel.state.Load()
		weight := ask.weight(channel, state)
		if best >= 0 && !favourite.below(score, weight) {
			continue
		}
		if ask.tried.has(p.number(int32(i))) {
			continue
		}
		if !ask.free(channel, state) && !ask.rested(channel, state) {
			passed |= state
			continue
		}
		if most.load > 0 && !most.free(channel, ask) {
			continue
		}
		best, favourite = i, preference{score: score, weight: weight}
	}
	return best, passed
}

// preference is how much a client prefers a channel.
type preference struct {
	score, weight uint64
	depth         uint64 // of the score; 0 if it was not asked for yet
}

// below reports whether a channel with this score and weight is preferred: with the
// lower depth for its weight, then with the higher score. With equal weights that is
// the one with the higher score.
func (p *preference) below(score, weight uint64) bool {
	if weight == p.weight {
		return score > p.score
	}
	return p.belowOther(score, weight)
}

func (p *preference) belowOther(score, weight uint64) bool {
	if p.depth == 0 {
		p.depth = depth(p.score)
	}
	if least(score)*p.weight > p.depth*weight {
		return false
	}
	this, that := depth(score)*p.weight, p.depth*weight
	return this < that || this == that && score > p.score
}

// reach is the client's own channel, or all.
func (p *rendezvous) reach(client uint64, ask question) (from, to int) {
	if p.failover || len(p.channels) == 0 {
		return 0, len(p.channels)
	}
	ask.obstacles, ask.tried = everyone, nil
	own, _ := p.best(client, ask, bound{})
	return own, own + 1
}

// says tells what a channel weighs, and of one that is at its bound.
func (p *rendezvous) says(client uint64, at place, ask question) (words string, over bool) {
	channel := p.channels[at.number-1]
	if p.load == 0 {
		if words = p.share(channel, ask); words != "" {
			words = "preferred, " + words
		}
		return words, false
	}
	most := p.bound(ask, nil)
	if words = fmt.Sprintf("%d of at most %d sessions", channel.Active(), most.of(channel, ask)); most.free(channel, ask) {
		return "bounded load, " + words, false
	}
	return "at its bound of the load, " + words, true
}

func (p *rendezvous) take(at place, channel *Channel, ask question) (place, bool) {
	most := uint64(math.MaxUint64)
	if at.turn > 0 {
		most = at.turn
	}
	return at, ask.take(channel, most)
}

// follow has nothing to continue: the keys of the channels alone count.
func (p *rendezvous) follow(picker) {}
