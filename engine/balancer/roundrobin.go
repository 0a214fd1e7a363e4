package balancer

import "sync/atomic"

// roundRobin offers the channels from the one whose turn it is. The turn moves
// with the reservation, not with the connection: clients who arrive together
// get different channels, and clients one after the other see the same order
// either way.
//
// The mark of a place is where the cursor was, or where the journey left it;
// then it is claimed.
type roundRobin struct {
	channels []*Channel
	cursor   atomic.Uint32 // whose turn it is
}

const claimed = 1 << 32

func (p *roundRobin) next(_ uint64, at place, ask question) (place, *Channel) {
	n := int32(len(p.channels))
	first := at.number == 0
	if first {
		cursor := p.cursor.Load()
		at = place{number: int32(cursor), left: n, mark: uint64(cursor)}
	}
	number, left, passed := at.number, at.left, at.passed
	for ; left > 0; left-- {
		if number == n {
			number = 0
		}
		channel := p.channels[number]
		number++
		if state := channel.state.Load(); !ask.free(channel, state) && !ask.rested(channel, state) {
			passed |= state
			continue
		}
		if first {
			left = n // those passed over may be usable by then
		}
		return place{number: number, left: left - 1, mark: at.mark, passed: passed}, channel
	}
	return place{number: number, mark: at.mark, passed: passed}, nil
}

func (p *roundRobin) reach(uint64) (from, to int) { return 0, len(p.channels) }

// take takes the turn with the first channel of a journey: if another client
// has taken it, the journey begins anew.
func (p *roundRobin) take(at place, channel *Channel) (place, bool) {
	next := uint32(at.number)
	if int(next) == len(p.channels) {
		next = 0
	}
	if at.mark&claimed == 0 {
		if !p.cursor.CompareAndSwap(uint32(at.mark), next) {
			return place{}, false
		}
		at.mark = claimed | uint64(next)
		return at, channel.slots.take()
	}
	if !channel.slots.take() {
		return at, false
	}
	p.cursor.CompareAndSwap(uint32(at.mark), next)
	at.mark = claimed | uint64(next)
	return at, true
}

// follow gives the turn to the first channel that the older picker would have
// offered and that this one has too.
func (p *roundRobin) follow(older picker) {
	before, ok := older.(*roundRobin)
	if !ok {
		return
	}
	at := make(map[*Channel]int, len(p.channels))
	for i, channel := range p.channels {
		at[channel] = i
	}
	start := int(before.cursor.Load())
	for i := range before.channels {
		if now, ok := at[before.channels[(start+i)%len(before.channels)]]; ok {
			p.cursor.Store(uint32(now))
			return
		}
	}
}
