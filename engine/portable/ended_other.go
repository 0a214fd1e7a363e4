//go:build !linux

package portable

// hasEnded returns false: it is not known here before what has come is read, so who
// has said too little and ended is waited for until the time is over.
func hasEnded(int) bool { return false }
