package engine

import (
	"maps"
	"slices"
	"testing"
	"time"

	"balance/engine/balancer"
	"balance/engine/plane"
)

func TestIdlest(t *testing.T) {
	a, b := balancer.NewChannel(balancer.Key{Host: "a"}), balancer.NewChannel(balancer.Key{Host: "b"})
	began := time.Now()
	session := func(id uint64, channel *balancer.Channel, active int) plane.Session {
		return plane.Session{ID: id, Channel: channel, Active: began.Add(time.Duration(active))}
	}
	all := []plane.Session{
		session(1, a, 9), session(2, b, 1), session(3, a, 3), session(4, a, 5), session(5, b, 7),
		session(6, b, 7), session(7, nil, 2), session(8, a, 4),
	}
	for _, test := range []struct {
		count map[*balancer.Channel]int
		want  []uint64
	}{
		{nil, nil},
		{map[*balancer.Channel]int{a: 1}, []uint64{3}},
		{map[*balancer.Channel]int{a: 3}, []uint64{3, 4, 8}},
		{map[*balancer.Channel]int{a: 99}, []uint64{1, 3, 4, 8}},
		{map[*balancer.Channel]int{a: 1, b: 2}, []uint64{2, 3, 5}},
		{map[*balancer.Channel]int{nil: 3, b: 1}, []uint64{2, 7}},
	} {
		if got := slices.Sorted(maps.Keys(idlest(slices.Clone(all), test.count))); !slices.Equal(got, test.want) {
			t.Errorf("%v: %v, want %v", test.count, got, test.want)
		}
	}
}
