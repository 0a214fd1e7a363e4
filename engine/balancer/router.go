// Package balancer decides which channel serves a client. It does no I/O: a
// data plane asks it for channels and tells it what came of them.
//
//	route := router.Route(client)
//	defer route.Close()
//	for {
//		channel, ok := route.Next()
//		if !ok {
//			return errNoChannel
//		}
//		conn, err := dial(channel)
//		if err != nil {
//			route.Failed(err)
//			continue
//		}
//		route.Connected(took)
//		break
//	}
package balancer

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"
)

// Mode is how a group chooses among its channels.
type Mode uint8

const (
	// RoundRobin gives the channels to clients in turn.
	RoundRobin Mode = iota
	// Hash gives each client address a channel of its own by rendezvous
	// hashing: with one of n channels added or removed about 1/n of the
	// clients move, and every process whose channels have the same keys
	// chooses alike.
	Hash
)

// String returns the word that UnmarshalText takes.
func (m Mode) String() string {
	if m == Hash {
		return "hash"
	}
	return "rr"
}

// MarshalText returns the word that UnmarshalText takes.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText takes "rr" or "hash".
func (m *Mode) UnmarshalText(text []byte) error {
	switch string(text) {
	case "rr":
		*m = RoundRobin
	case "hash":
		*m = Hash
	default:
		return fmt.Errorf("%q is none of \"rr\", \"hash\"", text)
	}
	return nil
}

// Options are the rules that hold for all groups of a router.
type Options struct {
	// AutoDisable takes a channel out of service when connecting to it fails.
	AutoDisable bool
	// HashFailover lets a hash group try its other channels, in the order of
	// the client's preference, when its first cannot serve the client.
	HashFailover bool
}

// Group is a set of channels that are chosen from in one way.
type Group struct {
	Mode     Mode
	Channels []*Channel
	cursor   *atomic.Uint32 // of a round robin group: where the next search starts
}

// Router holds the groups of a listener in the order in which they are tried.
// It does not change after NewRouter, but for the cursors of its groups.
type Router struct {
	groups  []Group
	options Options
}

// NewRouter returns a router over the groups, which belong to it from then on.
// Where a group stands in the place of a round robin group of the previous
// router, which may be nil, the turn goes on with the channel whose turn it
// was.
func NewRouter(groups []Group, options Options, previous *Router) *Router {
	r := &Router{groups: groups, options: options}
	for i := range groups {
		groups[i].cursor = new(atomic.Uint32)
		if previous != nil && i < len(previous.groups) {
			groups[i].continueAfter(&previous.groups[i])
		}
	}
	return r
}

// continueAfter sets the cursor to the first channel that the older group
// would have offered and that is in this group too.
func (g *Group) continueAfter(older *Group) {
	at := make(map[*Channel]int, len(g.Channels))
	for i, channel := range g.Channels {
		at[channel] = i
	}
	start := int(older.cursor.Load())
	for i := range older.Channels {
		if now, ok := at[older.Channels[(start+i)%len(older.Channels)]]; ok {
			g.cursor.Store(uint32(now))
			return
		}
	}
}

// Groups returns the groups, which are not to be written to.
func (r *Router) Groups() []Group { return r.groups }

// Options returns the rules of the router.
func (r *Router) Options() Options { return r.options }

// Route starts one client's journey through the groups. The client's address
// alone counts, so that an IPv4 client is the same on an IPv6 socket.
func (r *Router) Route(client netip.Addr) Route {
	return Route{router: r, client: hashAddr(client), group: -1}
}

// Route is one client's journey through the groups of a router. The zero
// Route has nowhere to go. A Route is used by one goroutine at a time and not
// copied after the first call of Next.
type Route struct {
	router  *Router
	channel *Channel // the channel whose slot is held, or nil
	client  uint64   // hash of the client's address
	score   uint64   // hash group: score of the channel tried last
	group   int32    // being searched; -1 before the first
	index   int32    // of the channel tried last in the group
	left    int32    // channels of the group that were not looked at yet; hash group: 0 or not
	mark    uint32   // round robin: where this journey left the cursor
	chance  uint32   // generation of the channel's state when its slot was taken
	failed  bool     // connecting to a channel failed
}

// Channel returns the channel whose slot is held, or nil.
func (r *Route) Channel() *Channel { return r.channel }

// Group returns the number of the group that the current channel is in.
func (r *Route) Group() int { return int(r.group) }

