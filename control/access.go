package control

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
)

// Access says who may use a socket: root, the user of the daemon, and the
// members of a group if there is one.
type Access struct {
	mode  fs.FileMode
	group int // -1 for none
}

// NewAccess returns an Access with the mode of the socket file, and the group
// given by name or number, empty for none. A group adds 0060 to the mode.
func NewAccess(mode fs.FileMode, group string) (Access, error) {
	access := Access{mode: mode, group: -1}
	if group != "" {
		found, err := user.LookupGroup(group)
		if err != nil {
			var byID error
			if found, byID = user.LookupGroupId(group); byID != nil {
				return Access{}, fmt.Errorf("control group %q: %w", group, err)
			}
		}
		id, err := strconv.Atoi(found.Gid)
		if err != nil {
			return Access{}, fmt.Errorf("control group %q: %w", group, err)
		}
		access.group = id
		access.mode |= 0o060
	}
	return access, nil
}

// shared reports whether others than the owner may use the socket.
func (a Access) shared() bool { return a.mode&0o077 != 0 }

// set gives the socket file its group and its mode, in this order: at no
// moment may somebody connect who may not do so afterwards.
func (a Access) set(path string) error {
	if a.group >= 0 {
		if err := os.Chown(path, -1, a.group); err != nil {
			return err
		}
	}
	return os.Chmod(path, a.mode)
}

// isOwner reports whether the process at the other end is one of root or of the
// daemon's user. Where the system does not tell, the permissions of the file
// have let it in.
func isOwner(conn *net.UnixConn) bool {
	uid, _, known := peer(conn)
	return !known || uid == 0 || uid == os.Geteuid()
}

// permits reports whether a process at the other end that is not an owner may
// use the socket.
func (a Access) permits(conn *net.UnixConn) bool {
	uid, gid, known := peer(conn)
	return known && a.group >= 0 && (gid == a.group || a.member(uid))
}

func (a Access) member(uid int) bool {
	found, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return false
	}
	groups, err := found.GroupIds()
	return err == nil && slices.Contains(groups, strconv.Itoa(a.group))
}
