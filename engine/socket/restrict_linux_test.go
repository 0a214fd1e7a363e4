package socket

import (
	"io/fs"
	"os"
	"path/filepath"
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

// TestUnixFollowsNoLink has somebody exchange the file for a link all the time, as who
// may write to its directory can: no mode but the socket's changes.
func TestUnixFollowsNoLink(t *testing.T) {
	path := pathOf(t)
	s := openUnix(t, path, private)
	aim, link := filepath.Join(t.TempDir(), "aim"), path+".link"
	if err := os.WriteFile(aim, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(aim, link); err != nil {
		t.Fatal(err)
	}
	exchange := func() error { return unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE) }
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for exchange() == nil {
			select {
			case <-done:
				return
			default:
			}
		}
	}()
	for set, refused := 0, 0; set < 500 || refused < 500; {
		if s.SetFile(File{Mode: 0o666, Group: NoGroup}) == nil {
			set++
		} else {
			refused++
		}
	}
	close(done)
	<-ended
	if info, err := os.Stat(aim); err != nil || info.Mode() != 0o600 {
		t.Errorf("what the link aims at: %v, %v", info.Mode(), err)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		if err := exchange(); err != nil {
			t.Error(err)
		}
	}
}
