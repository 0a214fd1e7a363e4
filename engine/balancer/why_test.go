package balancer

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// TestWhyAgreesWithRoute compares what Why says with what a client gets, over
// random groups in random states.
func TestWhyAgreesWithRoute(t *testing.T) {
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 1))
		var groups []Group
		for g := range 1 + random.IntN(3) {
			group := Group{Mode: Mode(random.IntN(2))}
			for i := range 1 + random.IntN(4) {
				group.Channels = append(group.Channels, randomChannel(random, fmt.Sprintf("h%d-%d", g, i)))
			}
			groups = append(groups, group)
		}
		router := NewRouter(groups, Options{HashFailover: random.IntN(2) == 0}, nil)
		for range 10 {
			client := netip.AddrFrom4([4]byte{10, 0, 0, byte(random.IntN(256))})
			verdicts := router.Why(client)
			route := router.Route(client)
			channel, ok := route.Next()
			var chosen *Channel
			for i, v := range verdicts {
				if v.Reason == Chosen {
					chosen = v.Channel
					if i != len(verdicts)-1 || v.Group != route.Group() || router.Groups()[v.Group].Channels[v.Index] != chosen {
						t.Fatalf("seed %d: verdict %d of %d, group %d, the client got group %d", seed, i, len(verdicts), v.Group, route.Group())
					}
				}
			}
			if ok != (chosen != nil) || chosen != channel {
				t.Fatalf("seed %d: Why says %v, the client got %v", seed, chosen, channel)
			}
			if random.IntN(2) == 0 {
				route.Close() // else the slot stays taken
			}
		}
	}
}

// A journey of which every dial fails comes by the usable channels in the order
// in which Why would list them, ties included.
func TestJourneyFollowsTheOrder(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 2))
		group := Group{Mode: Mode(random.IntN(2))}
		for i := range 1 + random.IntN(12) {
			channel := randomChannel(random, fmt.Sprintf("h%d", i))
			channel.hash %= 4 // many ties
			group.Channels = append(group.Channels, channel)
		}
		router := NewRouter([]Group{group}, Options{HashFailover: random.IntN(4) > 0}, nil)
		for range 5 {
			client := netip.AddrFrom4([4]byte{10, 0, 0, byte(random.IntN(256))})
			var want, got []*Channel
			for _, i := range router.order(0, hashAddr(client)) {
				if group.Channels[i].Usable() {
					want = append(want, group.Channels[i])
				}
			}
			route := router.Route(client)
			for channel, ok := route.Next(); ok; channel, ok = route.Next() {
				got = append(got, channel)
				route.Failed(errRefused)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d, %s: the client tried %v, want %v", seed, group.Mode, got, want)
			}
		}
	}
}

// A journey over channels of which none is usable, or only the last, passes
// over a hash group once.
func TestOnePassOverChannelsOutOfService(t *testing.T) {
	r, last := passedOver(Hash, 1000)
	group := &r.groups[0]
	if best, _ := group.next(hashAddr(client), -1, 0, true); best < 0 || group.Channels[best] != last {
		t.Errorf("the first pass found %d", best)
	}
	last.Disable()
	if best, _ := group.next(hashAddr(client), -1, 0, true); best >= 0 {
		t.Errorf("a pass found %d though none is usable", best)
	}
	route := r.Route(client)
	if _, ok := route.Next(); ok || route.left != 0 || route.Rejection() != NoneInService {
		t.Errorf("found %t, left %d, %s", ok, route.left, route.Rejection())
	}
}

func randomChannel(random *rand.Rand, host string) *Channel {
	channel := NewChannel(Key{Host: host, Port: 1})
	if random.IntN(5) > 0 {
		channel.SetAddresses([]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")})
	}
	channel.SetLimit(random.IntN(4))
	switch random.IntN(6) {
	case 0:
		channel.Disable()
	case 1:
		fail(channel)
	case 2:
		channel.Drain()
	}
	return channel
}

func TestWhyNamesTheReason(t *testing.T) {
	reachable := func(c *Channel) {
		c.SetAddresses([]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")})
	}
	cases := []struct {
		want  Reason
		setUp func(*Channel)
	}{
		{Chosen, reachable},
		{Reason(StateUnresolved), func(*Channel) {}},
		{Reason(StateDisabled), func(c *Channel) { reachable(c); c.Disable() }},
		{Reason(StateDisabled), func(c *Channel) { reachable(c); c.Drain() }}, // nothing runs on it
		{Reason(StateDraining), func(c *Channel) { reachable(c); c.slots.take(); c.Drain() }},
		{Reason(StateAutoDisabled), func(c *Channel) { reachable(c); fail(c) }},
		{IsFull, func(c *Channel) { reachable(c); c.SetLimit(1); c.slots.take() }},
	}
	for _, c := range cases {
		channel := NewChannel(Key{Host: "h", Port: 1})
		c.setUp(channel)
		router := NewRouter([]Group{{Channels: []*Channel{channel}}}, Options{}, nil)
		verdicts := router.Why(netip.MustParseAddr("10.0.0.1"))
		if len(verdicts) != 1 || verdicts[0].Reason != c.want {
			t.Errorf("%+v, want %q", verdicts, c.want)
		}
	}
}

func TestDraining(t *testing.T) {
	channel := NewChannel(Key{Host: "h", Port: 1})
	channel.slots.take()
	if !channel.Drain() || channel.Enabled() || !channel.Draining() {
		t.Error("a channel with a session that is to drain does not")
	}
	channel.slots.give()
	if channel.Draining() || channel.Enabled() {
		t.Error("a channel drains without sessions, or is enabled afterwards")
	}
	if !channel.Enable() || !channel.Enabled() {
		t.Error("Enable does not end a draining")
	}
	channel.Drain()
	channel.Declare(true)
	channel.Declare(false)
	if !channel.Enabled() {
		t.Error("the operator's word outlives a declaration that said the same")
	}
}
