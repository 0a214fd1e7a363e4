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
	weighed
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
		own, _ := p.best(client, others, bound{})
		if own < 0 {
			return place{}, nil
		}
		channel := p.channels[own]
		state := channel.state.Load()
		if !ask.admits(channel, state) || ask.tried.has(p.number(int32(own))) {
			return place{mark: state}, nil
		}
		return p.within(own, client, ask)
	}
	if p.load == 0 {
		return place{}, nil
	}
	if ask.obstacles&everyone != 0 {
		ask.obstacles &^= everyone
		last, all := p.channels[at.number-1], ask
		all.tried = nil
		if most := p.bound(p.carried(&all, math.MaxUint64)); !ask.admits(last, last.state.Load()) || most.free(last, ask) {
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
	best, passed := p.best(client, ask, bound{})
	if best < 0 {
		return place{mark: passed}, nil
	}
	return p.within(best, client, ask)
}

// within returns the channel that the client prefers to all others if it is below its
// bound, and else the one that it prefers of those that are.
func (p *rendezvous) within(best int, client uint64, ask question) (place, *Channel) {
	channel := p.channels[best]
	at := place{number: int32(best) + 1}
	if p.load == 0 || ask.obstacles&everyone != 0 {
		return at, channel
	}
	taken := uint64(channel.slots.taken())
	enough := p.enough(channel, taken, ask)
	sessions, weights := p.carried(&ask, enough)
	if sessions >= enough {
		at.turn = taken + 1
		return at, channel
	}
	most := p.bound(sessions, weights)
	if !most.free(channel, ask) {
		if other, _ := p.best(client, ask, most); other >= 0 {
			at.number, channel = int32(other)+1, p.channels[other]
		} else { // all got sessions meanwhile
			most = bound{}
		}
	}
	at.turn = most.of(channel, ask)
	return at, channel
}

// bound is how many sessions a channel may have for its weight; the zero bound
// is none.
type bound struct{ load, weight uint64 }

// bound returns that of channels that carry so many sessions, with one more, and weigh
// so much.
func (p *rendezvous) bound(sessions, weights uint64) bound {
	if weights == 0 {
		return bound{}
	}
	return bound{p.load * (sessions + 1), 100 * weights}
}

// carried adds up what the channels carry that the question admits, and weigh. It ends
// once the sessions are enough; the weights are then those of all.
func (p *rendezvous) carried(ask *question, enough uint64) (sessions, weights uint64) {
	s := p.weigh(*ask)
	weights = s.sum
	for i := 0; i < len(s.channels); i++ {
		if ask.tried == nil {
			if i, sessions = s.plain(i, sessions, enough, ask.obstacles); i == len(s.channels) || sessions >= enough {
				break
			}
		}
		channel := s.channels[i]
		if ask.tried.has(p.number(s.members[i])) || !ask.admits(channel, channel.state.Load()) {
			weights -= s.weights[i]
		} else if sessions += uint64(channel.slots.taken()); sessions >= enough {
			break
		}
	}
	return sessions, weights
}

// plain adds what the channels from one on carry, up to the first that is not free or
// until the sessions are enough, and returns where that is. It is a loop of its own so
// that all that it needs is in registers.
func (s *scale) plain(from int, sessions, enough, obstacles uint64) (int, uint64) {
	for i := from; i < len(s.channels); i++ {
		state, word := s.channels[i].state.Load(), s.channels[i].slots.word.Load()
		if state&obstacles != 0 || !hasFree(word) {
			return i, sessions
		}
		if sessions += word & math.MaxUint32; sessions >= enough {
			return i, sessions
		}
	}
	return len(s.channels), sessions
}

// enough returns how many sessions of all, be all channels admitted, have a channel
// below its bound with those that it has taken.
func (p *rendezvous) enough(channel *Channel, taken uint64, ask question) uint64 {
	weight := p.load * ask.weight(channel, channel.state.Load())
	high, low := bits.Mul64(taken, 100*p.weigh(ask).sum)
	if high >= weight {
		return math.MaxUint64
	}
	enough, _ := bits.Div64(high, low, weight)
	return enough
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
//
// A channel is looked at when its hash says that it would be preferred to what was
// found before. Most would not, and that is found out without a branch that depends on
// which weights there are: how far the score is from the highest is compared with what
// the weight allows.
func (p *rendezvous) best(client uint64, ask question, most bound) (best int, passed uint64) {
	s := p.weigh(ask)
	if len(s.classes) == 1 {
		i := highest(s.hashes[:len(s.channels)], client)
		channel := s.channels[i]
		if ask.admits(channel, channel.state.Load()) && !ask.tried.has(p.number(s.members[i])) && most.free(channel, ask) {
			return int(s.members[i]), 0
		}
	}
	best = -1
	var favourite preference
	near, rest := uint64(0), uint64(math.MaxUint64) // all are near enough
	weights := s.weights[:len(s.hashes)]
	for i, hash := range s.hashes {
		stirred := stir(hash ^ client)
		if far(stirred) > near*weights[i]+rest {
			continue
		}
		score, weight, member := shift(stirred), weights[i], s.members[i]
		if best >= 0 && !favourite.below(score, weight) || ask.tried.has(p.number(member)) {
			continue
		}
		channel := p.channels[member]
		state := channel.state.Load()
		if !ask.free(channel, state) && !ask.rested(channel, state) {
			passed |= state
			continue
		}
		if !most.free(channel, ask) {
			continue
		}
		best, favourite = int(member), preference{score: score, weight: weight}
		if len(s.classes) == 1 || weight == 0 {
			near, rest = 0, far(score)
		} else {
			near, rest = favourite.near(), 0
		}
	}
	return best, passed
}

// highest returns the index of the hash of which the score is the highest. It looks
// at several at once, and at what can be told before the last step of mix.
func highest(hashes []uint64, client uint64) (best int) {
	const lanes = 4
	var high, floor uint64
	i := 0
	for ; i+lanes <= len(hashes); i += lanes {
		four := hashes[i : i+lanes : i+lanes]
		a, b, c, d := stir(four[0]^client), stir(four[1]^client), stir(four[2]^client), stir(four[3]^client)
		if a < floor && b < floor && c < floor && d < floor {
			continue
		}
		for j, stirred := range [lanes]uint64{a, b, c, d} {
			if score := shift(stirred); score > high {
				best, high, floor = i+j, score, score&^(math.MaxUint64>>farBits)
			}
		}
	}
	for ; i < len(hashes); i++ {
		if score := score(hashes[i], client); score > high {
			best, high = i, score
		}
	}
	return best
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
	if p.depth == 0 {
		p.depth = depth(p.score)
	}
	this, that := depth(score)*p.weight, p.depth*weight
	return this < that || this == that && score > p.score
}

// near returns how far from the highest, for its weight, the score of a channel is at
// most that is preferred. As a depth is at least 369/256 of the distance, no such
// channel is further away than that times its weight, which is below 1<<63.
func (p *preference) near() uint64 {
	p.depth = depth(p.score)
	return p.depth/(369*2)/p.weight + 1
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
	most := p.bound(p.carried(&ask, math.MaxUint64))
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
