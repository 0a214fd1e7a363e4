//go:build !linux

package control

import "net"

// restrict does nothing here: the directory keeps others away until the mode
// of the socket is set.
func restrict(int) error { return nil }

// peer knows nothing here: the permissions of the directory and of the socket
// decide alone.
func peer(*net.UnixConn) (uid, gid int, known bool) { return 0, 0, false }

func peerPID(*net.UnixConn) (pid int, known bool) { return 0, false }
