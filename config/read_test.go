package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// returns fails the test if f does not.
func returns(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("it does not return")
	}
}

func TestReadRefusesAtOnce(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "socket")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, socket, "/dev/tty"} {
		link := filepath.Join(dir, "link")
		os.Remove(link)
		if err := os.Symlink(path, link); err != nil {
			t.Fatal(err)
		}
		returns(t, func() {
			if _, err := readRegular(link); err != errNotRegular {
				t.Errorf("%s: %v", path, err)
			}
		})
	}
}

// A file that a FIFO takes the place of, again and again, is read or refused,
// and no read waits for somebody to write to the FIFO.
func TestReadWhileSwapped(t *testing.T) {
	dir := t.TempDir()
	name := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(name("file"), []byte(small), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(name("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			os.Symlink([]string{"file", "fifo"}[i%2], name("next"))
			os.Rename(name("next"), name("link"))
		}
	}()
	defer func() { close(stop); <-stopped }()
	returns(t, func() {
		read, refused := 0, 0
		for read < 1000 || refused < 1000 {
			data, err := readRegular(name("link"))
			switch {
			case err == nil && string(data) == small:
				read++
			case err == errNotRegular:
				refused++
			case !errors.Is(err, fs.ErrNotExist): // it is not there yet
				t.Errorf("%q, %v", data, err)
				return
			}
		}
	})
}

// /proc/kmsg passes for a regular file, and a read waits for the next message
// of the kernel.
func TestReadOfTheKernelLog(t *testing.T) {
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("/proc/kmsg", link); err != nil {
		t.Fatal(err)
	}
	if file, err := os.Open(link); err != nil {
		t.Skipf("this user cannot open it: %v", err)
	} else {
		file.Close()
	}
	returns(t, func() {
		if _, err := readRegular(link); err == nil || !strings.Contains(err.Error(), "a read would wait") {
			t.Error(err)
		}
	})
}
