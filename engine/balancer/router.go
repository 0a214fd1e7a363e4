// Package balancer decides which channel serves a client. It does no I/O and
// has no clock: a data plane asks it for channels, tells it what came of them,
// and says each time what time it is, in nanoseconds of a clock of its own that
// never goes back.
//
//	route := router.Route(client, now)
//	for route.Next(now) == balancer.Dial {
//		conn, err := dial(route.Channel())
//		if err != nil {
//			route.Failed(err, now)
//			continue
//		}
//		route.Connected(took, now)
//		relay(conn)
//		break
//	}
//	route.Close(now)
package balancer

import (
	"sync"
	"sync/atomic"
	"time"
)

// Options are the rules that hold for all groups of a router.
type Options struct {
	// AutoDisable takes a channel out of service when connecting to it fails.
	AutoDisable bool
	// HashFailover lets a hash group try its other channels, in the order of
	// the client's preference, when its first cannot serve the client.
	HashFailover bool
	// HoldOff is how long a channel that could not be connected to is passed
	// over, twice as long after each further failure in a row, up to HoldOffMax,
	// each give or take a fifth. Zero means never.
	HoldOff, HoldOffMax time.Duration
	// Panic is a share in percent: while fewer of the channels of a group that
	// are enabled, and not of weight 0, are up by their checks, these are ignored.
	// Zero means never.
	Panic int
	// Queue, if not nil, is where clients of the listener wait. It is that of the
	// channels from then on.
	Queue *Queue
}

// Group is a set of channels that are chosen from in one way.
type Group struct {
	Mode     Mode
	Channels []*Channel
	// HashIPv4Bits and HashIPv6Bits are how many leading bits of a client's
	// address count in Hash: 0 for all, at most 32 and 128.
	HashIPv4Bits, HashIPv6Bits int
	// HashLoad bounds in Hash what a channel may carry, in percent of the mean
	// load for its weight, before its clients go to their next choice: at least
	// 101; 0 for no bound.
	HashLoad int
	// SlowStart is over which time a channel that begins to serve (Channel.Warm)
	// comes to its share, linearly, in weight and limit; 0 for at once.
	SlowStart time.Duration
	// For is whom the group is for; nil for everybody.
	For *Audience
}

// Router holds the groups of a listener in the order in which they are tried.
// It does not change after NewRouter, but for the turns of its groups and whether
// they panic.
type Router struct {
	groups   []Group
	pickers  []picker // of the groups
	firsts   []int    // numbers of the first channels of the groups
	channels int      // how many there are
	options  Options
	slow     bool              // a group starts channels slowly
	spots    map[*Channel]spot // where the channels stand; only with a queue

	reviewing sync.Mutex    // held by Review
	panics    []atomic.Bool // whether the checks of the groups are ignored
}

// NewRouter returns a router over the groups, which belong to it from then on.
// Where a round robin group stands in the place of one of the previous router,
// which may be nil, the turn goes on with the channel whose turn it was.
func NewRouter(groups []Group, options Options, previous *Router) *Router {
	r := &Router{groups: groups, options: options, panics: make([]atomic.Bool, len(groups))}
	for i := range groups {
		r.slow = r.slow || groups[i].SlowStart != 0
		picker := newPicker(&groups[i], r.channels, options)
		if previous != nil && i < len(previous.pickers) {
			picker.follow(previous.pickers[i])
		}
		r.pickers = append(r.pickers, picker)
		r.firsts = append(r.firsts, r.channels)
		r.channels += len(groups[i].Channels)
	}
	if options.Queue != nil {
		r.spots = make(map[*Channel]spot, r.channels)
		for g := range groups {
			for i, channel := range groups[g].Channels {
				r.spots[channel] = spot{g, i}
				channel.join(options.Queue)
			}
		}
	}
	r.Review()
	return r
}

// Groups returns the groups, which are not to be written to.
func (r *Router) Groups() []Group { return r.groups }

// Review finds out whether the checks of a group are to be ignored, as so few of
// its channels are up by them (see Options.Panic). It is to be called after the
// health of a channel, whether one is in service, or its weight has changed.
func (r *Router) Review() {
	if r.options.Panic == 0 {
		return
	}
	r.reviewing.Lock() // else a review that saw less could have the last word
	defer r.reviewing.Unlock()
	for g := range r.groups {
		inService, up := 0, 0
		for _, channel := range r.groups[g].Channels {
			state := channel.state.Load()
			if state&(off|weightless) != 0 {
				continue
			}
			inService++
			if state&unhealthy == 0 {
				up++
			}
		}
		r.panics[g].Store(100*up < r.options.Panic*inService)
	}
}

// Panicking reports whether the checks of a group are ignored.
func (r *Router) Panicking(group int) bool { return r.panics[group].Load() }

// Usable reports whether there is a channel that a client could be given, at once
// or when a slot is free.
func (r *Router) Usable() bool {
	for g := range r.groups {
		obstacles := r.question(g, 0).obstacles &^ (held | warming)
		for _, channel := range r.groups[g].Channels {
			if channel.state.Load()&obstacles == 0 {
				return true
			}
		}
	}
	return false
}

// Capacity returns what the channel weighs in its group, in parts that are the same
// for all of them, and its limit, 0 for none: those that it has come to by now, where
// the group has a slow start.
func (r *Router) Capacity(group int, channel *Channel, now int64) (weight, limit int) {
	ask, state := r.question(group, now), channel.state.Load()
	if channel.Limit() > 0 {
		limit = int(ask.most(channel, state))
	}
	return int(ask.weight(channel, state)), limit
}

// question asks for the channels of a group that a client may be given now.
func (r *Router) question(group int, now int64) question {
	ask := question{obstacles: obstacles, now: now}
	if slow := r.groups[group].SlowStart; slow != 0 {
		ask.slow = int64(slow)
		ask.obstacles |= warming // to look closer
	}
	if r.panics[group].Load() {
		ask.obstacles &^= unhealthy
	}
	return ask
}
