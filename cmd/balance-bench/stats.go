//go:build linux

package main

import (
	"math"
	"slices"
)

// median is the middle of values, or the mean of the two middle ones; NaN of
// nothing. It leaves values as they are.
func median(values []float64) float64 {
	return quantile(values, 0.5)
}

// quantile is the value that the share p (0 to 1) of values is below: one of
// them, or between the two next to it, in proportion; NaN of nothing. It leaves
// values as they are.
func quantile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	whole, part := math.Modf(p * float64(len(s)-1))
	i := int(whole)
	if part == 0 {
		return s[i]
	}
	return s[i]*(1-part) + s[i+1]*part
}

// ratio is value over base; NaN where that says nothing.
func ratio(value, base float64) float64 {
	if base <= 0 {
		return math.NaN()
	}
	return value / base
}

// best is the best of values, NaN left out; NaN if there are none.
func best(values []float64, most bool) float64 {
	b := math.NaN()
	for _, v := range values {
		if math.IsNaN(v) {
			continue
		}
		if math.IsNaN(b) || (most && v > b) || (!most && v < b) {
			b = v
		}
	}
	return b
}
