package control

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"balance/engine/socket"
)

// role is what somebody may do who connects to the socket. The greater includes
// the less.
type role int

const (
	stranger role = iota // nothing
	reader               // commands that change nothing
	member               // every command
	owner                // the same, from places that nobody else can take: root, and the user of the daemon
)

// Access says who may use a socket: root and the user of the daemon, the
// members of a group if there is one, and those of another, who may only read.
type Access struct {
	mode    fs.FileMode
	group   int // NoGroup for none
	readers int // NoGroup for none
}

// NoGroup is no group.
const NoGroup = socket.NoGroup

// ownersAlone is the access of a socket until it is given another.
var ownersAlone = Access{mode: 0o600, group: NoGroup, readers: NoGroup}

// LookupGroup returns the number of a group that is given by name or number,
// NoGroup for none.
func LookupGroup(group string) (int, error) {
	id, err := socket.LookupGroup(group)
	if err != nil {
		return NoGroup, fmt.Errorf("control %w", err)
	}
	return id, nil
}

// NewAccess returns an Access with the mode of the socket file, the group of
// members and that of readers. A group adds 0060 to the mode, and two of them
// 0066.
func NewAccess(mode fs.FileMode, group, readers int) (Access, error) {
	if readers != NoGroup && !knowsPeers {
		return Access{}, errors.New("this system does not tell who connects: there can be no group of readers")
	}
	return Access{mode: mode, group: group, readers: readers}, nil
}

// file returns the group and the mode of the socket file, NoGroup for any group.
// A file has one group: if two may connect, everybody may, and the server turns
// away who is of neither.
func (a Access) file() (group int, mode fs.FileMode) {
	switch {
	case a.group == NoGroup && a.readers == NoGroup:
		return NoGroup, a.mode
	case a.readers == NoGroup || a.readers == a.group:
		return a.group, a.mode | 0o060
	case a.group == NoGroup:
		return a.readers, a.mode | 0o060
	}
	return NoGroup, a.mode | 0o066
}

// shared reports whether others than the owner may use the socket.
func (a Access) shared() bool {
	_, mode := a.file()
	return mode&0o077 != 0
}

// set gives the socket file its group and its mode, in this order: at no
// moment may somebody connect who may not do so afterwards. To give a file to a
// group that one is a member of needs no privilege (chown(2)). If that fails,
// the file is left to its owner.
func (a Access) set(path string) error {
	group, mode := a.file()
	if group != NoGroup {
		if err := os.Lchown(path, -1, group); err != nil {
			if errors.Is(err, syscall.EPERM) {
				err = fmt.Errorf("%w: user %d is not a member of group %d", err, os.Geteuid(), group)
			}
			return errors.Join(err, os.Chmod(path, 0o600))
		}
	}
	return os.Chmod(path, mode)
}

// credentials are those of the process that connected, as of then.
type credentials struct {
	known  bool // where the system does not tell, the permissions of the file have let it in
	uid    int
	groups []int // with the supplementary ones
}

// role returns the role of a process.
func (a Access) role(c credentials) role {
	in := func(group int) bool { return group != NoGroup && slices.Contains(c.groups, group) }
	switch {
	case !c.known, c.uid == 0, c.uid == os.Geteuid():
		return owner
	case in(a.group):
		return member
	case in(a.readers):
		return reader
	}
	return stranger
}
