// Package spelling finds the word that was meant.
package spelling

import (
	"slices"

	"github.com/agnivade/levenshtein"
)

// Nearest returns the known word that a word is most like, the first of several,
// if it is like enough for a typing error: one that has nothing in common with it is not.
func Nearest(word string, known []string) (near string, ok bool) {
	if len(known) == 0 {
		return "", false
	}
	near = slices.MinFunc(known, func(a, b string) int {
		return levenshtein.ComputeDistance(word, a) - levenshtein.ComputeDistance(word, b)
	})
	distance := levenshtein.ComputeDistance(word, near)
	if distance > max(2, len(near)/3) || word != "" && distance >= len(word) {
		return "", false
	}
	return near, true
}
