//go:build !linux

package socket

import "net"

// restrict does nothing here: until its mode is set, the file has what umask leaves.
func restrict(int) error { return nil }

// PeerPID tells nothing here.
func PeerPID(*net.UnixConn) (pid int, known bool) { return 0, false }
