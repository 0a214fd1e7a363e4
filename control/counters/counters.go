// Package counters keeps the counters of a daemon's channels in a file, so that
// they go on when it is started again, and can be read without it.
//
// The channels count in memory. One goroutine writes what changed to the file,
// every second and at the end: a daemon that is killed loses what it counted
// since, and a file system that fails, or does not answer, concerns nobody else.
package counters

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"balance/engine"
	"balance/engine/balancer"
	"balance/patience"
)

const (
	// Every is how often a file is written to.
	Every = time.Second
	// hangs is how long somebody waits for a file system: who opens a file
	// and who closes it. It is told what does not answer for as long.
	hangs = 2 * time.Second
)

// File is the counters file of this process. Its owner calls Start at most
// once, and Close.
type File struct {
	path string
	log  *slog.Logger
	stop chan struct{} // closed by Close
	done chan struct{} // closed when nobody writes any more; nil before Start

	mu    sync.Mutex // never held while something is written
	table *table     // guarded by mu

	// Once it has started, the rest belongs to the goroutine that writes.
	file    storage
	whole   bool     // all of the file is to be written
	size    int64    // of the file, unless it is to be written as a whole
	written []Record // what it holds, likewise
	wanted  []Record
	trouble string // what was logged last, "" since it went well
}

// storage is what is done with an *os.File.
type storage interface {
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
	WriteAt(data []byte, offset int64) (int, error)
	Close() error
}

// Open opens a counters file, or makes it; nothing is written to it before
// Start. It belongs to one process at a time. A file that is something else is
// set aside under a name that ends in ".old", or ".old2" to ".old9" if there are
// such already; a record that is damaged is left out. Both are logged, and later
// each failure to write, once. What is no regular file is an error, for it is
// rather the path that is wrong; only in the place of a file that this process
// has had it is set aside. A file system that does not answer within 2 s is an
// error.
func Open(path string, log *slog.Logger) (*File, error) {
	return within(hangs, path, func() (*File, error) { return open(path, log) })
}

// within opens a file, unless that hangs; it is closed then if it ever opens.
func within(limit time.Duration, path string, open func() (*File, error)) (*File, error) {
	p := patience.New(limit, 1)
	file, err := patience.Within(context.Background(), p, open)
	if p.Waits() {
		err = fmt.Errorf("counters file %q: %w", path, err)
	}
	return file, err
}

func open(path string, log *slog.Logger) (*File, error) {
	f := &File{path: path, log: log, stop: make(chan struct{})}
	file, size, err := openLocked(path)
	if err != nil {
		return nil, err
	}
	held, err := read(file, size)
	if err != nil {
		defer file.Close() // not before: the lock keeps another daemon from setting it aside, too
		err = fmt.Errorf("counters file %q: %w", path, err)
	}
	if errors.Is(err, errForeign) {
		file, err = f.openAnew(err)
		held, size = contents{version: version}, 0
	}
	if err != nil {
		return nil, err
	}
	if held.damaged > 0 {
		f.warn(fmt.Errorf("counters file %q: damaged records are left out: %d", path, held.damaged))
	}
	f.file = file
	f.table = newTable(held.records, maxRecords)
	f.written = held.records
	f.size = AtRecords + int64(len(f.table.places))*RecordSize
	f.whole = held.version != version || held.damaged > 0 || size != f.size
	return f, nil
}

// openLocked opens the file, or makes it, and takes its lock. To open a device
// may do something already, so what is no file is not opened.
func openLocked(path string) (file *os.File, size int64, err error) {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("counters file %q: %w", path, errNotRegular)
	}
	file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err == nil {
		err = claim(file, info)
	}
	if err != nil {
		file.Close()
		return nil, 0, fmt.Errorf("counters file %q: %w", path, err)
	}
	return file, info.Size(), nil
}

// claim takes the lock of a file, which has to be one of this user.
func claim(file *os.File, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return errNotRegular
	}
	err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == unix.EWOULDBLOCK {
		return errors.New("another daemon counts in it")
	}
	if err != nil {
		return os.NewSyscallError("flock", err)
	}
	if owner := int(info.Sys().(*syscall.Stat_t).Uid); owner != os.Geteuid() {
		return fmt.Errorf("%w, user %d", errAnothers, owner)
	}
	return nil
}

var (
	errNotRegular = errors.New("it is not a regular file")
	errAnothers   = errors.New("it belongs to another user")
)

// openAnew makes the file after what has its name was set aside for a reason.
func (f *File) openAnew(reason error) (*os.File, error) {
	aside, err := setAside(f.path)
	if err != nil {
		return nil, errors.Join(reason, err)
	}
	f.warn(fmt.Errorf("%w; it is now %q", reason, aside))
	file, _, err := openLocked(f.path)
	return file, err
}

// setAside gives whatever has the name another one, which nothing has.
func setAside(path string) (aside string, err error) {
	for n := 1; n <= 9; n++ {
		aside = path + ".old"
		if n > 1 {
			aside += strconv.Itoa(n)
		}
		if err = rename(path, aside); err == nil {
			return aside, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", err
		}
	}
	// Any of them may hold counts that somebody misses.
	return "", fmt.Errorf("%w, and so do all before it: it cannot be set aside", err)
}

