//go:build race

package planetest

// RaceDetector tells that the race detector watches, which takes ten times as
// long and memory of its own.
const RaceDetector = true
