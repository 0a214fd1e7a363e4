//go:build unix

package socket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"balance/patience"
)

// File says how the file of a unix socket is made.
type File struct {
	Mode  fs.FileMode // its permissions
	Group int         // the number of the group of users that it belongs to; NoGroup leaves that to the kernel
}

// NoGroup is no group.
const NoGroup = -1

// LookupGroup returns the number of a group of users that is given by name or
// number, NoGroup for none.
func LookupGroup(group string) (int, error) {
	if group == "" {
		return NoGroup, nil
	}
	found, err := user.LookupGroup(group)
	if err != nil {
		var byID error
		if found, byID = user.LookupGroupId(group); byID != nil {
			return NoGroup, fmt.Errorf("group %q: %w", group, err)
		}
	}
	id, err := strconv.Atoi(found.Gid)
	if err != nil {
		return NoGroup, fmt.Errorf("group %q: %w", group, err)
	}
	return id, nil
}

// ErrLive tells that somebody listens on a unix socket.
var ErrLive = errors.New("somebody listens there")

// filePatience is for what is done to the files of sockets: a file system may hang.
var filePatience = patience.New(5*time.Second, 4)

// OpenUnix opens a listening unix socket at an absolute path. A stale one in its place
// is taken over; one that somebody listens on is left alone, which is ErrLive, as is
// whatever is no socket. Of several who open a socket at one path at once, in whatever
// processes, one gets it. It gives up when ctx ends, or after five seconds. The caller
// ends the socket with Close or Retire.
func OpenUnix(ctx context.Context, path string, file File) (*Socket, error) {
	s := &Socket{address: Address{Path: path}}
	s.file.File = file
	if err := s.come(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// come listens at the path. The caller holds mu, or has the socket alone.
func (s *Socket) come(ctx context.Context) error {
	path, file := s.address.Path, s.file.File
	bound, err := patience.Within(ctx, filePatience, func() (*bound, error) { return bind(path, file) })
	if err != nil {
		return fmt.Errorf("listen on %q: %w", s.address, err)
	}
	raw, err := bound.SyscallConn()
	if err != nil {
		bound.Close()
		return fmt.Errorf("listen on %q: %w", s.address, err)
	}
	s.listener, s.raw, s.file = bound.UnixListener, raw, bound.file
	return nil
}

// File returns how the file of a unix socket is made.
func (s *Socket) File() File {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.file.File
}

// SetFile changes how the file of a unix socket is made. On an error it is as it was
// before.
func (s *Socket) SetFile(to File) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed() {
		return net.ErrClosed
	}
	if s.refusing {
		s.file.File = to // there is none now
		return nil
	}
	changed := s.file
	changed.File = to
	if _, err := patience.Within(context.Background(), filePatience, func() (none struct{}, err error) { return none, changed.set() }); err != nil {
		return fmt.Errorf("change %q: %w", s.address, err)
	}
	s.file = changed
	return nil
}

// Lost reports whether the socket is a unix socket that listens and has no file any
// more: somebody has removed that, or put another in its place. What cannot be known is
// not lost.
func (s *Socket) Lost(ctx context.Context) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	path, isUnix := s.Unix()
	if !isUnix || s.raw == nil {
		return false
	}
	is := s.file.is
	gone, err := patience.Within(ctx, filePatience, func() (bool, error) {
		now, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return true, nil
		}
		return err == nil && (is == nil || !os.SameFile(now, is)), err
	})
	return err == nil && gone
}

// file is the file of a unix socket. Of one that has none, is is nil.
type file struct {
	File
	path string
	is   os.FileInfo
}

// set gives the file its group and mode, but if it is another's by now.
func (f *file) set() error {
	held, err := hold(f.path)
	if err != nil {
		return err
	}
	defer held.Close()
	now, err := held.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(now, f.is) {
		return fmt.Errorf("%q is not the file of this socket any more", f.path)
	}
	before := int(now.Sys().(*syscall.Stat_t).Gid)
	if f.Group != NoGroup && f.Group != before {
		if err := held.chown(f.Group); err != nil {
			return err
		}
	}
	if err := held.chmod(f.Mode); err != nil {
		held.chown(before)
		return err
	}
	return nil
}

// remove removes the file, if there is one, unless that is another's by now.
func (f *file) remove() {
	if f.is == nil {
		return
	}
	old := *f
	f.is = nil
	patience.Within(context.Background(), filePatience, func() (none struct{}, err error) {
		RemoveFile(old.path, old.is)
		return
	})
}

// RemoveFile removes the file of a unix socket, unless that is another's by now. The
// socket is to be open still: afterwards its number may be another's.
func RemoveFile(path string, is os.FileInfo) {
	if now, err := os.Lstat(path); err == nil && os.SameFile(now, is) {
		os.Remove(path)
	}
}

