package balancer

import (
	"errors"
	"math"
	"net/netip"
	"time"
)

// Client is what a router knows of the one who asks.
type Client struct {
	// Addr is the address that the client has come from. It alone counts, so
	// that an IPv4 client is the same on an IPv6 socket. It is not valid for a
	// client of a unix socket.
	Addr netip.Addr
	// ServerName and ALPN are what its ClientHello names, in lower case; empty if it
	// sent none.
	ServerName string
	ALPN       []string
	// Like, if not nil, is the audience of a group that the client was given to by a
	// ClientHello that is not known any more: in its place.
	Like *Audience
}

// Step is what a route has its client do next.
type Step uint8

// The steps.
const (
	Reject Step = iota // no channel is left: the client cannot be served now
	Dial               // a slot on a channel is held, which is to be connected to
	Wait               // all channels that could serve the client are full: it may wait (Route.Wait)
)

// Route is one client's journey through the groups of a router: first by all
// channels that are not held off, and once no group has another, by those that
// were passed over because they were, the soonest to be free first. It comes by no
// channel twice. The zero Route has nowhere to go. A Route is used by one
// goroutine at a time and not copied after the first call of Next.
type Route struct {
	router  *Router
	channel *Channel // the channel whose slot is held, or nil
	asks    Client   // who goes
	client  uint64   // hash of what counts of it in the group
	place   place    // in the group
	group   int32    // being searched
	chance  uint32   // generation of the channel's state when its slot was taken
	failed  bool     // connecting to a channel failed
	held    bool     // a channel was passed over that is held off
	over    bool     // no group has another channel that is not
	tried   *numbers // channels that could not be connected to
	refused bool     // for the reason that follows
	refusal Rejection
	ticket  uint64   // its turn among those who wait; 0 if it never did
	waiting *waiting // in the queue, or served and not told so
}

// Route starts the journey of a client. A nil Router has no channels.
func (r *Router) Route(client Client, now int64) Route {
	route := Route{router: r, asks: client}
	if r != nil && len(r.groups) > 0 {
		route.client = r.hash(0, client.Addr)
	}
	return route
}

// reach returns which channels of a group the client may have: none, where the group
// is not for it.
func (r *Route) reach(group int, ask question) (from, to int) {
	if !r.router.groups[group].For.Has(r.asks) {
		return 0, 0
	}
	return r.router.pickers[group].reach(r.router.hash(group, r.asks.Addr), ask)
}

// hash returns that of what counts in the group of a client's address.
func (r *Router) hash(group int, addr netip.Addr) uint64 {
	g := &r.groups[group]
	if g.Mode != Hash {
		return 0
	}
	return hashAddr(addr, g.HashIPv4Bits, g.HashIPv6Bits)
}

// Channel returns the channel whose slot is held, or nil.
func (r *Route) Channel() *Channel { return r.channel }

// Group returns the number of the group that the current channel is in.
func (r *Route) Group() int { return int(r.group) }

// Next reserves a slot on the next usable channel. The slot of the channel
// before must have been given back with Failed. It returns Wait where all channels
// that could serve the client are full, and clients may wait for a slot.
func (r *Route) Next(now int64) Step {
	if r.channel != nil {
		panic("balancer: Next without Failed")
	}
	if r.router == nil {
		return Reject
	}
	q := r.router.options.Queue
	switch {
	case q != nil && q.waiting.Load() > 0:
		if r.nextInLine(q, now) {
			return Dial
		}
	case r.advance(now, nil):
		return Dial
	}
	if q != nil && q.size.Load() > 0 && r.hopes(now) {
		return Wait
	}
	if r.resort(now) {
		return Dial
	}
	return Reject
}

// advance reserves a slot on a channel that is not held off, and reports whether
// there was one.
func (r *Route) advance(now int64, demand *demand) bool {
	for channel := r.candidate(now, demand, false); channel != nil; channel = r.candidate(now, demand, false) {
		var taken bool
		if r.place, taken = r.router.pickers[r.group].take(r.place, channel, r.router.question(int(r.group), now)); taken {
			r.hold(channel)
			return true
		}
	}
	return false
}

// resort reserves a slot on a channel that was passed over, and reports whether
// there was one.
func (r *Route) resort(now int64) bool {
	for channel := r.leftover(now); channel != nil; channel = r.leftover(now) {
		if r.router.question(int(r.group), now).take(channel, math.MaxUint64) {
			r.hold(channel)
			return true
		}
	}
	return false
}

func (r *Route) hold(channel *Channel) {
	r.channel = channel
	r.chance = generationOf(channel.state.Load())
}

// adopt has the route hold a slot on the channel that stands there.
func (r *Route) adopt(channel *Channel, at spot) {
	r.group, r.place = int32(at.group), place{number: int32(at.index) + 1}
	r.hold(channel)
}

// again has the journey begin anew, but for the channels that were tried.
func (r *Route) again() {
	r.group, r.place, r.held, r.over = 0, place{}, false, false
	if len(r.router.groups) > 0 {
		r.client = r.router.hash(0, r.asks.Addr)
	}
}

// follow has the journey go on in another router, where it begins anew.
func (r *Route) follow(router *Router) {
	if r.router == router {
		return
	}
	r.router, r.tried, r.failed = router, nil, false
	r.again()
}

// Router returns the router that the journey is in.
func (r *Route) Router() *Router { return r.router }

// candidate moves the journey on to the next channel that was not tried, in this
// group or one behind it; nil if none is left. It passes over those that could not
// be given a slot now, or are held off, unless all are asked for.
func (r *Route) candidate(now int64, demand *demand, all bool) *Channel {
	if r.router == nil || r.over {
		return nil
	}
	for int(r.group) < len(r.router.pickers) {
		if r.router.groups[r.group].For.Has(r.asks) {
			ask := r.router.question(int(r.group), now)
			ask.tried, ask.demand = r.tried, demand
			if all {
				ask.obstacles |= everyone
			}
			at, channel := r.router.pickers[r.group].next(r.client, r.place, ask)
			if channel != nil {
				r.place = at
				return channel
			}
			r.held = r.held || all || at.mark&held != 0
			r.place = place{}
		}
		if r.group++; int(r.group) < len(r.router.pickers) {
			r.client = r.router.hash(int(r.group), r.asks.Addr)
		}
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
	for g := range r.router.groups {
		ask := r.router.question(g, now)
		ask.obstacles &^= held
		from, to := r.reach(g, ask)
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

// pass has the journey not come by the current channel again.
func (r *Route) pass() {
	if r.tried == nil {
		r.tried = newNumbers(r.router.channels)
	}
	r.tried.add(r.number())
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
// dial that began before the channel was given a new chance, answered after a
// failure, or failed another client in a way that changed something.
func (r *Route) Failed(err error, now int64) Change {
	channel := r.channel
	r.channel = nil
	r.failed = true
	r.pass()
	defer channel.Leave(now) // once it is known to who may be next
	channel.Counters.Failures.Add(1)
	channel.Dials.failures[FailureOf(err)].Add(1)
	if Local(err) || errors.Is(err, ErrDisagrees) {
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

// Close gives back the slot that is held, if any, or the place in the queue. It may
// be called more than once.
func (r *Route) Close(now int64) {
	r.leave()
	if r.channel != nil {
		r.channel.Leave(now)
		r.channel = nil
	}
}
