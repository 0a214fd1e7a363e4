package control

import (
	"net"

	"golang.org/x/sys/unix"
)

// restrict gives a unix socket that is not bound yet the mode 0600. The file
// that bind(2) makes has the mode of the socket, without what umask takes
// away (unix_bind_bsd in net/unix/af_unix.c).
func restrict(fd int) error { return unix.Fchmod(fd, 0o600) }

// peer returns the user and the group of the process at the other end.
func peer(conn *net.UnixConn) (uid, gid int, known bool) {
	credentials := peerCredentials(conn)
	if credentials == nil {
		return 0, 0, false
	}
	return int(credentials.Uid), int(credentials.Gid), true
}

func peerPID(conn *net.UnixConn) (pid int, known bool) {
	credentials := peerCredentials(conn)
	if credentials == nil || credentials.Pid == 0 {
		return 0, false
	}
	return int(credentials.Pid), true
}

func peerCredentials(conn *net.UnixConn) *unix.Ucred {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	var credentials *unix.Ucred
	raw.Control(func(fd uintptr) {
		credentials, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err != nil {
		return nil
	}
	return credentials
}
