package balancer

import "math"

// inOrder offers the channels in the order of the group, so that the first is full
// before another is used.
type inOrder struct{ members }

func (p *inOrder) next(_ uint64, _ place, ask question) (place, *Channel) {
	var passed uint64
	for i, channel := range p.channels {
		if ask.tried.has(p.number(int32(i))) {
			continue
		}
		state := channel.state.Load()
		if ask.free(channel, state) || ask.rested(channel, state) {
			return place{number: int32(i) + 1}, channel
		}
		passed |= state
	}
	return place{mark: passed}, nil
}

func (p *inOrder) says(uint64, place, question) (words string, over bool) {
	return "the first with room", false
}

func (p *inOrder) take(at place, channel *Channel, ask question) (place, bool) {
	return at, ask.take(channel, math.MaxUint64)
}

// follow has nothing to continue.
func (p *inOrder) follow(picker) {}