// Next reserves a slot on the next usable channel. It reports false when none
// is left; the client cannot be served then. The slot of the channel before
// must have been given back with Failed.
func (r *Route) Next() (*Channel, bool) {
	if r.channel != nil {
		panic("balancer: Next without Failed")
	}
	if r.router == nil {
		return nil, false
	}
	for {
		if r.left > 0 {
			group := &r.router.groups[r.group]
			if group.Mode == Hash {
				r.channel = r.nextHash(group)
			} else {
				r.channel = r.nextRoundRobin(group)
			}
			if r.channel != nil {
				r.chance = generationOf(r.channel.state.Load())
				return r.channel, true
			}
		}
		if int(r.group)+1 >= len(r.router.groups) {
			r.left = 0
			return nil, false
		}
		r.group++
		r.index = -1
		r.left = int32(len(r.router.groups[r.group].Channels))
	}
}

// nextRoundRobin moves the group's cursor behind the channel that it reserves.
// Moving it with the reservation, not with the connection, gives clients who
// arrive together different channels; clients one after the other see the
// same order either way.
func (r *Route) nextRoundRobin(group *Group) *Channel {
	n := int32(len(group.Channels))
	if r.index < 0 {
		if channel := r.claimTurn(group, n); channel != nil {
			return channel
		}
	}
	for r.left > 0 {
		r.left--
		r.index = (r.index + 1) % n
		channel := group.Channels[r.index]
		if channel.Usable() && channel.slots.take() {
			next := uint32((r.index + 1) % n)
			group.cursor.CompareAndSwap(r.mark, next)
			r.mark = next
			return channel
		}
	}
	return nil
}

// claimTurn takes the channel whose turn it is, and the turn with it. It
// returns nil if another client took the channel's last slot meanwhile, or if
// no channel is usable; the journey then goes on from r.index.
func (r *Route) claimTurn(group *Group, n int32) *Channel {
	for {
		cursor := group.cursor.Load()
		start := int32(cursor) % n
		skip := int32(0)
		for skip < n && !group.Channels[(start+skip)%n].Usable() {
			skip++
		}
		if skip == n {
			r.left = 0
			return nil
		}
		turn := (start + skip) % n
		next := uint32((turn + 1) % n)
		if !group.cursor.CompareAndSwap(cursor, next) {
			continue
		}
		r.mark = next
		r.index = turn
		r.left = n - 1
		if channel := group.Channels[turn]; channel.slots.take() {
			return channel
		}
		return nil
	}
}

// nextHash takes the client's own channel first. With HashFailover the others
// follow by falling score; without it there is only the one. Each call passes
// over the group once, but where another client was faster: with no usable
// channel left a journey is over at once.
func (r *Route) nextHash(group *Group) *Channel {
	failover := r.router.options.HashFailover
	for r.left > 0 {
		r.index, r.score = group.next(r.client, r.index, r.score, failover)
		if r.index < 0 || !failover {
			r.left = 0
		}
		if r.index < 0 {
			return nil
		}
		channel := group.Channels[r.index]
		if channel.Usable() && channel.slots.take() {
			return channel
		}
	}
	return nil
}

// next returns the channel of a hash group that the client prefers to all
// others but those up to the last, and its score. The last is -1 at first. With
// usable only such channels count, and -1 says that there is none.
func (g *Group) next(client uint64, last int32, lastScore uint64, usable bool) (best int32, bestScore uint64) {
	best = -1
	for i, channel := range g.Channels {
		score := rendezvous(channel.hash, client)
		if last >= 0 && !before(lastScore, last, score, int32(i)) {
			continue // passed already
		}
		if best >= 0 && !before(score, int32(i), bestScore, best) {
			continue
		}
		if !usable || channel.Usable() {
			best, bestScore = int32(i), score
		}
	}
	return best, bestScore
}

// before orders the channels of a hash group by falling score, then by index.
func before(score uint64, index int32, otherScore uint64, otherIndex int32) bool {
	return score > otherScore || score == otherScore && index < otherIndex
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
func (r *Route) Failed(err error) Change {
	channel := r.channel
	r.channel = nil
	r.failed = true
	channel.slots.give()
	channel.Counters.Failures.Add(1)
	channel.Dials.failures[FailureOf(err)].Add(1)
	if Local(err) {
		return Unchanged
	}
	return channel.observeFailure(r.router.options.AutoDisable, r.chance)
}

// Connected counts a session on the current channel, whose slot stays taken
// until Close, and how long it took to connect.
func (r *Route) Connected(took time.Duration) Change {
	r.channel.Counters.Sessions.Add(1)
	r.channel.Dials.Durations.Observe(took)
	return r.channel.observeAnswer()
}

// Close gives back the slot that is held, if any. It may be called more than
// once.
func (r *Route) Close() {
	if r.channel != nil {
		r.channel.slots.give()
		r.channel = nil
	}
}
