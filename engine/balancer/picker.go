package balancer

import (
	"fmt"
	"math"
	"math/bits"
)

// picker is the order in which a group offers its channels to a client: one
// type for each mode. All routes of a router share it.
type picker interface {
	// next returns the place of the channel that comes next in the client's
	// order, and the channel; nil if there is none left, the mark is then the words
	// of those that were passed over. It passes over those that the question does
	// not admit, and reserves nothing.
	next(client uint64, at place, ask question) (place, *Channel)
	// reach returns which of the group's channels next may come by for the client.
	reach(client uint64, ask question) (from, to int)
	// take reserves a slot on the channel that next has returned. It reports
	// false if another client was faster; the journey then goes on with next.
	take(at place, channel *Channel, ask question) (place, bool)
	// says tells in words what the mode makes of the channel that next has returned
	// to a question that admits everyone, if the question admits it: why it comes
	// first, empty if there is nothing to add, or why it is passed over.
	says(client uint64, at place, ask question) (words string, over bool)
	// follow continues where the picker of an earlier configuration has come to.
	follow(older picker)
}

// members are the channels of a group.
type members struct {
	channels []*Channel
	offset   int // the number of the first within the router
}

// number returns that of a channel within the router.
func (m *members) number(index int32) int { return m.offset + int(index) }

func (m *members) reach(uint64, question) (from, to int) { return 0, len(m.channels) }

// share tells what a channel weighs of all that the question admits; empty if they
// weigh the same.
func (m *members) share(channel *Channel, ask question) string {
	own := ask.weight(channel, channel.state.Load())
	sum, same := uint64(0), true
	for _, channel := range m.channels {
		if state := channel.state.Load(); ask.admits(channel, state) {
			weight := ask.weight(channel, state)
			sum += weight
			same = same && weight == own
		}
	}
	if same {
		return ""
	}
	return fmt.Sprintf("weight %s of %s", weightWords(own), weightWords(sum))
}

// newPicker is the one place that knows which mode is which type.
func newPicker(group *Group, offset int, options Options) picker {
	members := members{group.Channels, offset}
	switch group.Mode {
	case Hash:
		return &rendezvous{weighed: weighed{members: members}, failover: options.HashFailover, load: uint64(group.HashLoad)}
	case LeastConn:
		return &leastConn{turns{weighed: weighed{members: members}}}
	case Random:
		return &randomTwo{weighed: weighed{members: members}}
	case First:
		return &inOrder{members}
	}
	return &roundRobin{turns{weighed: weighed{members: members}}}
}

// question is which channels a client may be given, and when.
type question struct {
	obstacles uint64   // a channel may have none of these words
	now       int64    // a channel that is held until then is not held any more
	tried     *numbers // of the router's channels: these are not asked for
	slow      int64    // over which time a channel comes to its share; 0 for at once
	demand    *demand  // of those who wait; nil if nobody does
}

// obstacles are the words of a channel that nobody is given.
const obstacles = off | unresolved | unhealthy | held | weightless

// everyone is no word of a channel. As an obstacle it stands for none at all: the
// question admits all channels, full ones too.
const everyone uint64 = 1 << 31

// admits reports whether a client may be given a slot on the channel, whose state
// this is. Both halves are inlined where many channels are passed over.
func (q question) admits(c *Channel, state uint64) bool {
	return q.free(c, state) || q.rested(c, state)
}

// free reports whether nothing at all keeps a client from the channel.
func (q question) free(c *Channel, state uint64) bool {
	return state&q.obstacles == 0 && hasFree(c.slots.word.Load())
}

// rested reports whether the channel is admitted though it is not free: it is not
// held any more, begins to serve and has room for its share, or everybody is admitted.
func (q question) rested(c *Channel, state uint64) bool {
	if q.obstacles&everyone != 0 {
		return true
	}
	switch state & q.obstacles {
	case warming:
		return q.room(c, state)
	case held, held | warming:
		return c.until.Load() <= q.now && q.room(c, state)
	}
	return false
}

// room reports whether the channel has a slot for its part of the limit.
func (q question) room(c *Channel, state uint64) bool {
	return c.slots.free() && uint64(c.slots.taken()) < q.most(c, state)
}

// take reserves a slot on the channel, which is left with no more than so many
// taken, nor than its part of the limit.
func (q question) take(c *Channel, most uint64) bool {
	if state := c.state.Load(); q.slow != 0 && state&warming != 0 {
		most = min(most, q.most(c, state))
	}
	return c.slots.takeBelow(most)
}

// verdict returns the first reason, by rank, why a client is not given the
// channel; Chosen if there is none.
func (q question) verdict(c *Channel) Reason {
	const details = removed | draining | autoDisabled
	state := c.state.Load()
	reason := Reason(c.stands(state&(q.obstacles|details), q.now))
	if reason == Chosen && q.obstacles&warming != 0 && !q.room(c, state) {
		return IsFull
	}
	return reason
}

// load is how many sessions a channel has, and clients that wait for it, for its
// weight. The zero load is above all others.
type load struct{ sessions, weight uint64 }

// load returns that of the channel with this index.
func (m *members) load(index int32, ask question) load {
	channel := m.channels[index]
	return load{m.sessions(channel, index, ask.demand), ask.weight(channel, channel.state.Load())}
}

// sessions returns how many the channel with this index has, and clients that wait for it.
func (m *members) sessions(channel *Channel, index int32, demand *demand) uint64 {
	n := channel.slots.word.Load() & math.MaxUint32
	if demand != nil {
		n += demand.of(m.number(index))
	}
	return n
}

// String returns the sessions over the weight.
func (l load) String() string { return fmt.Sprintf("%d/%s", l.sessions, weightWords(l.weight)) }

func (l load) above(m load) bool { return m.weight != 0 && l.sessions*m.weight > m.sessions*l.weight }

// numbers is a set of the numbers of a router's channels; nil is empty.
type numbers struct{ bits []uint64 }

func newNumbers(n int) *numbers { return &numbers{make([]uint64, (n+63)/64)} }

func (n *numbers) has(number int) bool { return n != nil && n.bits[number/64]>>(number%64)&1 != 0 }
func (n *numbers) add(number int)      { n.bits[number/64] |= 1 << (number % 64) }

// all yields the numbers.
func (n *numbers) all(yield func(int) bool) {
	if n == nil {
		return
	}
	for i, word := range n.bits {
		for ; word != 0; word &= word - 1 {
			if !yield(64*i + bits.TrailingZeros64(word)) {
				return
			}
		}
	}
}

// place is how far one client's journey has come in a group; the zero place is
// before the first channel. It goes by value, in registers: a pointer behind an
// interface would cost each route an allocation.
type place struct {
	number     int32  // of the channel that came last, from 1
	mark, turn uint64 // the picker's own
}
