package portable

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// level is a socket on a system whose poller tells of what is there, and not of what
// comes.
type level struct {
	fd    int
	reads int // calls of Read
	busy  int // the most in one call of Read
	next  func(reads int) error
}

func (l *level) Read(f func(uintptr) bool) error {
	l.reads++
	if err := l.next(l.reads); err != nil {
		return err
	}
	for n := 1; ; n++ {
		l.busy = max(l.busy, n)
		if f(uintptr(l.fd)) {
			return nil
		}
		if n == 1000 {
			return errors.New("it does not pause")
		}
	}
}

func (l *level) Control(f func(uintptr)) error {
	f(uintptr(l.fd))
	return nil
}

func (l *level) Write(func(uintptr) bool) error { return errors.ErrUnsupported }

func pair(t *testing.T) (near, far int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(fds[0])
		unix.Close(fds[1])
	})
	if err := unix.SetNonblock(fds[0], true); err != nil {
		t.Fatal(err)
	}
	return fds[0], fds[1]
}

// Bytes that are there but too few are not looked at all the time.
func TestPeekPauses(t *testing.T) {
	near, far := pair(t)
	unix.Write(far, []byte("abc"))
	conn := &level{fd: near, next: func(reads int) error {
		if reads == 3 {
			unix.Write(far, []byte("d"))
		}
		return nil
	}}
	came, err := peek(conn, 3, 16)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(came.bytes()); got != "abcd" || came.ended {
		t.Errorf("%q has come, and the end: %t", got, came.ended)
	}
	came.drop()
	if conn.reads != 3 || conn.busy > 2 {
		t.Errorf("it paused %d times, and looked %d times between", conn.reads, conn.busy)
	}
}

// What has come when the time is over counts, and stays where it is.
func TestPeekInTime(t *testing.T) {
	near, far := pair(t)
	conn := &level{fd: near, next: func(int) error { return os.ErrDeadlineExceeded }}
	if _, err := peek(conn, 0, 16); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("nothing has come: %v", err)
	}
	unix.Write(far, []byte("abcdef"))
	for range 2 {
		came, err := peek(conn, 0, 4)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(came.bytes()); got != "abcd" {
			t.Errorf("%q has come", got)
		}
		came.drop()
	}
	if err := answer(conn, make([]byte, 4), []byte("S")); err != nil {
		t.Fatal(err)
	}
	reply := make([]byte, 2)
	if n, _ := unix.Read(far, reply); n != 1 || reply[0] != 'S' {
		t.Errorf("the answer is %q", reply[:n])
	}
	unix.Shutdown(far, unix.SHUT_WR)
	came, err := peek(conn, 2, 4)
	switch {
	case err != nil && hasEnded(near):
		t.Fatal(err)
	case err == nil:
		if got := string(came.bytes()); got != "ef" || !came.ended {
			t.Errorf("%q has come, and the end: %t", got, came.ended)
		}
		came.drop()
	}
	conn.next = func(int) error { return syscall.EBADF }
	if _, err := peek(conn, 0, 4); err != syscall.EBADF {
		t.Errorf("%v", err)
	}
}
