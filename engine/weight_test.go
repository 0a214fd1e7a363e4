package engine_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"balance/engine/balancer"
	"balance/engine/spec"
)

func TestWeightsTakeEffect(t *testing.T) {
	r := newRig(t)
	a, b := r.server("a"), r.server("b")
	web := free(t, "127.0.0.1")
	l := listener("web", web, a, b)
	weigh := func(weights ...int) *spec.Config {
		l.Groups = []spec.Group{group(a, b)}
		for i, weight := range weights {
			l.Groups[0].Channels[i].Weight = spec.WeightOf(weight)
		}
		return declare(l)
	}
	expect := func(when string, weights ...int) {
		t.Helper()
		if got := []int{r.status("web", a).Weight, r.status("web", b).Weight}; !slices.Equal(got, weights) {
			t.Errorf("%s: the weights are %v, want %v", when, got, weights)
		}
		by := map[string]int{}
		for range 2 * (weights[0] + weights[1]) {
			by[served(t, web, 1)]++
		}
		if by["a"] != 2*weights[0] || by["b"] != 2*weights[1] {
			t.Errorf("%s: served by %v", when, by)
		}
	}
	file := weigh(3)
	r.apply(file)
	held := dial(t, web)
	expect("at the start", 3, 1)
	total := r.status("web", a).Sessions
	r.apply(weigh(1, 4))
	if now := r.status("web", a).Sessions; now != total {
		t.Errorf("the counters are %d after the change, were %d", now, total)
	}
	expect("after a reload", 1, 4)
	if _, err := r.EditChannel(context.Background(), "web", a.key(), func(c *spec.Channel) error {
		c.Weight = spec.WeightOf(0)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	expect("after an edit", 0, 4)
	held.works()
	r.apply(file)
	expect("after the file took it back", 3, 1)
	held.works()
}

// sixteen returns who serves sixteen clients that stay.
func sixteen(t *testing.T, address string) map[string]int {
	t.Helper()
	by := map[string]int{}
	for range 16 {
		by[dial(t, address).by]++
	}
	return by
}

// TestHashKeys asks which channel is chosen: no client is there.
func TestHashKeys(t *testing.T) {
	r := newRig(t)
	var servers []*server
	for i := range 8 {
		servers = append(servers, r.server(fmt.Sprint(i)))
	}
	address := free(t, "127.0.0.1")
	l := listener("web", address, servers...)
	l.Groups[0].Mode = balancer.Hash
	chosen := func(format string) int {
		t.Helper()
		found := map[balancer.Key]bool{}
		for i := range 64 {
			verdicts, err := r.Why("web", balancer.Client{Addr: netip.MustParseAddr(fmt.Sprintf(format, i))})
			if err != nil || len(verdicts) == 0 {
				t.Fatal(verdicts, err)
			}
			found[verdicts[len(verdicts)-1].Channel.Key()] = true
		}
		return len(found)
	}
	for _, bits := range []struct{ v4, v6, want4, want6 int }{{32, 128, 8, 8}, {24, 128, 1, 8}, {32, 64, 8, 1}} {
		l.Groups = []spec.Group{l.Groups[0]}
		l.Groups[0].HashIPv4Bits.SetInt(bits.v4)
		l.Groups[0].HashIPv6Bits.SetInt(bits.v6)
		r.apply(declare(l))
		if v4, v6 := chosen("192.0.2.%d"), chosen("2001:db8::%x"); v4 < bits.want4/2 || v4 > bits.want4 || v6 < bits.want6/2 || v6 > bits.want6 {
			t.Errorf("with %d and %d bits, %d and %d channels are chosen", bits.v4, bits.v6, v4, v6)
		}
	}
	l.Groups = []spec.Group{l.Groups[0]}
	l.Groups[0].HashIPv4Bits.SetInt(32)
	if by := sixteen(t, address); len(by) != 1 {
		t.Fatalf("one client is served by %v", by)
	}
	l.Groups[0].HashLoad = 200
	r.apply(declare(l))
	if by := sixteen(t, address); len(by) < 2 {
		t.Errorf("one client is served by %v in spite of the bound", by)
	}
}

// A channel that gets no new clients takes none back, either.
func TestNobodyIsMovedToWeightZero(t *testing.T) {
	r := newRig(t)
	a, b, c := r.server("a"), r.server("b"), r.server("c")
	of := r.verdict(false)
	address := free(t, "127.0.0.1")
	l := checkedListener(address, quick(), []spec.Channel{a.checkedBy(of), c.checkedBy(r.verdict(true))}, []spec.Channel{b.checkedBy(r.verdict(true))})
	l.OnReturn = spec.CloseSessions
	l.Groups[0].Channels[0].Weight = spec.WeightOf(0)
	l.Groups[0].Channels[1].MaxConns = 1
	r.apply(declare(l))
	eventually(t, "the events tell that it is down", func() bool { return slices.Equal(r.happened(a), []string{"down"}) })
	first := dial(t, address)
	second := dial(t, address)
	if first.by != "c" || second.by != "b" {
		t.Fatalf("served by %s and %s", first.by, second.by)
	}
	first.ends()
	of.up.Store(true)
	eventually(t, "the events tell that it is up", func() bool { return slices.Equal(r.happened(a), []string{"down", "up"}) })
	third := dial(t, address)
	if third.by != "c" {
		t.Errorf("served by %s", third.by)
	}
	second.works()
}
