package balancer

import (
	"net/netip"
	"slices"
)

// Verdict is what a router would say about one channel to a client.
type Verdict struct {
	Group   int
	Index   int // of the channel in the group
	Channel *Channel
	Reason  Reason
}

// Reason is the state for which a channel would be passed over, or Chosen.
// StateFailing is none.
type Reason State

// Reasons that are told apart from the rest.
const (
	Chosen = Reason(StateUp)
	IsFull = Reason(StateFull)
)

// String returns the reason in words.
func (r Reason) String() string {
	switch r {
	case Chosen:
		return "chosen"
	case Reason(StateUnresolved):
		return "its host does not resolve"
	case Reason(StateAutoDisabled):
		return "disabled because connecting to it failed"
	}
	return State(r).String()
}

// reason returns why the channel could not be given a slot now, or Chosen.
func (c *Channel) reason() Reason { return Reason(c.obstacle(c.state.Load())) }

// Why returns the channels that a journey of the client would come by now, in
// their order. The last is Chosen; where none is, the client would be turned
// away. It reserves nothing and moves no cursor, so another client may come
// first.
func (r *Router) Why(client netip.Addr) []Verdict {
	var verdicts []Verdict
	for g := range r.groups {
		for _, i := range r.order(g, hashAddr(client)) {
			channel := r.groups[g].Channels[i]
			reason := channel.reason()
			verdicts = append(verdicts, Verdict{Group: g, Index: i, Channel: channel, Reason: reason})
			if reason == Chosen {
				return verdicts
			}
		}
	}
	return verdicts
}

// order returns the channels of a group that a client may be given, the one
// whose turn it is first.
func (r *Router) order(g int, client uint64) []int {
	group := &r.groups[g]
	var order []int
	if group.Mode == RoundRobin {
		start := int(group.cursor.Load())
		for i := range group.Channels {
			order = append(order, (start+i)%len(group.Channels))
		}
		return order
	}
	if !r.options.HashFailover {
		own, _ := group.next(client, -1, 0, false)
		return []int{int(own)}
	}
	scores := make([]uint64, len(group.Channels))
	for i, channel := range group.Channels {
		scores[i] = rendezvous(channel.hash, client)
		order = append(order, i)
	}
	slices.SortFunc(order, func(i, j int) int {
		if before(scores[i], int32(i), scores[j], int32(j)) {
			return -1
		}
		return 1
	})
	return order
}
