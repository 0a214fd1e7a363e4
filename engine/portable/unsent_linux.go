package portable

import "golang.org/x/sys/unix"

// unsentTo returns how many of the bytes that were written to a connection
// the kernel has not sent. It does not count what is under way: a reset comes
// after that. What was written to a unix socket is with the peer already.
func unsentTo(conn connection) (n uint32) {
	if raw, err := conn.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetUint32(int(fd), unix.SIOCOUTQNSD) })
	}
	return n
}
