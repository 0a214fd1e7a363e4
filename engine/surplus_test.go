package engine

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestSurplus(t *testing.T) {
	for _, test := range []struct {
		loads []load
		want  []int
	}{
		{nil, []int{}},
		{[]load{{7, 1, 0}}, []int{0}},
		{[]load{{7, 0, 0}}, []int{0}},
		{[]load{{10, 1, 0}, {0, 1, 0}}, []int{5, 0}},
		{[]load{{5, 1, 0}, {4, 1, 0}}, []int{0, 0}},                // no better the other way round
		{[]load{{1, 1, 0}, {0, 1, 0}}, []int{0, 0}},                // likewise
		{[]load{{0, 1, 0}, {0, 1, 0}}, []int{0, 0}},                // nothing to share
		{[]load{{9, 3, 0}, {3, 1, 0}}, []int{0, 0}},                // by weight
		{[]load{{6, 3, 0}, {6, 1, 0}}, []int{0, 3}},                // likewise
		{[]load{{9, 1, 0}, {9, 0, 0}, {0, 1, 0}}, []int{4, 0, 0}},  // nobody moves from or to a weight of 0
		{[]load{{12, 1, 0}, {0, 1, 2}, {0, 1, 0}}, []int{7, 0, 0}}, // the limit of one leaves more to the others
		{[]load{{12, 1, 0}, {2, 1, 2}}, []int{0, 0}},               // the other is full
		{[]load{{12, 1, 5}, {0, 1, 5}}, []int{5, 0}},               // more than there is room for
		{[]load{{12, 1, 5}, {12, 1, 5}}, []int{0, 0}},              // likewise
		{[]load{{12, 1, 0}, {12, 1, 0}, {0, 2, 0}}, []int{6, 6, 0}},
	} {
		if got := surplus(test.loads); !slices.Equal(got, test.want) {
			t.Errorf("%v: %v, want %v", test.loads, got, test.want)
		}
	}
}

// Whatever the loads, what is above has room elsewhere, and once it is there next
// to nothing is above.
func TestSurplusFits(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		loads := make([]load, 1+random.IntN(6))
		for i := range loads {
			loads[i] = load{random.IntN(50), random.IntN(4), random.IntN(3) * random.IntN(40)}
		}
		before := slices.Clone(loads)
		moving := 0
		for i, n := range surplus(loads) {
			if n < 0 || n > loads[i].active || n > 0 && loads[i].weight == 0 {
				t.Fatalf("%v: %d of channel %d", loads, n, i)
			}
			loads[i].active -= n
			moving += n
		}
		for ; moving > 0; moving-- { // each to where there is the least for the weight
			best := -1
			for i, l := range loads {
				if l.weight == 0 || l.limit > 0 && l.active >= l.limit {
					continue
				}
				if best < 0 || (l.active+1)*loads[best].weight < (loads[best].active+1)*l.weight {
					best = i
				}
			}
			if best < 0 {
				t.Fatalf("%v: no room for %d", before, moving)
			}
			loads[best].active++
		}
		for i, n := range surplus(loads) {
			if n > 1 {
				t.Fatalf("%v became %v: %d of channel %d are above still", before, loads, n, i)
			}
		}
	}
}
