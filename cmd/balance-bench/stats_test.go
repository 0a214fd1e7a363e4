//go:build linux

package main

import (
	"math"
	"slices"
	"testing"
)

// same compares numbers, NaN being the same as itself.
func same(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{nil, math.NaN()},
		{[]float64{7}, 7},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 3, 2}, 2.5},
		{[]float64{1, 1, 1, 1000}, 1},
	} {
		before := slices.Clone(c.values)
		if got := median(c.values); !same(got, c.want) {
			t.Errorf("median(%v) = %v, want %v", c.values, got, c.want)
		}
		if !slices.Equal(before, c.values) {
			t.Errorf("median changed %v to %v", before, c.values)
		}
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]int64, 100)
	for i := range hundred {
		hundred[i] = int64(i + 1)
	}
	thousand := make([]int64, 1000)
	for i := range thousand {
		thousand[i] = int64(i + 1)
	}
	for _, c := range []struct {
		sorted []int64
		p      float64
		want   int64
	}{
		{nil, 0.5, 0},
		{[]int64{3}, 0.001, 3},
		{[]int64{3}, 0.999, 3},
		{[]int64{1, 2}, 0.5, 1},
		{[]int64{1, 2, 3}, 0.5, 2},
		{hundred, 0, 1},
		{hundred, 0.5, 50},
		{hundred, 0.99, 99},
		{hundred, 0.999, 100},
		{hundred, 1, 100},
		{thousand, 0.99, 990},
		{thousand, 0.999, 999},
	} {
		if got := percentile(c.sorted, c.p); got != c.want {
			t.Errorf("percentile of %d values, %v = %d, want %d", len(c.sorted), c.p, got, c.want)
		}
	}
}

func TestRatioAndBest(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct{ value, base, want float64 }{
		{6, 3, 2}, {3, 6, 0.5}, {0, 5, 0}, {5, 0, nan}, {5, -1, nan}, {5, nan, nan}, {nan, 5, nan},
	} {
		if got := ratio(c.value, c.base); !same(got, c.want) {
			t.Errorf("ratio(%v, %v) = %v, want %v", c.value, c.base, got, c.want)
		}
	}
	for _, c := range []struct {
		values []float64
		most   bool
		want   float64
	}{
		{nil, false, nan},
		{[]float64{nan}, true, nan},
		{[]float64{3, 1, 2}, false, 1},
		{[]float64{3, 1, 2}, true, 3},
		{[]float64{nan, 5, nan, 4}, false, 4},
	} {
		if got := best(c.values, c.most); !same(got, c.want) {
			t.Errorf("best(%v, %v) = %v, want %v", c.values, c.most, got, c.want)
		}
	}
}

func TestShareLosesNothing(t *testing.T) {
	for _, c := range []struct{ whole, n int64 }{{0, 1}, {1, 1}, {1, 3}, {10, 3}, {1000, 7}} {
		var sum int64
		for i := range c.n {
			s := share(c.whole, i, c.n)
			if s < c.whole/c.n || s > c.whole/c.n+1 {
				t.Errorf("share(%d, %d, %d) = %d", c.whole, i, c.n, s)
			}
			sum += s
		}
		if sum != c.whole {
			t.Errorf("%d in %d shares add up to %d", c.whole, c.n, sum)
		}
	}
}
