package engine_test

import (
	"testing"

	"balance/engine"
)

func TestShare(t *testing.T) {
	for _, test := range []struct {
		active []int
		want   []float64
	}{
		{[]int{0, 0}, []float64{0, 0}},
		{[]int{3, 1, 0}, []float64{75, 25, 0}},
		{[]int{7}, []float64{100}},
	} {
		var g engine.GroupStatus
		for _, n := range test.active {
			g.Channels = append(g.Channels, engine.ChannelStatus{Active: n})
		}
		for i := range g.Channels {
			if got := g.Share(&g.Channels[i]); got != test.want[i] {
				t.Errorf("of %v, number %d has %v %%, want %v", test.active, i, got, test.want[i])
			}
		}
	}
}
