package portable

import (
	"net"

	"golang.org/x/sys/unix"
)

// unsentTo returns how many of the bytes that were written to a connection
// the kernel has not sent. It does not count what is under way: a reset comes
// after that.
func unsentTo(conn *net.TCPConn) (n uint32) {
	if raw, err := conn.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetUint32(int(fd), unix.SIOCOUTQNSD) })
	}
	return n
}
