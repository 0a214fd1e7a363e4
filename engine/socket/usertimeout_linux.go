package socket

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// SetUserTimeout bounds how long the peer may acknowledge nothing, or keep its
// window shut, while data waits for it (TCP_USER_TIMEOUT in tcp(7)). Zero is
// the kernel's own bound. The timeout is rounded up to milliseconds.
func SetUserTimeout(conn syscall.RawConn, timeout time.Duration) error {
	return control(conn, "setsockopt", func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int((timeout+time.Millisecond-1)/time.Millisecond))
	})
}
