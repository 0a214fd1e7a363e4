//go:build unix && !linux

package socket

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// held is a file by its name. Links are not followed.
type held string

func hold(path string) (held, error) { return held(path), nil }

func (h held) Close() error { return nil }

func (h held) Stat() (os.FileInfo, error) { return os.Lstat(string(h)) }

func (h held) chown(group int) error { return os.Lchown(string(h), -1, group) }

func (h held) chmod(mode fs.FileMode) error {
	if err := unix.Fchmodat(unix.AT_FDCWD, string(h), uint32(mode.Perm()), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "chmod", Path: string(h), Err: err}
	}
	return nil
}
