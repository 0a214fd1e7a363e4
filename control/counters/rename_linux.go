package counters

import (
	"os"

	"golang.org/x/sys/unix"
)

// rename renames what has a name to one that nothing has. A file system need
// not be able to do that in one step (rename(2), ERRORS, EINVAL).
func rename(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	switch err {
	case nil:
		return nil
	case unix.EINVAL, unix.ENOSYS:
		return renameChecked(from, to)
	}
	return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
}
