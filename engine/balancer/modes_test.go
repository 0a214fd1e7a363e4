package balancer

import (
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

var allModes = []Mode{RoundRobin, Hash, LeastConn, Random, First}

// play opens and ends sessions in a group whose channels come and go, and has each
// choice looked at.
func play(t *rapid.T, mode Mode, look func(group Group, chosen *Channel)) {
	group := Group{Mode: mode, Channels: weighing(rapid.SliceOfN(rapid.IntRange(0, 9), 1, 8).Draw(t, "weights")...)}
	r := NewRouter([]Group{group}, Options{}, nil)
	running := map[*Channel]int{}
	for range rapid.IntRange(1, 100).Draw(t, "steps") {
		c := rapid.SampledFrom(group.Channels).Draw(t, "channel")
		switch rapid.IntRange(0, 11).Draw(t, "step") {
		case 0:
			c.SetWeight(rapid.IntRange(0, 20).Draw(t, "weight"))
		case 1:
			c.Disable()
		case 2:
			c.Enable()
		case 3:
			c.SetLimit(rapid.IntRange(0, 5).Draw(t, "limit"))
		case 4, 5:
			if running[c] > 0 {
				running[c]--
				c.Leave(0)
			}
		default:
			route := r.Route(client, 0)
			step := route.Next(0)
			chosen := route.Channel()
			if step == Reject {
				if slices.ContainsFunc(group.Channels, usable) {
					t.Fatal("a client is turned away though a channel is usable")
				}
				break
			}
			chosen.slots.give()
			if !usable(chosen) {
				t.Fatalf("%s is given, and is not usable", chosen.Key())
			}
			look(group, chosen)
			chosen.slots.take()
			running[chosen]++
		}
	}
}

func perWeight(c *Channel) *big.Rat { return big.NewRat(int64(c.Active()), int64(c.Weight())) }

func TestLeastConnAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		play(t, LeastConn, func(group Group, chosen *Channel) {
			for _, c := range group.Channels {
				if usable(c) && perWeight(c).Cmp(perWeight(chosen)) < 0 {
					t.Fatalf("%s is given with %s, though %s has %s", chosen.Key(), perWeight(chosen), c.Key(), perWeight(c))
				}
			}
		})
	})
}

func TestLeastConnTakesTurnsAmongEquals(t *testing.T) {
	group := Group{Mode: LeastConn, Channels: weighing(1, 1, 1, 1)}
	r := NewRouter([]Group{group}, Options{}, nil)
	group.Channels[1].slots.take()
	if got := given(r, 7); got != "acdacda" {
		t.Errorf("given %s", got)
	}
	group.Channels[1].Leave(0)
	if got := given(r, 4); got != "bcda" {
		t.Errorf("given %s", got)
	}
	// Without a session they get clients by weight.
	r = NewRouter([]Group{{Mode: LeastConn, Channels: weighing(3, 1)}}, Options{}, nil)
	if got := given(r, 8); got != "aabaaaba" {
		t.Errorf("given %s", got)
	}
}

// Clients who come at the same time put no channel further from its share than
// there are of them.
func TestLeastConnAtOnce(t *testing.T) {
	const loops, each = 4, 300
	group := Group{Mode: LeastConn, Channels: weighing(3, 1, 2)}
	r := NewRouter([]Group{group}, Options{}, nil)
	var wg sync.WaitGroup
	for range loops {
		wg.Go(func() {
			for range each {
				route := r.Route(client, 0)
				route.Next(0)
			}
		})
	}
	wg.Wait()
	for i, want := range []int{600, 200, 400} {
		if n := group.Channels[i].Active(); n < want-loops || n > want+loops {
			t.Errorf("channel %d has %d sessions, want %d", i, n, want)
		}
	}
}

func TestFirstAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		play(t, First, func(group Group, chosen *Channel) {
			if first := group.Channels[slices.IndexFunc(group.Channels, usable)]; chosen != first {
				t.Fatalf("%s is given, %s comes first", chosen.Key(), first.Key())
			}
		})
	})
	group := Group{Mode: First, Channels: channels("a:2", "b:1", "c")}
	r := NewRouter([]Group{group}, Options{}, nil)
	var got []string
	for range 5 {
		_, served := journey(r, client, "a", "b", "c")
		got = append(got, served)
	}
	if strings.Join(got, "") != "aabcc" {
		t.Errorf("given %v", got)
	}
}

// Of the two that are drawn the one with less load is given.
func TestRandomGivesTheLessLoaded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		group := Group{Mode: Random, Channels: weighing(rapid.SliceOfN(rapid.IntRange(0, 9), 1, 8).Draw(t, "weights")...)}
		for _, c := range group.Channels {
			for range rapid.IntRange(0, 9).Draw(t, "sessions") {
				c.slots.take()
			}
			if rapid.IntRange(0, 3).Draw(t, "disabled") == 0 {
				c.Disable()
			}
		}
		r := NewRouter([]Group{group}, Options{}, nil)
		p := r.pickers[0].(*randomTwo)
		for range 10 {
			one, two, _ := p.two(p.draws.Load(), r.question(0, 0))
			var want *Channel
			if one >= 0 {
				want = group.Channels[one]
			}
			if two >= 0 && perWeight(group.Channels[two]).Cmp(perWeight(want)) < 0 {
				want = group.Channels[two]
			}
			n := 0
			for _, c := range group.Channels {
				if usable(c) {
					n++
				}
			}
			if one == two && one >= 0 || one < 0 && n > 0 || two < 0 && n > 1 {
				t.Fatalf("%d and %d are drawn of %d", one, two, n)
			}
			route := r.Route(client, 0)
			route.Next(0)
			if route.Channel() != want {
				t.Fatalf("given %v, want %v", route.Channel(), want)
			}
			route.Close(0)
		}
	})
}

// Draws are by weight, also among those that are left, and can be played again.
func TestRandomDrawsByWeight(t *testing.T) {
	for _, test := range []struct {
		weights  []int
		disabled string
	}{
		{[]int{1, 1, 1, 1}, ""},
		{[]int{6, 3, 1}, ""},
		{[]int{1000, 500, 10}, ""},
		{[]int{1000, 4, 2, 2}, "a"},
		{[]int{0, 3, 2, 3, 2}, "b"},
	} {
		group := Group{Mode: Random, Channels: weighing(test.weights...)}
		sum := 0
		for i, c := range group.Channels {
			if c.Key().Host == test.disabled {
				c.Disable()
			} else {
				sum += test.weights[i]
			}
		}
		const clients = 50000
		got := given(NewRouter([]Group{group}, Options{}, nil), clients)
		for i, c := range group.Channels {
			want := clients * test.weights[i] / sum
			if !usable(c) {
				want = 0
			}
			if n := strings.Count(got, c.Key().Host); n < want*97/100-50 || n > want*103/100+50 {
				t.Errorf("%v, %q disabled: %s has %d clients, want about %d", test.weights, test.disabled, c.Key().Host, n, want)
			}
		}
		older := NewRouter([]Group{group}, Options{}, nil)
		if again := given(older, 300); again != got[:300] {
			t.Errorf("%v: played again it is %s", test.weights, again)
		}
		if on := given(NewRouter([]Group{group}, Options{}, older), 300); on != got[300:600] {
			t.Errorf("%v: the draws do not go on", test.weights)
		}
	}
}

// Whatever the mode, a journey of which every dial fails comes by each channel once.
func TestJourneysComeByEachOnce(t *testing.T) {
	for _, mode := range allModes {
		r := NewRouter([]Group{{Mode: mode, Channels: weighing(9, 1, 3, 1)}}, Options{HashFailover: true}, nil)
		for range 20 {
			tried, _ := journey(r, client)
			slices.Sort(tried)
			if fmt.Sprint(tried) != "[a b c d]" {
				t.Fatalf("%s: tried %v", mode, tried)
			}
		}
	}
}

// address is that of one of many clients.
func address(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}