// bound is a unix socket that listens.
type bound struct {
	*net.UnixListener
	file file
}

// Close is for one that nobody has waited for.
func (b *bound) Close() error {
	RemoveFile(b.file.path, b.file.is)
	return b.UnixListener.Close()
}

func bind(path string, as File) (*bound, error) {
	unlock, err := lock(path)
	if err != nil {
		return nil, err
	}
	defer unlock()
	listener, is, err := ListenUnix(path)
	if err != nil {
		return nil, err
	}
	b := &bound{listener, file{as, path, is}}
	if err := b.file.set(); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// lockPatience is how long another who opens a socket at the same path is waited for:
// that takes moments only.
const lockPatience = 2 * time.Second

// lock keeps others from opening a socket at the path: one that is bound but does not
// listen yet would be stale to them, and of two who find a stale one, the second would
// remove that of the first. The lock is a file beside the socket, of this user alone,
// since flock(2) asks for no more than an open file. Who holds it removes it; so
// whoever has locked one looks whether it still is the one.
func lock(path string) (unlock func(), err error) {
	name := path + ".lock"
	for end := time.Now().Add(lockPatience); ; time.Sleep(10 * time.Millisecond) {
		file, err := openLock(name)
		if err != nil {
			return nil, fmt.Errorf("lock %q: %w", name, err)
		}
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && isNamed(file, name) {
			return func() {
				os.Remove(name)
				file.Close()
			}, nil
		}
		file.Close()
		if err != nil && err != unix.EWOULDBLOCK && err != unix.EINTR || time.Now().After(end) {
			return nil, fmt.Errorf("lock %q: %w", name, err)
		}
	}
}

// openLock opens the file to lock, and makes it if it is missing. A link, a pipe or
// another's file in its place is refused.
func openLock(name string) (*os.File, error) {
	const flags = unix.O_RDWR | unix.O_CREAT | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := unix.Open(name, flags, 0o600)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), name)
	info, err := file.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = errors.New("it is not a regular file")
	case int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid():
		err = fmt.Errorf("it belongs to user %d", info.Sys().(*syscall.Stat_t).Uid)
	default:
		return file, nil
	}
	file.Close()
	return nil, err
}

func isNamed(file *os.File, name string) bool {
	info, err := file.Stat()
	if err != nil {
		return false
	}
	now, err := os.Lstat(name)
	return err == nil && os.SameFile(now, info)
}

// ListenUnix listens on a unix socket at an absolute path, and returns what file that
// is. It has the mode 0600 from the moment it exists. A stale one in its place is
// removed, see RemoveStale; the caller keeps others from doing the same. The caller
// closes the listener, which leaves the file.
func ListenUnix(path string) (*net.UnixListener, os.FileInfo, error) {
	if err := RemoveStale(path); err != nil {
		return nil, nil, err
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return control(c, "fchmod", restrict) }}
	opened, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, nil, err
	}
	listener := opened.(*net.UnixListener)
	listener.SetUnlinkOnClose(false) // by then the name may stand for another's
	file, err := makePrivate(path)
	if err != nil {
		listener.Close()
		os.Remove(path)
		return nil, nil, err
	}
	return listener, file, nil
}

// makePrivate gives the file of a new unix socket the mode 0600, and returns what file it is.
func makePrivate(path string) (os.FileInfo, error) {
	held, err := hold(path)
	if err != nil {
		return nil, err
	}
	defer held.Close()
	is, err := held.Stat()
	if err != nil {
		return nil, err
	}
	if is.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("%q is not the new socket any more", path)
	}
	if err := held.chmod(0o600); err != nil {
		return nil, err
	}
	return held.Stat()
}

// connectTimeout bounds a connection to a socket whose holder is not asked anything.
const connectTimeout = 2 * time.Second

// RemoveStale removes a unix socket that nobody listens on any more. It fails with
// ErrLive if somebody does, and if what is there is no socket. The caller keeps others
// from doing the same.
func RemoveStale(path string) error {
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
	conn, err := net.DialTimeout("unix", path, connectTimeout)
	switch {
	case err == nil:
		defer conn.Close()
		if pid, ok := PeerPID(conn.(*net.UnixConn)); ok {
			return fmt.Errorf("socket %q: %w, process %d", path, ErrLive, pid)
		}
		return fmt.Errorf("socket %q: %w", path, ErrLive)
	case errors.Is(err, unix.EAGAIN): // its queue is full: connect(2) does not wait
		return fmt.Errorf("socket %q: %w", path, ErrLive)
	case !errors.Is(err, unix.ECONNREFUSED):
		return err
	}
	return os.Remove(path)
}
