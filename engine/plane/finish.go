package plane

import "time"

// Finishing is for how long at most each of the two steps lasts in which a session
// is ended in order:
//
//	told ──► put off ──► parting ──► closed
//
// While bytes move it is put off, see PutOff. When it parts, nothing that comes is
// passed on any more. What has come is delivered, with an end of stream behind it
// for both sides; what still comes is read and dropped, since a socket that is
// closed with bytes to read sends a reset (RFC 2525, 2.17), which takes along what
// the peer has not got yet. The session is closed when both sides have sent their
// end of stream, or the time is over: by a reset if there are bytes that its
// receiver has not taken, or else the kernel sends the rest. A session that still
// dials, or waits for a slot, is closed at once.
const Finishing = time.Second

// quiet is how long no byte moves between two that belong together.
const quiet = 50 * time.Millisecond

// PutOff returns for how long a session is still put off that was told to finish
// some time ago, and in which no byte has moved for a time. That the channel was
// sent the last byte may mean that an answer is under way.
func PutOff(told, idle time.Duration, owed bool) time.Duration {
	left := Finishing - told
	if !owed {
		left = min(left, quiet-idle)
	}
	return max(left, 0)
}
