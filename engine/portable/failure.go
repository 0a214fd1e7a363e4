package portable

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// answered reports whether something has come of a socket that is being
// connected, or connect has not been called yet.
func answered(socket syscall.RawConn) (yes bool) {
	// Control fails once the socket is closed.
	socket.Control(func(fd uintptr) {
		polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		n, _ := unix.Poll(polled, 0)
		yes = n > 0
	})
	return yes
}

// failed returns why a connection has failed from which nothing is left to
// read; otherwise nil.
func failed(conn connection) error {
	return ask(conn, func(fd int) error {
		n, _, err := unix.Recvfrom(fd, make([]byte, 1), unix.MSG_PEEK)
		if n > 0 || err == unix.EAGAIN {
			return nil
		}
		return err
	})
}

// pendingError takes the error of a connection that has failed, whatever is
// left to read; otherwise it returns nil.
func pendingError(conn connection) error {
	return ask(conn, func(fd int) error {
		errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && errno != 0 {
			return syscall.Errno(errno)
		}
		return nil
	})
}

// ask asks for the error of a connection if poll says that it may have one: it
// also says so of one that is closed both ways.
func ask(conn connection, question func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	// Control fails once the session has closed the connection.
	raw.Control(func(fd uintptr) {
		polled := []unix.PollFd{{Fd: int32(fd)}}
		if n, _ := unix.Poll(polled, 0); n > 0 && polled[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0 {
			err = question(int(fd))
		}
	})
	return os.NewSyscallError("read", err)
}
