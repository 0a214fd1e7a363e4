package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"balance/engine/socket"
	"balance/patience"
)

// dial connects to a socket. While its queue is full, as that of a daemon that
// is stuck may be, connect(2) does not wait, so dial does, until ctx ends.
func dial(ctx context.Context, path string) (*net.UnixConn, error) {
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
		if err == nil {
			return conn.(*net.UnixConn), nil
		}
		if !errors.Is(err, syscall.EAGAIN) {
			return nil, err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

// Socket is a unix socket that this process listens on.
type Socket struct {
	*net.UnixListener
	path   string
	file   os.FileInfo // of the socket
	unlink sync.Once
}

// socketPatience is for what is done to the names of sockets.
var socketPatience = patience.New(5*time.Second, 4)

// ListenUnix opens a unix socket at an absolute path, with mode 0600 from the
// moment it exists. A stale socket in its place is taken over; one that somebody
// listens on, and whatever is no socket, is left alone. It gives up when ctx
// ends, or after five seconds: a file system may hang. The caller closes the
// socket.
func ListenUnix(ctx context.Context, path string) (*Socket, error) {
	return patience.Within(ctx, socketPatience, func() (*Socket, error) { return listenUnix(path) })
}

func listenUnix(path string) (*Socket, error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	locked, err := lock(dir)
	if err != nil {
		return nil, err
	}
	defer locked.Close()
	return bind(path)
}

// CheckUnix tells why others could take away the name of a unix socket at path,
// or keep it from being made: they may write to its directory. It returns nil if
// there is no such directory, or if this process may not look into it. It gives
// up as ListenUnix does.
func CheckUnix(ctx context.Context, path string) error {
	_, err := patience.Within(ctx, socketPatience, func() (none struct{}, err error) {
		dir, err := os.Open(filepath.Dir(path))
		if err != nil {
			return none, err
		}
		defer dir.Close()
		if err := checkDirectory(dir, nil); err != nil {
			return none, fmt.Errorf("directory %q: %w", dir.Name(), err)
		}
		return none, nil
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// bind is ListenUnix for a caller that holds the lock of the directory.
func bind(path string) (*Socket, error) {
	listener, file, err := socket.ListenUnix(path)
	if err != nil {
		return nil, err
	}
	return &Socket{UnixListener: listener, path: path, file: file}, nil
}

// Path returns the name of the socket.
func (s *Socket) Path() string { return s.path }

// Close ends the socket and removes its name, unless that is another's by now,
// or cannot be had for five seconds.
func (s *Socket) Close() error {
	// The name goes first: until then the number of the file is nobody else's.
	s.unlink.Do(func() {
		patience.Within(context.Background(), socketPatience, func() (none struct{}, err error) { s.remove(); return })
	})
	return s.UnixListener.Close()
}

func (s *Socket) remove() {
	dir, err := os.Open(filepath.Dir(s.path))
	if err != nil {
		return
	}
	defer dir.Close()
	locked, err := lock(dir)
	if err != nil {
		return
	}
	defer locked.Close()
	socket.RemoveFile(s.path, s.file)
}
