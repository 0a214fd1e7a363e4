package control

import (
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// knowsPeers tells whether the system tells who connects.
const knowsPeers = true

// peer returns the credentials of the process at the other end. They are the
// kernel's own: no database of users is asked, so it takes no time.
func peer(conn *net.UnixConn) credentials {
	var c credentials
	control(conn, func(fd int) {
		if found, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			c = credentials{known: true, uid: int(found.Uid), groups: append(peerGroups(fd), int(found.Gid))}
		}
	})
	return c
}

// peerGroups returns the supplementary groups of the process at the other end
// (SO_PEERGROUPS, since Linux 4.13; none before). The kernel tells the size it
// needs if there is not enough.
func peerGroups(fd int) []int {
	groups := make([]uint32, 64)
	for {
		size := uint32(len(groups) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(unsafe.SliceData(groups))), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			var list []int
			for _, group := range groups[:size/4] {
				list = append(list, int(group))
			}
			return list
		case errno != unix.ERANGE || int(size/4) <= len(groups):
			return nil
		}
		groups = make([]uint32, size/4)
	}
}

// control calls f with the descriptor of a connection, unless that is closed.
func control(conn *net.UnixConn, f func(fd int)) {
	if raw, err := conn.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { f(int(fd)) })
	}
}
