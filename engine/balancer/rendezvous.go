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
func (p *rendezvous) next(client uint64, at place, usable bool) (place, *Channel) {
	if at.number > 0 && at.left == 0 {
		return at, nil
	}
	best, score := p.after(client, at, usable && p.failover)
	at = place{number: best + 1, mark: score}
	if best < 0 {
		return at, nil
	}
	if p.failover {
		at.left = int32(len(p.channels)) - 1
	}
	channel := p.channels[best]
	if usable && !p.failover && !channel.Usable() {
		return at, nil
	}
	return at, channel
}

// after returns the channel that the client prefers to all others but those up
// to its place, and its score. With usable only such channels count, and -1 says
// that there is none.
func (p *rendezvous) after(client uint64, at place, usable bool) (best int32, bestScore uint64) {
	best = -1
	for i, channel := range p.channels {
		score := score(channel.hash, client)
		if at.number > 0 && !before(at.mark, at.number-1, score, int32(i)) {
			continue // passed already
		}
		if best >= 0 && !before(score, int32(i), bestScore, best) {
			continue
		}
		if !usable || channel.Usable() {
			best, bestScore = int32(i), score
		}
	}
	return best, bestScore
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
