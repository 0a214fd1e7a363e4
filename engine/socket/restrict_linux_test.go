package socket

import (
	"io/fs"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUnixIsPrivateFromTheStart binds as ListenUnix does, without the change of
// mode that follows.
func TestUnixIsPrivateFromTheStart(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	path := pathOf(t)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := restrict(fd); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
}
