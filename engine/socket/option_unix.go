//go:build unix

package socket

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ShareRaw sets or clears SO_REUSEPORT. Linux, FreeBSD and macOS let sockets
// of one user share an overlapping address if all of them have it set at the
// time of the later bind.
func ShareRaw(conn syscall.RawConn, on bool) error {
	value := 0
	if on {
		value = 1
	}
	return control(conn, "setsockopt", func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, value)
	})
}

func control(conn syscall.RawConn, call string, f func(fd int) error) error {
	var inner error
	if err := conn.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return os.NewSyscallError(call, inner)
}
