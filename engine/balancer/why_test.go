package balancer

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
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
		{HasNoAddress, func(*Channel) {}},
		{IsDisabled, func(c *Channel) { reachable(c); c.Disable() }},
		{IsDisabled, func(c *Channel) { reachable(c); c.Drain() }}, // nothing runs on it
		{IsDraining, func(c *Channel) { reachable(c); c.slots.take(); c.Drain() }},
		{IsAutoDisabled, func(c *Channel) { reachable(c); fail(c) }},
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
