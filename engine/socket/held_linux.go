package socket

import (
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// held is a file that stays the same whatever its name stands for meanwhile: who may
// write to the directory may put a link in its place at any moment, and chmod(2)
// follows links.
type held struct{ *os.File }

// hold holds what has the name, be it a link. The caller closes it.
func hold(path string) (held, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return held{}, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return held{os.NewFile(uintptr(fd), path)}, nil
}

func (h held) chown(group int) error {
	if err := unix.Fchownat(int(h.Fd()), "", -1, group, unix.AT_EMPTY_PATH); err != nil {
		return &fs.PathError{Op: "chown", Path: h.Name(), Err: err}
	}
	return nil
}

func (h held) chmod(mode fs.FileMode) error {
	err := unix.Fchmodat(int(h.Fd()), "", uint32(mode.Perm()), unix.AT_EMPTY_PATH)
	if err == unix.EOPNOTSUPP { // before Linux 6.6; proc(5) leads to what is held, not to its name
		err = unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", h.Fd()), uint32(mode.Perm()))
	}
	if err != nil {
		return &fs.PathError{Op: "chmod", Path: h.Name(), Err: err}
	}
	return nil
}
