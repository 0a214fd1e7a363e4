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

// percentile is the smallest of the sorted values that at least the share p
// (0 to 1) of them do not exceed: the nearest rank, nothing interpolated.
// It is 0 of nothing.
func percentile[T int64 | uint32](sorted []T, p float64) T {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(p * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
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
