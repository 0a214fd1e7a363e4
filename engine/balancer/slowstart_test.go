package balancer

import (
	"strings"
	"testing"
	"time"
)

// givenAt is given at that time.
func givenAt(r *Router, clients int, now int64) string {
	var list strings.Builder
	for i := range clients {
		route := r.Route(Client{Addr: address(i)}, now)
		if route.Next(now) == Dial {
			list.WriteString(route.Channel().Key().Host)
		}
		route.Close(now)
	}
	return list.String()
}

// A channel that begins to serve gets its share in proportion to the time.
func TestSlowStart(t *testing.T) {
	const clients = 3000
	for _, mode := range []Mode{RoundRobin, Hash, LeastConn, Random} {
		for _, weights := range [][]int{{1, 1}, {2, 6}} {
			group := Group{Mode: mode, Channels: weighing(weights...), SlowStart: 100 * time.Second}
			r := NewRouter([]Group{group}, Options{}, nil)
			b := group.Channels[1]
			begin := int64(7 * time.Second)
			share := func(percent int) int { // what b is given of all clients
				weight := float64(weights[1]) * float64(percent) / 100
				return int(clients * weight / (weight + float64(weights[0])))
			}
			check := func(at time.Duration, want int) {
				t.Helper()
				if n := strings.Count(givenAt(r, clients, begin+int64(at)), "b"); n < want*93/100-40 || n > want*107/100+40 {
					t.Errorf("%s, %v: after %s it is given %d of %d clients, want %d", mode, weights, at, n, clients, want)
				}
			}
			check(0, share(100)) // it was there when the program began
			b.Warm(begin)
			check(0, 0)
			check(10*time.Second, share(10))
			check(50*time.Second, share(50))
			check(90*time.Second, share(90))
			check(100*time.Second, share(100))
			check(time.Hour, share(100))
			b.Warm(begin + int64(time.Hour))
			check(time.Hour, 0)
			check(time.Hour+50*time.Second, share(50))
			group.SlowStart = 0
			r = NewRouter([]Group{group}, Options{}, r)
			check(time.Hour, share(100))
		}
	}
}

// So does its limit, which is 1 at first.
func TestSlowStartOfTheLimit(t *testing.T) {
	for _, mode := range allModes {
		group := Group{Mode: mode, Channels: channels("a:10"), SlowStart: 10 * time.Second}
		a := group.Channels[0]
		r := NewRouter([]Group{group}, Options{}, nil)
		a.Warm(later(0))
		fill := func(ms int) int {
			for {
				if route := r.Route(client, later(ms)); route.Next(later(ms)) != Dial {
					if rejection := route.Rejection(); rejection != AllFull {
						t.Errorf("%s: turned away as %s", mode, rejection)
					}
					return a.Active()
				}
			}
		}
		for _, step := range []struct{ ms, want int }{{0, 1}, {1900, 1}, {2000, 2}, {5500, 5}, {9999, 9}, {10000, 10}} {
			if n := fill(step.ms); n != step.want {
				t.Errorf("%s: after %d ms %d sessions run, want %d", mode, step.ms, n, step.want)
			}
			why := r.Why(client, later(step.ms))
			if step.ms == 5500 && (len(why) != 1 || why[0].Reason != IsFull || why[0].Words != "full, 5 of 5 while it starts, later 10") {
				t.Errorf("%s: %+v", mode, why)
			}
		}
		if !r.Usable() {
			t.Errorf("%s: a channel that starts is not usable", mode)
		}
	}
}

// With hash, clients that have come to the channel stay while its share grows.
func TestSlowStartMovesClientsOnce(t *testing.T) {
	group := Group{Mode: Hash, Channels: weighing(1, 2, 1), SlowStart: time.Minute}
	group.Channels[1].Warm(0)
	r := NewRouter([]Group{group}, Options{}, nil)
	before := givenAt(r, 500, 0)
	for second := range 61 {
		now := givenAt(r, 500, int64(time.Duration(second)*time.Second))
		for i := range now {
			if now[i] != before[i] && now[i] != 'b' {
				t.Fatalf("client %d moved from %c to %c", i, before[i], now[i])
			}
		}
		before = now
	}
}

// A channel that is held off while it starts is still the last that is left.
func TestSlowStartHeldOff(t *testing.T) {
	options := Options{HoldOff: time.Hour, HoldOffMax: time.Hour}
	group := Group{Channels: channels("a"), SlowStart: time.Minute}
	r := NewRouter([]Group{group}, options, nil)
	group.Channels[0].Warm(later(0))
	observe(group.Channels[0], options)
	route := r.Route(client, later(10))
	if route.Next(later(10)) != Dial {
		t.Error("a client is turned away")
	}
	if second := r.Route(client, later(10)); second.Next(later(10)) != Dial {
		t.Error("without a limit a second one is turned away")
	}
}

// Another client may have come between the look at a channel and the slot: neither
// the part of a limit nor a bound is passed then.
func TestTakeKeepsPartsAndBounds(t *testing.T) {
	group := Group{Mode: Hash, Channels: channels("a:10", "b"), SlowStart: 10 * time.Second, HashLoad: 150}
	r := NewRouter([]Group{group}, Options{HashFailover: true}, nil)
	a := group.Channels[0]
	a.Warm(0)
	ask := r.question(0, int64(3*time.Second))
	p := r.pickers[0].(*rendezvous)
	for taken, want := range []bool{true, true, true, false} {
		if _, ok := p.take(place{number: 1}, a, ask); ok != want {
			t.Errorf("with %d of 3 sessions a slot is taken: %t", taken, ok)
		}
	}
	for taken, want := range []bool{true, true, false} {
		if _, ok := p.take(place{number: 2, turn: 2}, group.Channels[1], ask); ok != want {
			t.Errorf("with %d of 2 sessions a slot is taken: %t", taken, ok)
		}
	}
}

// A router that goes on with an earlier one's turn goes on with its slow starts.
func TestSlowStartGoesOn(t *testing.T) {
	group := Group{Channels: weighing(1, 1), SlowStart: time.Minute}
	group.Channels[1].Warm(0)
	older := NewRouter([]Group{group}, Options{}, nil)
	givenAt(older, 3, 1)
	if got := givenAt(NewRouter([]Group{group}, Options{}, older), 20, 1); strings.Count(got, "b") > 1 {
		t.Errorf("given %s", got)
	}
}
