package balancer

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestWhyAgreesWithRoute compares what Why says with what a client gets, over
// random groups in random states: each channel that it is said to pass over
// cannot serve it, none that can is left out before the one that is chosen, and
// the client gets that one. Looking changes nothing.
func TestWhyAgreesWithRoute(t *testing.T) {
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 1))
		var groups []Group
		for g := range 1 + random.IntN(3) {
			group := Group{Mode: Mode(random.IntN(len(allModes)))}
			for i := range random.IntN(5) {
				group.Channels = append(group.Channels, randomChannel(random, fmt.Sprintf("h%d-%d", g, i)))
			}
			groups = append(groups, group)
		}
		failover := random.IntN(2) == 0
		router := NewRouter(groups, Options{HashFailover: failover}, nil)
		for range 10 {
			client := Client{Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(random.IntN(256))})}
			verdicts := router.Why(client, 0)
			if again := router.Why(client, 0); !slices.Equal(again, verdicts) {
				t.Fatalf("seed %d: Why says %v, and then %v", seed, verdicts, again)
			}
			named := map[*Channel]bool{}
			var chosen *Channel
			for i, v := range verdicts {
				named[v.Channel] = true
				if router.Groups()[v.Group].Channels[v.Index] != v.Channel || (v.Reason == Chosen) != usable(v.Channel) {
					t.Fatalf("seed %d: verdict %d is %+v, usable %t", seed, i, v, usable(v.Channel))
				}
				if v.Reason == Chosen {
					if chosen = v.Channel; i != len(verdicts)-1 {
						t.Fatalf("seed %d: verdict %d of %d is the choice", seed, i, len(verdicts))
					}
				}
			}
			route := router.Route(client, 0)
			step := route.Next(0)
			if (step == Dial) != (chosen != nil) || chosen != route.Channel() {
				t.Fatalf("seed %d: Why says %v, the client got %v", seed, chosen, route.Channel())
			}
			last := len(groups) - 1
			if chosen != nil {
				if last = verdicts[len(verdicts)-1].Group; route.Group() != last {
					t.Fatalf("seed %d: the client got group %d, not %d", seed, route.Group(), last)
				}
			}
			for g, group := range groups[:last] { // all of these were passed over
				n := 0
				for _, channel := range group.Channels {
					if named[channel] {
						n++
					}
				}
				want := len(group.Channels)
				if group.Mode == Hash && !failover {
					want = min(want, 1)
				}
				if n != want {
					t.Fatalf("seed %d: Why names %d channels of group %d, want %d", seed, n, g, want)
				}
			}
			switch random.IntN(3) {
			case 0:
				route.Close(0) // else the slot stays taken
			case 1:
				if step == Dial {
					route.Failed(errRefused, 0)
				}
			}
		}
	}
}

// A journey of which every dial fails comes by the usable channels in the order
// in which Why lists them, ties included.
func TestJourneyFollowsTheOrder(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 2))
		group := Group{Mode: Mode(random.IntN(len(allModes)))}
		for i := range 1 + random.IntN(12) {
			channel := randomChannel(random, fmt.Sprintf("h%d", i))
			channel.hash %= 4 // many ties
			group.Channels = append(group.Channels, channel)
		}
		router := NewRouter([]Group{group}, Options{HashFailover: random.IntN(4) > 0}, nil)
		for range 5 {
			client := Client{Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(random.IntN(256))})}
			want := slices.DeleteFunc(router.order(client), func(c *Channel) bool { return !usable(c) })
			var got []*Channel
			route := router.Route(client, 0)
			for route.Next(0) == Dial {
				got = append(got, route.Channel())
				route.Failed(errRefused, 0)
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
	group := r.pickers[0].(*rendezvous)
	hashed := hashAddr(client.Addr, 0, 0)
	if best, _ := group.best(hashed, question{obstacles: obstacles}, bound{}); best < 0 || group.channels[best] != last {
		t.Errorf("the first pass found %d", best)
	}
	last.Disable()
	if best, _ := group.best(hashed, question{obstacles: obstacles}, bound{}); best >= 0 {
		t.Errorf("a pass found %d though none is usable", best)
	}
	route := r.Route(client, 0)
	if step := route.Next(0); step != Reject || route.Rejection() != NoneInService {
		t.Errorf("step %d, %s", step, route.Rejection())
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
		verdicts := router.Why(client, 0)
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

// Why names the arithmetic of the mode.
func TestWhyNamesTheArithmetic(t *testing.T) {
	busy := func(group Group, sessions ...int) Group {
		for i, n := range sessions {
			for range n {
				group.Channels[i].slots.take()
			}
		}
		return group
	}
	for _, test := range []struct {
		group Group
		want  string // of the chosen one
	}{
		{Group{Channels: weighing(1, 1)}, "chosen"},
		{Group{Channels: weighing(3, 1)}, "chosen: its turn, weight 3 of 4"},
		{Group{Mode: Hash, Channels: weighing(5, 5)}, "chosen"},
		{Group{Mode: Hash, Channels: weighing(1000, 1)}, "chosen: preferred, weight 1000 of 1001"},
		{busy(Group{Mode: LeastConn, Channels: weighing(1, 3)}, 5, 12), "chosen: least connections, 12/3 against 5/1"},
		{busy(Group{Mode: LeastConn, Channels: weighing(1, 1, 1)}, 5, 2, 2), "chosen: least connections, 2/1 against 2/1, in turn"},
		{busy(Group{Mode: LeastConn, Channels: weighing(2)}, 5), "chosen: least connections, 5/2"},
		{busy(Group{Mode: Random, Channels: weighing(1, 1)}, 3, 5), "chosen: two at random, 3/1 against 5/1"},
		{Group{Mode: Random, Channels: weighing(1)}, "chosen: the only one to draw"},
		{busy(Group{Mode: First, Channels: channels("a:1", "b")}, 1), "chosen: the first with room"},
	} {
		why := NewRouter([]Group{test.group}, Options{}, nil).Why(client, 0)
		if got := why[len(why)-1].Words; got != test.want {
			t.Errorf("%s: %q, want %q", test.group.Mode, got, test.want)
		}
	}
	group := busy(Group{Mode: LeastConn, Channels: weighing(2, 1), SlowStart: time.Second}, 1, 9)
	group.Channels[0].Warm(0)
	why := NewRouter([]Group{group}, Options{}, nil).Why(client, int64(time.Second/4))
	if got := why[len(why)-1].Words; got != "chosen: least connections, 1/0.5 against 9/1" {
		t.Errorf("while it starts: %q", got)
	}
}
