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

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		values   []float64
		p, value float64
	}{
		{nil, 0.25, math.NaN()},
		{[]float64{7}, 0.25, 7},
		{[]float64{3, 1}, 0.25, 1.5},
		{[]float64{5, 1, 4, 2, 3}, 0.25, 2},
		{[]float64{5, 1, 4, 2, 3}, 0.75, 4},
		{[]float64{4, 1, 2, 3}, 0.75, 3.25},
		{[]float64{2, 1}, 0, 1},
		{[]float64{2, 1}, 1, 2},
	} {
		before := slices.Clone(c.values)
		if got := quantile(c.values, c.p); !same(got, c.value) {
			t.Errorf("quantile(%v, %v) = %v, want %v", c.values, c.p, got, c.value)
		}
		if !slices.Equal(before, c.values) {
			t.Errorf("quantile changed %v to %v", before, c.values)
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
