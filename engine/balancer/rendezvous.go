package balancer

// rendezvous offers a client's own channel, and with failover the others behind
// it by falling score. The mark of a place is the score.
type rendezvous struct {
	channels []*Channel
	failover bool
}

// next passes over the group once for each channel that it returns, not for
// those that it leaves out: with no usable channel left a journey is over at
// once.
func (p *rendezvous) next(client uint64, at place, ask question) (place, *Channel) {
	if at.number > 0 && at.left == 0 {
		return at, nil
	}
	others := ask
	if !p.failover {
		others = question{} // the client's own alone counts
	}
	best, score, passed := p.after(client, at, others)
	at = place{number: best + 1, mark: score, passed: at.passed | passed}
	if best < 0 {
		return at, nil
	}
	channel := p.channels[best]
	if p.failover {
		at.left = int32(len(p.channels)) - 1
	} else if state := channel.state.Load(); !ask.admits(channel, state) {
		at.passed = state
		return at, nil
	}
	return at, channel
}

// after returns the channel that the client prefers to all others but those up
// to its place, its score, and the words of those that were passed over, since
// the question does not admit them; -1 says that there is none.
func (p *rendezvous) after(client uint64, at place, ask question) (best int32, bestScore, passed uint64) {
	best = -1
	for i, channel := range p.channels {
		score := score(channel.hash, client)
		if at.number > 0 && !before(at.mark, at.number-1, score, int32(i)) {
			continue // passed already
		}
		if best >= 0 && !before(score, int32(i), bestScore, best) {
			continue
		}
		state := channel.state.Load()
		if !ask.free(channel, state) && !ask.rested(channel, state) {
			passed |= state
			continue
		}
		best, bestScore = int32(i), score
	}
	return best, bestScore, passed
}

// reach is the client's own channel, or all.
func (p *rendezvous) reach(client uint64) (from, to int) {
	if p.failover || len(p.channels) == 0 {
		return 0, len(p.channels)
	}
	own, _, _ := p.after(client, place{}, question{})
	return int(own), int(own) + 1
}

// before orders channels by falling score, then by index.
func before(score uint64, index int32, otherScore uint64, otherIndex int32) bool {
	return score > otherScore || score == otherScore && index < otherIndex
}

func (p *rendezvous) take(at place, channel *Channel) (place, bool) {
	return at, channel.slots.take()
}

// follow has nothing to continue: the keys of the channels alone count.
func (p *rendezvous) follow(picker) {}
