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

// Route is one client's journey through the groups of a router: first by all
// channels that are not held off, and once no group has another, by those that
// were passed over because they were, the soonest to be free first. It comes by no
// channel twice. The zero Route has nowhere to go. A Route is used by one
// goroutine at a time and not copied after the first call of Next.
type Route struct {
	router  *Router
	channel *Channel // the channel whose slot is held, or nil
	client  uint64   // hash of its address
	place   place    // in the group
	group   int32    // being searched
	chance  uint32   // generation of the channel's state when its slot was taken
	failed  bool     // connecting to a channel failed
	held    bool     // a channel was passed over that is held off
	over    bool     // no group has another channel that is not
	tried   numbers  // channels that could not be connected to
}

// numbers is a set of the numbers of a router's channels.
type numbers []uint64

func (n numbers) has(number int) bool { return n != nil && n[number/64]>>(number%64)&1 != 0 }

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
	for channel := r.candidate(now, false); channel != nil; channel = r.candidate(now, false) {
		var taken bool
		if r.place, taken = r.router.pickers[r.group].take(r.place, channel); taken {
			return r.dial(channel)
		}
	}
	for channel := r.leftover(now); channel != nil; channel = r.leftover(now) {
		if channel.slots.take() {
			return r.dial(channel)
		}
	}
	return Reject
}

func (r *Route) dial(channel *Channel) Step {
	r.channel = channel
	r.chance = generationOf(channel.state.Load())
	return Dial
}

// candidate moves the journey on to the next channel, in this group or one
// behind it; nil if none is left. It passes over those that could not be given a
// slot now, or are held off, unless all are asked for.
func (r *Route) candidate(now int64, all bool) *Channel {
	if r.router == nil || r.over {
		return nil
	}
	for ; int(r.group) < len(r.router.pickers); r.group++ {
		var ask question
		if !all {
			ask = r.router.question(int(r.group), now)
		}
		at, channel := r.router.pickers[r.group].next(r.client, r.place, ask)
		if channel != nil {
			r.place = at
			return channel
		}
		r.held = r.held || all || at.passed&held != 0
		r.place = place{}
	}
	r.over = true
	return nil
}

// leftover moves the journey, when candidate has no other channel, to one that
// was passed over since it was held off, or is free by now; nil if none is left.
func (r *Route) leftover(now int64) *Channel {
	if !r.held {
		return nil
	}
	var soonest *Channel
	var earliest int64
	for g, picker := range r.router.pickers {
		ask := r.router.question(g, now)
		ask.obstacles &^= held
		from, to := picker.reach(r.client)
		for i := from; i < to; i++ {
			channel := r.router.groups[g].Channels[i]
			state := channel.state.Load()
			if !ask.admits(channel, state) || r.tried.has(r.router.firsts[g]+i) {
				continue
			}
			var until int64
			if state&held != 0 {
				until = channel.until.Load()
			}
			if soonest == nil || until < earliest {
				soonest, earliest = channel, until
				r.group, r.place = int32(g), place{number: int32(i) + 1}
			}
		}
	}
	return soonest
}

// number returns that of the current channel within the router.
func (r *Route) number() int { return r.router.firsts[r.group] + int(r.place.number) - 1 }

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
// dial that began before the channel was given a new chance, answered after a
// failure, or failed another client in a way that changed something.
func (r *Route) Failed(err error, now int64) Change {
	channel := r.channel
	r.channel = nil
	r.failed = true
	if r.tried == nil {
		r.tried = make(numbers, (r.router.channels+63)/64)
	}
	r.tried[r.number()/64] |= 1 << (r.number() % 64)
	channel.Leave(now)
	channel.Counters.Failures.Add(1)
	channel.Dials.failures[FailureOf(err)].Add(1)
	if Local(err) {
		return Unchanged
	}
	change := channel.observeFailure(err, r.chance, &r.router.options, now)
	if change == Disabled {
		r.router.Review()
	}
	return change
}

// Connected counts a session on the current channel, and how long it took to
// connect. The slot stays taken until Close; a plane that keeps the channel
// instead of the route gives it back with Channel.Leave.
func (r *Route) Connected(took time.Duration, now int64) Change {
	r.channel.Counters.Sessions.Add(1)
	r.channel.Dials.Durations.Observe(took)
	return r.channel.observeAnswer(now)
}

// Close gives back the slot that is held, if any. It may be called more than
// once.
func (r *Route) Close(now int64) {
	if r.channel != nil {
		r.channel.Leave(now)
		r.channel = nil
	}
}
