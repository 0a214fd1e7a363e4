package balancer

import (
	"net/netip"
	"time"
)

// Client is what a router knows of the one who asks.
type Client struct {
	// Addr is the address that the client has come from. It alone counts, so
	// that an IPv4 client is the same on an IPv6 socket.
	Addr netip.Addr
}

// Step is what a route has its client do next.
type Step uint8

// The steps.
const (
	Reject Step = iota // no channel is left: the client cannot be served now
	Dial               // a slot on a channel is held, which is to be connected to
)

// Route is one client's journey through the groups of a router. The zero
// Route has nowhere to go. A Route is used by one goroutine at a time and not
// copied after the first call of Next.
type Route struct {
	router  *Router
	channel *Channel // the channel whose slot is held, or nil
	client  uint64   // hash of its address
	place   place    // in the group
	group   int32    // being searched
	chance  uint32   // generation of the channel's state when its slot was taken
	failed  bool     // connecting to a channel failed
}

// Route starts the journey of a client. A nil Router has no channels.
func (r *Router) Route(client Client, now int64) Route {
	return Route{router: r, client: hashAddr(client.Addr)}
}

// Channel returns the channel whose slot is held, or nil.
func (r *Route) Channel() *Channel { return r.channel }

// Group returns the number of the group that the current channel is in.
func (r *Route) Group() int { return int(r.group) }

// Next reserves a slot on the next usable channel. The slot of the channel
// before must have been given back with Failed.
func (r *Route) Next(now int64) Step {
	if r.channel != nil {
		panic("balancer: Next without Failed")
	}
	for channel := r.candidate(true); channel != nil; channel = r.candidate(true) {
		var taken bool
		if r.place, taken = r.router.pickers[r.group].take(r.place, channel); taken {
			r.channel = channel
			r.chance = generationOf(channel.state.Load())
			return Dial
		}
	}
	return Reject
}

// candidate moves the journey on to the next channel, in this group or one
// behind it; nil if none is left. With usable it passes over those that could
// not be given a slot now.
func (r *Route) candidate(usable bool) *Channel {
	if r.router == nil {
		return nil
	}
	for ; int(r.group) < len(r.router.pickers); r.group++ {
		at, channel := r.router.pickers[r.group].next(r.client, r.place, usable)
		if channel != nil {
			r.place = at
			return channel
		}
		r.place = place{}
	}
	return nil
}

// Change is what an attempt to connect changed about its channel.
type Change uint8

// The changes. Of many failures in a row only the first is a change.
const (
	Unchanged Change = iota
	Failing          // the first failure since the channel last answered
	Disabled         // the channel was autodisabled
	Recovered        // the first answer after a failure
)

// Failed gives back the slot of the current channel after connecting to it
// failed with err, and counts the failure. Errors that have their cause on
// this machine (see Local) change nothing about a channel, nor do those of a
// dial that began before the channel was given a new chance.
func (r *Route) Failed(err error, now int64) Change {
	channel := r.channel
	r.channel = nil
	r.failed = true
	channel.Leave(now)
	channel.Counters.Failures.Add(1)
	channel.Dials.failures[FailureOf(err)].Add(1)
	if Local(err) {
		return Unchanged
	}
	return channel.observeFailure(r.router.options.AutoDisable, r.chance)
}

// Connected counts a session on the current channel, and how long it took to
// connect. The slot stays taken until Close; a plane that keeps the channel
// instead of the route gives it back with Channel.Leave.
func (r *Route) Connected(took time.Duration, now int64) Change {
	r.channel.Counters.Sessions.Add(1)
	r.channel.Dials.Durations.Observe(took)
	return r.channel.observeAnswer()
}

// Close gives back the slot that is held, if any. It may be called more than
// once.
func (r *Route) Close(now int64) {
	if r.channel != nil {
		r.channel.Leave(now)
		r.channel = nil
	}
}
