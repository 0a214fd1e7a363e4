package portable

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// bindAnywhere lets a socket be bound to an address that this machine does not have
// (IP_TRANSPARENT in ip(7)). It takes CAP_NET_ADMIN or CAP_NET_RAW.
func bindAnywhere(conn syscall.RawConn, ipv4 bool) error {
	level, option := unix.SOL_IPV6, unix.IPV6_TRANSPARENT
	if ipv4 {
		level, option = unix.SOL_IP, unix.IP_TRANSPARENT
	}
	var inner error
	if err := conn.Control(func(fd uintptr) { inner = unix.SetsockoptInt(int(fd), level, option, 1) }); err != nil {
		return err
	}
	return os.NewSyscallError("setsockopt", inner)
}
