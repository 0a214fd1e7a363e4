package balancer

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// weighing makes usable channels a, b, … of these weights.
func weighing(weights ...int) []*Channel {
	var made []*Channel
	for i, weight := range weights {
		c := channels(fmt.Sprintf("%c", 'a'+i))[0]
		c.SetWeight(weight)
		made = append(made, c)
	}
	return made
}

// given lists the channels that so many clients are given, and whose sessions end
// at once.
func given(r *Router, clients int) string {
	var list strings.Builder
	for range clients {
		route := r.Route(client, 0)
		if route.Next(0) != Dial {
			list.WriteString("-")
			continue
		}
		list.WriteString(route.Channel().Key().Host)
		route.Close(0)
	}
	return list.String()
}

func TestWeightedRoundRobin(t *testing.T) {
	for _, test := range []struct {
		weights []int
		want    string
	}{
		{[]int{3, 1}, "aabaaaba"},
		{[]int{1, 3}, "babbbabb"},
		{[]int{2, 2, 2}, "abcabc"},
		{[]int{5, 1, 1}, "abaaaca"},
		{[]int{4, 1, 1, 1, 1}, "abacadae"},
		{[]int{1000, 1000}, "abab"},
		{[]int{2, 0, 1}, "acaaca"},
		{[]int{0, 0}, "--"},
		{[]int{4, 2, 1}, "abacabaabacaba"},
	} {
		r := NewRouter([]Group{{Channels: weighing(test.weights...)}}, Options{}, nil)
		if got := given(r, len(test.want)); got != test.want {
			t.Errorf("%v: %s, want %s", test.weights, got, test.want)
		}
	}
}

// Each cycle gives each channel as many clients as it weighs, and at no time is a
// channel more than a client away from its share, but for those who come at the
// same moment.
func TestWeightedRoundRobinIsExactAndSmooth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 50), 1, 12).Draw(t, "weights")
		group := Group{Channels: weighing(weights...)}
		sum := 0
		for _, w := range weights {
			sum += w
		}
		classes := len(slices.Compact(slices.Sorted(slices.Values(weights))))
		r := NewRouter([]Group{group}, Options{}, nil)
		got := given(r, 3*sum)
		for i, w := range weights {
			host, n := byte('a'+i), 0
			for k := range got {
				if got[k] == host {
					n++
				}
				if (k+1)%sum == 0 && n != w*(k+1)/sum || 2*max(n*sum-w*(k+1), w*(k+1)-n*sum) > 2*sum+w*classes {
					t.Fatalf("%v: %c has %d of %d clients", weights, host, n, k+1)
				}
			}
		}
	})
}

// reference is weighted round robin as it is defined: the turns of all channels on
// one line, in fractions.
type reference struct {
	channels []*Channel
	time     *big.Rat
	class    int
}

func (m *reference) next() *Channel {
	classes := map[int][]int{}
	var weights []int
	for i, c := range m.channels {
		if w := c.Weight(); w > 0 {
			if classes[w] == nil {
				weights = append(weights, w)
			}
			classes[w] = append(classes[w], i)
		}
	}
	divisor := uint64(0)
	for _, w := range weights {
		divisor = common(divisor, uint64(w))
	}
	var best *big.Rat
	var bestClass, at = 0, -1
	for k, w := range weights {
		members := classes[w]
		rate := int64(w/int(divisor)) * int64(len(members))
		for slot := int64(0); slot < 2*rate; slot++ {
			turn := big.NewRat(2*slot+1, 2*rate)
			i := members[int(slot)%len(members)]
			if order := turn.Cmp(m.time); order < 0 || order == 0 && k < m.class || !usable(m.channels[i]) {
				continue
			}
			if at < 0 || turn.Cmp(best) < 0 {
				best, bestClass, at = turn, k, i
			}
			break
		}
	}
	if at < 0 {
		return nil
	}
	if one := big.NewRat(1, 1); best.Cmp(one) >= 0 {
		best.Sub(best, one)
	}
	m.time, m.class = best, bestClass+1
	return m.channels[at]
}

