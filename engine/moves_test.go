package engine

import (
	"net/netip"
	"testing"
	"time"

	"balance/engine/balancer"
)

// A channel that is back takes whom its mode would give it, as many as it has room for.
func TestMoves(t *testing.T) {
	type channel struct{ weight, limit, sessions int }
	for _, test := range []struct {
		name     string
		mode     balancer.Mode
		channels []channel
		back     []int
		slow     time.Duration
		want     int // of ten clients
	}{
		{"in turn", balancer.RoundRobin, []channel{{1, 0, 5}, {1, 3, 0}}, []int{1}, 0, 3},
		{"in turn, without a limit", balancer.Random, []channel{{1, 0, 5}, {1, 0, 0}}, []int{1}, 0, 10},
		{"weight 0", balancer.RoundRobin, []channel{{1, 0, 5}, {0, 3, 0}}, []int{1}, 0, 0},
		{"slow start", balancer.RoundRobin, []channel{{1, 0, 5}, {1, 3, 0}}, []int{1}, time.Hour, 1},
		{"first", balancer.First, []channel{{1, 4, 0}, {1, 0, 0}}, []int{0}, 0, 4},
		{"first, an earlier one has room", balancer.First, []channel{{1, 4, 3}, {1, 0, 0}}, []int{1}, 0, 0},
		{"first, an earlier one is full", balancer.First, []channel{{1, 4, 4}, {1, 2, 0}}, []int{1}, 0, 2},
		{"first, both are back", balancer.First, []channel{{1, 4, 0}, {1, 2, 0}}, []int{0, 1}, 0, 6},
		{"least connections", balancer.LeastConn, []channel{{1, 0, 5}, {1, 0, 0}}, []int{1}, 0, 5},
		{"least connections, by weight", balancer.LeastConn, []channel{{2, 0, 4}, {1, 0, 0}}, []int{1}, 0, 2},
		{"least connections, more than the others", balancer.LeastConn, []channel{{1, 0, 5}, {1, 0, 7}}, []int{1}, 0, 0},
		{"least connections, the others are full", balancer.LeastConn, []channel{{1, 5, 5}, {1, 7, 0}}, []int{1}, 0, 7},
	} {
		group := balancer.Group{Mode: test.mode, SlowStart: test.slow}
		m := moves{now: int64(time.Hour), came: map[*balancer.Channel]int{}}
		for i, c := range test.channels {
			channel := balancer.NewChannel(balancer.Key{Host: "h", Port: 80, Nth: i})
			channel.SetAddresses([]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:80")})
			group.Channels = append(group.Channels, channel)
			taking := balancer.NewRouter([]balancer.Group{{Channels: group.Channels[i:]}}, balancer.Options{}, nil)
			for range c.sessions {
				route := taking.Route(balancer.Client{}, 0)
				route.Next(0)
			}
			channel.SetWeight(c.weight)
			channel.SetLimit(c.limit)
		}
		for _, i := range test.back {
			m.back = append(m.back, group.Channels[i])
			group.Channels[i].Warm(m.now)
		}
		m.router = balancer.NewRouter([]balancer.Group{group}, balancer.Options{}, nil)
		got := 0
		for range 10 {
			verdicts := m.router.Why(balancer.Client{}, m.now)
			if m.take(verdicts[len(verdicts)-1]) {
				got++
			}
		}
		if got != test.want {
			t.Errorf("%s: %d clients move, want %d", test.name, got, test.want)
		}
	}
}
