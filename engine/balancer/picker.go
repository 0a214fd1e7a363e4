package balancer

// picker is the order in which a group offers its channels to a client: one
// type for each mode. All routes of a router share it.
type picker interface {
	// next returns the place of the channel that comes next in the client's
	// order, and the channel; nil if there is none left. With usable it passes
	// over the channels that could not be given a slot now. It reserves nothing.
	next(client uint64, at place, usable bool) (place, *Channel)
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

// place is how far one client's journey has come in a group; the zero place is
// before the first channel. It goes by value, in registers: a pointer behind an
// interface would cost each route an allocation.
type place struct {
	number int32  // of the channel that came last, from 1
	left   int32  // channels that are still to come at most
	mark   uint64 // the picker's own
}
