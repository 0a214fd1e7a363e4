//go:build !linux

package health

// awaitExit reports that it cannot wait for a child without taking its number, so
// that only the end of its time kills what it leaves behind.
func awaitExit(int) bool { return false }
