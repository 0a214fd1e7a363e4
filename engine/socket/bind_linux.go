package socket

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// BindWithoutPort lets a later bind to port 0 choose the address alone. The
// port is then chosen by connect, which can use one that is taken for another
// destination, so that a source address does not run out of ports
// (IP_BIND_ADDRESS_NO_PORT in ip(7); it works for IPv6 too).
func BindWithoutPort(conn syscall.RawConn) error {
	return control(conn, "setsockopt", func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
}
