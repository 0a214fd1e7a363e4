package balancer

// picker is the order in which a group offers its channels to a client: one
// type for each mode. All routes of a router share it.
type picker interface {
	// next returns the place of the channel that comes next in the client's
	// order, and the channel; nil if there is none left. It passes over those that
	// the question does not admit, and reserves nothing.
	next(client uint64, at place, ask question) (place, *Channel)
	// reach returns which of the group's channels next may come by for the client.
	reach(client uint64) (from, to int)
	// take reserves a slot on the channel that next has returned. It reports
	// false if another client was faster; the journey then goes on with next.
	take(at place, channel *Channel) (place, bool)
	// follow continues where the picker of an earlier configuration has come to.
	follow(older picker)
}

// newPicker is the one place that knows which mode is which type.
func newPicker(group *Group, options Options) picker {
	if group.Mode == Hash {
		return &rendezvous{channels: group.Channels, failover: options.HashFailover}
	}
	return &roundRobin{channels: group.Channels}
}

// question is which channels a client may be given, and when. The zero question
// admits all, full ones too.
type question struct {
	obstacles uint64 // a channel may have none of these words
	now       int64  // a channel that is held until then is not held any more
}

// obstacles are the words of a channel that nobody is given.
const obstacles = off | unresolved | unhealthy | held

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
// held any more, or everybody is admitted.
func (q question) rested(c *Channel, state uint64) bool {
	return state&q.obstacles == held && c.until.Load() <= q.now && c.slots.free() || q.obstacles == 0
}

// verdict returns the first reason, by rank, why a client is not given the
// channel; Chosen if there is none.
func (q question) verdict(c *Channel) Reason {
	const details = removed | draining | autoDisabled
	return Reason(c.stands(c.state.Load()&(q.obstacles|details), q.now))
}

// place is how far one client's journey has come in a group; the zero place is
// before the first channel. It goes by value, in registers: a pointer behind an
// interface would cost each route an allocation.
type place struct {
	number int32  // of the channel that came last, from 1
	left   int32  // channels that are still to come at most
	mark   uint64 // the picker's own
	passed uint64 // the words of all channels that were passed over, and more
}
