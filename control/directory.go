package control

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// systemDirectory is where daemons of root, and of service managers, meet
// their clients.
const systemDirectory = "/run/balance"

// Directory returns the directory of the daemons that this process starts:
// $RUNTIME_DIRECTORY, which service managers set (systemd.exec(5)) to absolute
// paths, else
// /run/balance for root, else $XDG_RUNTIME_DIR/balance if there is such a
// directory, else one of the user's own in the temporary directory.
func Directory() string {
	return directories()[0]
}

// directories are where a client looks for daemons, beginning with that of its
// own daemons. Those of a user are looked into whatever XDG_RUNTIME_DIR is now:
// cron(8), for one, does not set it.
func directories() []string { return directoriesOf(os.Geteuid(), os.Getenv) }

func directoriesOf(uid int, getenv func(string) string) []string {
	first, _, _ := strings.Cut(getenv("RUNTIME_DIRECTORY"), ":")
	if filepath.IsAbs(first) {
		return []string{filepath.Clean(first)}
	}
	if uid == 0 {
		return []string{systemDirectory}
	}
	var list []string
	if dir := getenv("XDG_RUNTIME_DIR"); isDirectory(dir) {
		list = append(list, filepath.Join(dir, "balance"))
	}
	list = append(list, filepath.Join(os.TempDir(), fmt.Sprintf("balance-%d", uid)))
	if dir := fmt.Sprintf("/run/user/%d/balance", uid); list[0] != dir {
		list = append(list, dir)
	}
	return append(list, systemDirectory)
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir() && filepath.IsAbs(path)
}

// The modes of the directory: nobody else may write to it. Its sockets can be
// found by others only if they may be used by others.
const (
	privateDirectory fs.FileMode = 0o700
	sharedDirectory  fs.FileMode = 0o755
)

// makeDirectory opens the directory of a daemon, and makes it if it is
// missing. The caller closes it.
func makeDirectory(path string, shared bool) (*os.File, error) {
	if err := os.Mkdir(path, privateDirectory); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	dir, err := openDirectory(path, os.Geteuid())
	if err != nil {
		return nil, err
	}
	mode := privateDirectory
	if shared {
		mode = sharedDirectory
	}
	info, err := dir.Stat()
	if err == nil && info.Mode().Perm() != mode {
		if names, more := sockets(dir); more || len(names) > 0 {
			mode |= info.Mode().Perm() // another daemon may share it
		}
		err = dir.Chmod(mode)
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

// openDirectory opens a directory that belongs to one of the owners, or to
// anybody if none is given, and that nobody else may write to. It follows no
// symbolic link.
func openDirectory(path string, owners ...int) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		if info, statErr := os.Lstat(path); statErr == nil && !info.IsDir() {
			err = errors.New("it is not a directory")
		}
		return nil, fmt.Errorf("open directory %q: %w", path, err)
	}
	dir := os.NewFile(uintptr(fd), path)
	if err := checkDirectory(dir, owners); err != nil {
		dir.Close()
		return nil, fmt.Errorf("directory %q: %w", path, err)
	}
	return dir, nil
}

func checkDirectory(dir *os.File, owners []int) error {
	info, err := dir.Stat()
	if err != nil {
		return err
	}
	owner := int(info.Sys().(*syscall.Stat_t).Uid)
	owned := len(owners) == 0
	for _, uid := range owners {
		owned = owned || uid == owner
	}
	if !owned {
		return fmt.Errorf("it belongs to user %d", owner)
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("others may write to it (mode %04o)", mode)
	}
	return nil
}

var socketName = regexp.MustCompile(`^[0-9]+\.sock$`)

// sockets returns the names of the sockets in a directory that was just opened,
// and whether it holds more than is looked at.
func sockets(dir *os.File) (names []string, more bool) {
	entries, err := dir.ReadDir(maxEntries + 1)
	if err != nil {
		return nil, false
	}
	for _, entry := range entries {
		if socketName.MatchString(entry.Name()) {
			names = append(names, entry.Name())
		}
	}
	return names, len(entries) > maxEntries
}

// lockPatience is how long the lock of a directory is waited for. It is held
// for moments only.
const lockPatience = 2 * time.Second

// lockName is a file of the daemons' user alone, since flock(2) asks for no
// more than an open file: others may open the directory if it is shared. It
// stays, so that all who lock it lock the same file.
const lockName = ".lock"

// lock takes the lock of a directory. Whoever binds a socket or removes a stale
// one holds it, so that a socket that is bound but does not listen yet is not
// taken for stale. It ends with the closing of the file.
func lock(dir *os.File) (*os.File, error) {
	file, err := openLock(dir)
	if err != nil {
		return nil, fmt.Errorf("lock directory %q: %w", dir.Name(), err)
	}
	for end := time.Now().Add(lockPatience); ; time.Sleep(10 * time.Millisecond) {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return file, nil
		}
		if err != unix.EWOULDBLOCK && err != unix.EINTR || time.Now().After(end) {
			file.Close()
			return nil, fmt.Errorf("lock directory %q: %w", dir.Name(), err)
		}
	}
}

// openLock opens the file to lock, and makes it if it is missing. A link, a
// pipe or another's file in its place is refused.
func openLock(dir *os.File) (*os.File, error) {
	const flags = unix.O_RDWR | unix.O_CREAT | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := unix.Openat(int(dir.Fd()), lockName, flags, 0o600)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: lockName, Err: err}
	}
	file := os.NewFile(uintptr(fd), filepath.Join(dir.Name(), lockName))
	if err := OwnFile(file, lockName); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// OwnFile returns an error unless an open file, called name there, is a regular one of
// this user, and takes its mode from others: it is 0600 then.
func OwnFile(file *os.File, name string) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	owner := int(info.Sys().(*syscall.Stat_t).Uid)
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%q is not a regular file", name)
	case owner != os.Geteuid():
		return fmt.Errorf("%q belongs to user %d", name, owner)
	case info.Mode().Perm() != 0o600:
		return file.Chmod(0o600)
	}
	return nil
}
