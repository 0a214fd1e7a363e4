package socket

import (
	"net"

	"golang.org/x/sys/unix"
)

// restrict gives a unix socket that is not bound yet the mode 0600. The file
// that bind(2) makes has the mode of the socket, without what umask takes
// away (unix_bind_bsd in net/unix/af_unix.c).
func restrict(fd int) error { return unix.Fchmod(fd, 0o600) }

// PeerPID returns the number of the process at the other end, if it is known.
func PeerPID(conn *net.UnixConn) (pid int, known bool) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, false
	}
	raw.Control(func(fd uintptr) {
		if found, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(found.Pid) // 0 for one that this process cannot see (pid_namespaces(7))
		}
	})
	return pid, pid != 0
}
