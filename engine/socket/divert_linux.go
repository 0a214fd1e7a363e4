package socket

import (
	"math"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// divert keeps new clients away from a listening socket without closing it,
// so that it can be emptied: they reach another socket with an overlapping
// address, or are refused. Handshakes that have begun still end up in the
// queue; it has been emptied once nobody has come for the time returned.
//
// The kernel's search for a listening socket (compute_score in
// net/ipv4/inet_hashtables.c) passes over a socket that is bound to another
// network interface than the one the segment came in by, and
// SO_BINDTOIFINDEX takes the index of an interface that does not exist.
// A handshake finds its listening socket by a pointer and not by a search.
//
// Without CAP_NET_RAW it fails before Linux 5.7, and ever since if the socket is
// bound to an interface already, as that of a link-local address is. Some
// sandboxes forbid it.
func divert(conn syscall.RawConn) (quiet time.Duration, err error) {
	err = control(conn, "setsockopt", func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, math.MaxInt32)
	})
	if err != nil {
		return 0, err
	}
	return handshake, nil
}

// handshake is a generous round trip.
const handshake = 250 * time.Millisecond
