package history

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// systemDirectory is where daemons of root keep their state.
const systemDirectory = "/var/lib/balance"

// Directory returns where the daemons that this process starts keep their state:
// $STATE_DIRECTORY, which service managers set (systemd.exec(5)) to absolute
// paths, else /var/lib/balance for root, else $XDG_STATE_HOME/balance, else
// ~/.local/state/balance (XDG Base Directory Specification).
func Directory() (string, error) { return directoryOf(os.Geteuid(), os.Getenv) }

func directoryOf(uid int, getenv func(string) string) (string, error) {
	if first, _, _ := strings.Cut(getenv("STATE_DIRECTORY"), ":"); filepath.IsAbs(first) {
		return filepath.Clean(first), nil
	}
	if uid == 0 {
		return systemDirectory, nil
	}
	if home := getenv("XDG_STATE_HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, "balance"), nil
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "balance"), nil
	}
	return "", errors.New("there is no directory to keep state in: neither STATE_DIRECTORY nor HOME is set")
}

const (
	maxPlaces = 9         // of daemons with one key
	maxNames  = 10_000    // in a directory that are looked at
	maxHeader = 8 << 10   // bytes of the first line
	maxFile   = 2<<20 + 1 // bytes of an entry that is read
)

// place is the directory of a store. It belongs to this user, and nobody else may
// write to it, so what is in it is this user's or root's; all the same no symbolic
// link is followed there, and what belongs to another is not read.
type place struct {
	dir     *os.File
	lock    *os.File // held as long as the place is open
	entries []Entry  // that were found
	last    int      // the greatest number that was found
	damaged []error
}

// Close gives the place free for other processes.
func (p *place) Close() error { return errors.Join(p.lock.Close(), p.dir.Close()) }

// errTaken tells that another process has a place.
var errTaken = errors.New("another process has it")

// openPlace opens the first place of a key that no other process has.
func openPlace(directory, key string) (*place, error) {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, err
	}
	all, err := openDirectory(nil, filepath.Join(directory, "history"))
	if err != nil {
		return nil, err
	}
	defer all.Close()
	var taken error
	for i := range maxPlaces {
		name := key
		if i > 0 {
			name += fmt.Sprintf(".%d", i+1)
		}
		p, err := openOne(all, name)
		if !errors.Is(err, errTaken) {
			return p, err
		}
		taken = err
	}
	return nil, taken
}

