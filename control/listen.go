package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// dialTimeout bounds a connection to a socket: one whose queue is full would
// wait.
const dialTimeout = 2 * time.Second

func dial(path string) (net.Conn, error) {
	return net.DialTimeout("unix", path, dialTimeout)
}

// bind opens the socket of this process in the directory, with mode 0600 from
// the moment it exists. A stale socket in its place is taken over.
func bind(dir *os.File) (*net.UnixListener, error) {
	path := filepath.Join(dir.Name(), fmt.Sprintf("%d.sock", os.Getpid()))
	if err := removeStale(path); err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var inner error
		if err := c.Control(func(fd uintptr) { inner = restrict(int(fd)) }); err != nil {
			return err
		}
		return inner
	}}
	listener, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	unix := listener.(*net.UnixListener)
	unix.SetUnlinkOnClose(false) // by then the name may stand for another's
	if err := os.Chmod(path, 0o600); err != nil {
		unix.Close()
		return nil, err
	}
	return unix, nil
}

// errLive tells that a socket has a daemon behind it.
var errLive = errors.New("it belongs to a running daemon")

// removeStale removes a socket that nobody listens on any more. The caller
// holds the lock of the directory.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%q is not a socket", path)
	}
	conn, err := dial(path)
	if err == nil {
		defer conn.Close()
		holder := ""
		if pid, ok := peerPID(conn.(*net.UnixConn)); ok {
			holder = fmt.Sprintf(", process %d", pid)
		}
		return fmt.Errorf("socket %q: %w%s", path, errLive, holder)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}