// rename renames what has a name to one that nothing has when it looks. Of the
// daemons that would set a file aside, one has its lock.
func rename(from, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: fs.ErrExist}
	}
	return os.Rename(from, to)
}

// Lookup returns the counters of a channel, which go on where they stood, or nil
// for one that is not known. It waits for no file system.
func (f *File) Lookup(listener string, key balancer.Key) *balancer.Counters {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.table.lookup(identity{listener, key})
}

// Observed returns what was observed of a channel when the file was last written
// to, before this process had it; false if nothing is known.
func (f *File) Observed(listener string, key balancer.Key) (engine.Observation, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.table.known[identity{listener, key}]
	if p == nil || p.seen != 0 {
		return engine.Observation{}, false
	}
	return p.Observed, true
}

// Start has the file follow what the engine counts, until Close.
func (f *File) Start(e *engine.Engine) {
	f.done = make(chan struct{})
	go f.follow(e)
}

func (f *File) follow(e *engine.Engine) {
	defer close(f.done)
	defer func() { f.file.Close() }()
	ticker := time.NewTicker(Every)
	defer ticker.Stop()
	for {
		f.update(e)
		select {
		case <-ticker.C:
		case <-f.stop:
			f.whole = true // whatever was done to the file, it is true at the end
			f.update(e)
			return
		}
	}
}

// Close writes what was counted since, and gives the file up. After 2 s it waits
// no more for a file system, and what was counted since that answered is lost.
func (f *File) Close() error {
	if f.done == nil {
		return f.file.Close()
	}
	close(f.stop)
	select {
	case <-f.done:
		return nil
	case <-time.After(hangs):
		return fmt.Errorf("counters file %q: its file system does not answer: what was counted last is lost", f.path)
	}
}

// update writes what changed.
func (f *File) update(e *engine.Engine) {
	f.mu.Lock()
	f.table.update(e)
	f.wanted = f.table.records(f.wanted[:0])
	homeless := f.table.homeless
	f.mu.Unlock()

	stall := time.AfterFunc(hangs, func() {
		f.warn(fmt.Errorf("counters file %q: its file system does not answer", f.path))
	})
	err := f.write()
	if !stall.Stop() {
		f.log.Info("the file system of the counters file answers again", "path", f.path)
	}
	if err == nil && homeless > 0 {
		err = fmt.Errorf("counters file %q: it has no room for %d channels", f.path, homeless)
	}
	f.report(err)
}

// report logs what is wrong, if that is news.
func (f *File) report(err error) {
	trouble := ""
	if err != nil {
		trouble = err.Error()
	}
	if trouble == f.trouble {
		return
	}
	f.trouble = trouble
	if err != nil {
		f.warn(err)
	} else {
		f.log.Info("the counters file is written to again", "path", f.path)
	}
}

func (f *File) warn(err error) { f.log.Warn("counters file", "error", err) }

// write makes the file hold what is wanted. A record that cannot be written
// keeps no other from it. The head comes last: what it says of the version and
// of the time holds for all records.
func (f *File) write() error {
	if err := f.settle(); err != nil {
		return err
	}
	size := AtRecords + int64(len(f.wanted))*RecordSize
	var failure error
	if f.whole {
		f.written = f.written[:0]
		failure = f.file.Truncate(size)
	}
	data := make([]byte, RecordSize)
	for i := range f.wanted {
		if i < len(f.written) && f.written[i] == f.wanted[i] {
			continue
		}
		f.wanted[i].encode(data)
		if _, err := f.file.WriteAt(data, AtRecords+int64(i)*RecordSize); err != nil && failure == nil {
			failure = err
		}
	}
	if failure == nil {
		_, failure = f.file.WriteAt(encodeHead(time.Now()), 0)
	}
	f.whole = failure != nil // nobody knows what was written
	f.size = size
	f.written, f.wanted = f.wanted, f.written
	return failure
}

// settle sees to it that the file has its name, and notices that somebody else
// made it shorter or longer. Both is mended by writing all of it.
func (f *File) settle() error {
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	named, err := os.Lstat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && !os.SameFile(info, named):
		return f.replace()
	case err != nil:
		return err
	case !f.whole && info.Size() != f.size:
		f.whole = true
		f.warn(fmt.Errorf("counters file %q: it had %d bytes instead of %d and is written anew", f.path, info.Size(), f.size))
	}
	return nil
}

// replace makes a file with the name that leads to this one no longer. Whatever
// has it now is set aside, unless that is an empty file, or another daemon counts
// in it.
func (f *File) replace() error {
	file, size, err := openLocked(f.path)
	if err == nil && size > 0 {
		defer file.Close() // as in open
		err = errReplaced
	}
	switch {
	case err == nil:
		f.warn(fmt.Errorf("counters file %q: it was removed and is written anew", f.path))
	case errors.Is(err, errReplaced), errors.Is(err, errNotRegular), errors.Is(err, errAnothers):
		if file, err = f.openAnew(fmt.Errorf("counters file %q: %w", f.path, errReplaced)); err != nil {
			return err
		}
	default:
		return err
	}
	f.file.Close()
	f.file, f.whole = file, true
	return nil
}

// errReplaced tells that another file has the name.
var errReplaced = errors.New("it was replaced by another file")