func openOne(all *os.File, name string) (*place, error) {
	dir, err := openDirectory(all, name)
	if err != nil {
		return nil, err
	}
	p := &place{dir: dir}
	if p.lock, err = p.open("lock", unix.O_RDWR|unix.O_CREAT); err == nil {
		if err = unix.Flock(int(p.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == unix.EWOULDBLOCK {
			err = errTaken
		}
		if err == nil {
			err = p.read()
		}
		if err != nil {
			p.lock.Close()
		}
	}
	if err != nil {
		dir.Close()
		return nil, fmt.Errorf("directory %q: %w", dir.Name(), err)
	}
	return p, nil
}

// openDirectory opens a directory of this user, that nobody else may write to,
// and makes it if it is missing: in another, or where its path leads if that is
// nil. It is no symbolic link.
func openDirectory(in *os.File, name string) (*os.File, error) {
	at, path := unix.AT_FDCWD, name
	if in != nil {
		at, path = int(in.Fd()), filepath.Join(in.Name(), name)
	}
	if err := unix.Mkdirat(at, name, 0o700); err != nil && err != unix.EEXIST {
		return nil, &fs.PathError{Op: "mkdir", Path: path, Err: err}
	}
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open directory %q: %w", path, err)
	}
	dir := os.NewFile(uintptr(fd), path)
	info, err := dir.Stat()
	if err == nil {
		switch uid := int(info.Sys().(*syscall.Stat_t).Uid); {
		case uid != os.Geteuid():
			err = fmt.Errorf("it belongs to user %d", uid)
		case info.Mode().Perm()&0o022 != 0:
			err = fmt.Errorf("others may write to it (mode %04o)", info.Mode().Perm())
		}
	}
	if err != nil {
		dir.Close()
		return nil, fmt.Errorf("directory %q: %w", path, err)
	}
	return dir, nil
}

// open opens a regular file of this user in the place. It waits for nothing: a
// FIFO has no end (fifo(7)).
func (p *place) open(name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(int(p.dir.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: filepath.Join(p.dir.Name(), name), Err: err}
	}
	file := os.NewFile(uintptr(fd), filepath.Join(p.dir.Name(), name))
	info, err := file.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%q is not a regular file", file.Name())
	case int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid():
		err = fmt.Errorf("%q belongs to user %d", file.Name(), info.Sys().(*syscall.Stat_t).Uid)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// header is the first line of a file, behind headerMark.
type header struct {
	Number  int       `json:"number"`
	Time    time.Time `json:"time"`
	By      string    `json:"by"`
	Why     string    `json:"why"`
	Changes int       `json:"changes"`
	Hash    string    `json:"sha256"` // of what follows the line
}

const headerMark = "# balance history "

var entryName = regexp.MustCompile(`^[0-9]{6,9}\.toml$`)

func nameOf(number int) string { return fmt.Sprintf("%06d.toml", number) }

// numbers returns those of the files that are there, in order.
func (p *place) numbers() ([]int, error) {
	if _, err := p.dir.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	names, err := p.dir.Readdirnames(maxNames)
	if err != nil && err != io.EOF {
		return nil, err
	}
	var list []int
	for _, name := range names {
		if entryName.MatchString(name) {
			number, _ := strconv.Atoi(strings.TrimSuffix(name, ".toml"))
			list = append(list, number)
		}
	}
	slices.Sort(list)
	return list, nil
}

// read finds the last entries.
func (p *place) read() error {
	list, err := p.numbers()
	if err != nil {
		return err
	}
	if len(list) > 0 {
		p.last = list[len(list)-1]
	}
	for _, number := range list[max(0, len(list)-MaxEntries):] {
		e, err := p.entry(number)
		if err != nil {
			p.damaged = append(p.damaged, err)
			continue
		}
		p.entries = append(p.entries, e)
	}
	return nil
}

func (p *place) entry(number int) (Entry, error) {
	file, err := p.open(nameOf(number), unix.O_RDONLY)
	if err != nil {
		return Entry{}, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return Entry{}, err
	}
	e, err := decode(data)
	if err == nil && e.Number != number {
		err = fmt.Errorf("it says that it is number %d", e.Number)
	}
	if err != nil {
		return Entry{}, fmt.Errorf("read %q: %w", file.Name(), err)
	}
	return e, nil
}

// decode is the reverse of encode.
func decode(data []byte) (Entry, error) {
	line, rest, found := bytes.Cut(data, []byte("\n"))
	text, marked := bytes.CutPrefix(line, []byte(headerMark))
	if !found || !marked || len(line) > maxHeader {
		return Entry{}, errors.New("it does not begin as an entry of the history")
	}
	var h header
	if err := json.Unmarshal(text, &h); err != nil {
		return Entry{}, err
	}
	if h.Hash != hashOf(rest) {
		return Entry{}, errors.New("it is not whole: its SHA-256 is another")
	}
	return Entry{Number: h.Number, Time: h.Time, By: words(h.By), Why: words(h.Why), Changes: max(h.Changes, 0), Data: rest}, nil
}

// encode returns what a file holds.
func encode(e Entry) ([]byte, error) {
	text, err := json.Marshal(header{e.Number, e.Time, e.By, e.Why, e.Changes, hashOf(e.Data)})
	if err != nil {
		return nil, err
	}
	return slices.Concat([]byte(headerMark), text, []byte("\n"), e.Data), nil
}

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// unfinished is the name of what is being written. Only one process writes, and
// what it left behind when it was killed is replaced.
const unfinished = "unfinished"

// write puts an entry in its place on disk, for good: fsync(2) of a file does not
// bring its name to the disk, that of its directory does.
func (p *place) write(e Entry) (err error) {
	data, err := encode(e)
	if err != nil {
		return err
	}
	fd := int(p.dir.Fd())
	if err := unix.Unlinkat(fd, unfinished, 0); err != nil && err != unix.ENOENT {
		return p.failed("remove", unfinished, err)
	}
	file, err := p.open(unfinished, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return err
	}
	if err = file.Chmod(0o600); err == nil { // whatever the umask says
		_, err = file.Write(data)
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		name := nameOf(e.Number)
		if err = unix.Renameat(fd, unfinished, fd, name); err != nil {
			err = p.failed("write", name, err)
		}
	}
	if err != nil {
		unix.Unlinkat(fd, unfinished, 0)
		return err
	}
	return p.dir.Sync()
}

func (p *place) failed(act, name string, err error) error {
	return &fs.PathError{Op: act, Path: filepath.Join(p.dir.Name(), name), Err: err}
}

// prune removes the files with lesser numbers. One that cannot be removed is tried
// again the next time.
func (p *place) prune(first int) {
	list, err := p.numbers()
	if err != nil {
		return
	}
	for _, number := range list {
		if number < first {
			unix.Unlinkat(int(p.dir.Fd()), nameOf(number), 0)
		}
	}
}