// Channels that come and go, fill up and change their weights take no turn of the
// others, and lose none of theirs.
func TestRoundRobinAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		group := Group{Channels: weighing(rapid.SliceOfN(rapid.IntRange(0, 9), 1, 8).Draw(t, "weights")...)}
		r := NewRouter([]Group{group}, Options{}, nil)
		m := &reference{channels: group.Channels, time: new(big.Rat)}
		var running []*Channel
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			c := rapid.SampledFrom(group.Channels).Draw(t, "channel")
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				c.SetWeight(rapid.IntRange(0, 1000).Draw(t, "weight"))
			case 1:
				c.Disable()
			case 2:
				c.Enable()
			case 3:
				c.SetLimit(rapid.IntRange(0, 3).Draw(t, "limit"))
			case 4:
				if len(running) > 0 {
					running[0].Leave(0)
					running = running[1:]
				}
			default:
				want := m.next()
				route := r.Route(client, 0)
				route.Next(0)
				if route.Channel() != want {
					t.Fatalf("given %v, want %v", route.Channel(), want)
				}
				if want != nil {
					running = append(running, want)
				}
			}
		}
	})
}

// The turns of clients who come at the same time are each given once.
func TestWeightedTurnsAtOnce(t *testing.T) {
	group := Group{Channels: weighing(7, 3, 2)}
	r := NewRouter([]Group{group}, Options{}, nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 12 * 100 {
				route := r.Route(client, 0)
				route.Next(0)
				route.Connected(0, 0)
			}
		})
	}
	wg.Wait()
	for i, want := range []uint64{5600, 2400, 1600} {
		if n := group.Channels[i].Counters.Sessions.Load(); n != want {
			t.Errorf("channel %d has %d sessions, want %d", i, n, want)
		}
	}
}

// A client whose turn's channel does not answer goes on to the others, each once.
func TestWeightedJourneyComesByEachOnce(t *testing.T) {
	r := NewRouter([]Group{{Channels: weighing(9, 1, 3)}}, Options{}, nil)
	for range 13 {
		tried, _ := journey(r, client)
		slices.Sort(tried)
		if strings.Join(tried, " ") != "a b c" {
			t.Errorf("tried %v", tried)
		}
	}
}

func TestANewRouterContinuesTheWeightedTurn(t *testing.T) {
	cs := weighing(3, 1, 2)
	first := NewRouter([]Group{{Channels: cs}}, Options{}, nil)
	line := given(first, 6)
	for n := range 6 {
		older := NewRouter([]Group{{Channels: cs}}, Options{}, nil)
		given(older, n)
		newer := NewRouter([]Group{{Channels: []*Channel{cs[0], cs[1], cs[2]}}}, Options{}, older)
		if got := given(newer, 6-n); got != line[n:] {
			t.Errorf("after %s comes %s, want %s", line[:n], got, line[n:])
		}
	}
}

// A channel of weight 0 is up, and given to nobody.
func TestWeightZero(t *testing.T) {
	for _, mode := range allModes {
		group := Group{Mode: mode, Channels: weighing(0)}
		a := group.Channels[0]
		a.Date(later(3))
		r := NewRouter([]Group{group}, Options{HashFailover: true, Panic: 100}, nil)
		if r.Usable() || r.Panicking(0) {
			t.Errorf("%s: usable %t, panicking %t", mode, r.Usable(), r.Panicking(0))
		}
		why := r.Why(client, 0)
		if len(why) != 1 || why[0].Reason != Reason(StateWeightless) || why[0].Words != "weight 0: no new clients" {
			t.Errorf("%s: %+v", mode, why)
		}
		route := r.Route(client, 0)
		if route.Next(0) != Reject || route.Rejection() != NoneInService {
			t.Errorf("%s: a client is given it, or turned away as %s", mode, route.Rejection())
		}
		if standing := a.Standing(later(9)); standing.State != StateWeightless || standing.Since != later(3) || standing.Words(later(9)) != "weight 0: no new clients" ||
			!standing.State.Enabled() || !standing.State.Up() {
			t.Errorf("%s: %+v", mode, standing)
		}
		a.SetWeight(2)
		if route := r.Route(client, 0); !r.Usable() || route.Next(0) != Dial || a.Weight() != 2 || a.Standing(0).State != StateUntested {
			t.Errorf("%s: of weight %d it is not given out", mode, a.Weight())
		}
	}
	a := weighing(0)[0]
	a.Date(later(3))
	a.SetWeight(4)
	a.Date(later(5))
	if standing := a.Standing(0); standing.Since != later(5) {
		t.Errorf("with a weight again it is %+v", standing)
	}
	a.SetWeight(0)
	a.Date(later(7))
	if standing := a.Standing(0); standing.Since != later(7) {
		t.Errorf("without a weight again it is %+v", standing)
	}
	a = channels("a")[0]
	if a.Weight() != 1 {
		t.Errorf("a new channel has weight %d", a.Weight())
	}
	a.SetWeight(MaxWeight + 1)
	if a.Weight() != MaxWeight {
		t.Errorf("the weight became %d", a.Weight())
	}
}
