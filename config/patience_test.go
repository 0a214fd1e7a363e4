package config

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// Attempts that hang are given up one by one; when there are many of them no
// other is made until one comes back.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &patience{limit: 5 * time.Second, most: 3}
		over := make(chan struct{})
		var attempts atomic.Int32
		hang := func() (int, error) { attempts.Add(1); <-over; return 7, nil }
		for i := range 3 {
			began := time.Now()
			_, err := within(t.Context(), p, hang)
			if err == nil || err.Error() != "the file system hangs: nothing has come back in 5s" || time.Since(began) != 5*time.Second {
				t.Errorf("attempt %d: %v after %s", i, err, time.Since(began))
			}
			if !p.waits() {
				t.Error("nothing is left behind")
			}
		}
		began := time.Now()
		_, err := within(t.Context(), p, hang)
		if err == nil || err.Error() != "the file system hangs: 3 attempts have not come back" || time.Since(began) != 0 {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		if n := attempts.Load(); n != 3 {
			t.Errorf("%d attempts were made", n)
		}
		over <- struct{}{}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := within(ctx, p, hang); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("when its context ends: %v", err)
		}
		close(over)
		synctest.Wait()
		if p.waits() {
			t.Error("what has come back is still left behind")
		}
		wrong := errors.New("wrong")
		if value, err := within(t.Context(), p, func() (int, error) { return 7, wrong }); value != 7 || err != wrong {
			t.Errorf("got %d, %v", value, err)
		}
	})
}

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
