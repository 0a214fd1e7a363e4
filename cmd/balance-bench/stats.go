//go:build linux

package main

import (
	"math"
	"slices"
)

// median is the middle of values, or the mean of the two middle ones; NaN of
// nothing. It leaves values as they are.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	middle := len(s) / 2
	if len(s)%2 == 1 {
		return s[middle]
	}
	return (s[middle-1] + s[middle]) / 2
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
