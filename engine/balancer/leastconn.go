package balancer

import "fmt"

// leastConn offers the channel with the fewest sessions for its weight, in turn
// among equals.
type leastConn struct{ turns }

func (p *leastConn) next(_ uint64, at place, ask question) (place, *Channel) {
	number, least, passed := p.least(ask)
	if number == 0 {
		number, channel := p.unweighted(p.weigh(ask), ask)
		if channel == nil {
			return place{mark: passed}, nil
		}
		return place{number: number, mark: at.mark}, channel
	}
	found, channel := p.first(at, ask, least)
	if channel == nil { // it got another session meanwhile
		return p.first(at, ask, load{})
	}
	return found, channel
}

func (p *leastConn) says(_ uint64, at place, ask question) (words string, over bool) {
	channel := p.channels[at.number-1]
	own := loadOf(channel, channel.state.Load(), ask)
	ask.tried = newNumbers(p.offset + len(p.channels))
	ask.tried.add(p.number(at.number - 1))
	number, other, _ := p.least(ask)
	words = fmt.Sprintf("least connections, %s", own)
	switch {
	case number == 0:
		return words, false
	case !own.above(other) && !other.above(own):
		return fmt.Sprintf("%s against %s, in turn", words, other), false
	}
	return fmt.Sprintf("%s against %s", words, other), false
}

// least returns the number of a channel with the least load of those that the
// question admits, that load, and the words of those that were passed over.
func (p *leastConn) least(ask question) (number int32, least load, passed uint64) {
	for i, channel := range p.channels {
		state := channel.state.Load()
		if ask.tried.has(p.number(int32(i))) {
			continue
		}
		if !ask.free(channel, state) && !ask.rested(channel, state) {
			passed |= state
			continue
		}
		load := loadOf(channel, state, ask)
		if load.weight > 0 && (number == 0 || least.above(load)) {
			number, least = int32(i)+1, load
		}
	}
	return number, least, passed
}
