package control

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"balance/engine"
	"balance/engine/balancer"
)

// A counters file holds the counters of a daemon's channels, mapped into its
// memory: they outlive the daemon, and can be read without it. All numbers are
// in the byte order of the machine.
//
//	0       magic "balancec", version, byte order mark, record size (uint32 each)
//	64      time of the last update, in nanoseconds since 1970 (uint64)
//	65536   records of 1024 bytes, in blocks of 64
//
// A record:
//
//	0       balancer.Counters: sessions, failures, sent, received (uint64 each)
//	64      1 if the record is taken, group or -1, number, mode, state, port, repeat (int32 each)
//	96      active, limit (uint64 each)
//	128     name of the listener: length (uint8), text
//	384     host, likewise
//	640     address that is dialled, likewise
//	704     addresses of the listener, separated by blanks: length (uint16), text
//
// The daemon is the only writer. What is behind the counters it brings up to
// date every second.
const (
	countersMagic   = "balancec"
	countersVersion = 1
	byteOrderMark   = 0x01020304
	blockSize       = 64 << 10 // a multiple of the page size of every machine
	recordSize      = 1024
	blockRecords    = blockSize / recordSize
	maxBlocks       = 1024 // so that a file has at most 64 MiB

	atUpdated = 64 // in the file; the others are in a record

	atTaken, atGroup, atNumber, atMode, atState, atPort, atNth = 64, 68, 72, 76, 80, 84, 88
	atActive, atLimit                                          = 96, 104
	atListener, atHost, atAddress, atListen                    = 128, 384, 640, 704

	followEvery = time.Second
)

var _ [64]byte = [unsafe.Sizeof(balancer.Counters{})]byte{} // the layout depends on it

// The states of a channel in a record.
const (
	recordDisabled = iota
	recordEnabled
	recordDraining
)

// CountersSuffix ends the names of counters files in the runtime directory.
const CountersSuffix = ".counters"

// CountersPath returns the path of a counters file: the name, if it is an
// absolute path, else a file in the runtime directory.
func CountersPath(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(Directory(), name+CountersSuffix)
}

// CountersFile is the counters file of this process.
type CountersFile struct {
	file *os.File

	mu     sync.Mutex
	blocks [][]byte                       // guarded by mu; mapped
	taken  map[channelKey]*record         // guarded by mu
	owner  map[*balancer.Counters]*record // guarded by mu; of those that are taken
	free   []*record                      // guarded by mu
}

// channelKey is the identity of a channel in the file.
type channelKey struct {
	listener string
	balancer.Key
}

// record is one in the mapping. Its counters may be written to at any time by
// sessions, the rest is guarded by the file's mu.
type record struct {
	data     []byte
	counters *balancer.Counters
}

// errNotCounters tells that a file is no counters file of this version.
var errNotCounters = errors.New("it is not a counters file of this version and machine")

// OpenCounters opens a counters file, or makes it. A file that is something
// else, or damaged, is set aside under a name that ends in ".old", or ".old2" to
// ".old9" if there are such already, and the problem is told with warn. A file belongs to one process at a time.
func OpenCounters(path string, warn func(error)) (*CountersFile, error) {
	if filepath.Dir(path) == Directory() {
		dir, err := makeDirectory(Directory(), false)
		if err != nil {
			return nil, err
		}
		dir.Close()
	}
	f, err := openCounters(path)
	if errors.Is(err, errNotCounters) {
		aside, failure := setAside(path)
		if failure != nil {
			return nil, errors.Join(err, failure)
		}
		warn(fmt.Errorf("%w; it is now %q", err, aside))
		f, err = openCounters(path)
	}
	return f, err
}

// setAside gives a file another name, which no file has.
func setAside(path string) (aside string, err error) {
	for n := 1; n <= 9; n++ {
		aside = path + ".old"
		if n > 1 {
			aside += strconv.Itoa(n)
		}
		if err = os.Link(path, aside); err == nil {
			return aside, os.Remove(path)
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", err
		}
	}
	return "", err
}

func openCounters(path string) (*CountersFile, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	f := &CountersFile{file: file, taken: map[channelKey]*record{}, owner: map[*balancer.Counters]*record{}}
	if err := f.load(); err != nil {
		f.Close()
		return nil, fmt.Errorf("counters file %q: %w", path, err)
	}
	return f, nil
}

func (f *CountersFile) load() error {
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errNotCounters
	}
	if owner := int(info.Sys().(*syscall.Stat_t).Uid); owner != os.Geteuid() {
		return fmt.Errorf("it belongs to user %d", owner)
	}
	if err := unix.Flock(int(f.file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == unix.EWOULDBLOCK {
		return errors.New("another daemon counts in it")
	} else if err != nil {
		return os.NewSyscallError("flock", err)
	}
	if info.Size() == 0 {
		header := make([]byte, blockSize)
		copy(header, countersHeader())
		_, err := f.file.WriteAt(header, 0)
		return err
	}
	blocks, err := checkCounters(f.file, info.Size())
	if err != nil {
		return err
	}
	for range blocks {
		if err := f.mapBlock(); err != nil {
			return err
		}
	}
	return nil
}

func countersHeader() []byte {
	header := []byte(countersMagic)
	for _, number := range []uint32{countersVersion, byteOrderMark, recordSize} {
		header = binary.NativeEndian.AppendUint32(header, number)
	}
	return header
}

// checkCounters returns how many blocks of records a file has.
func checkCounters(file io.ReaderAt, size int64) (blocks int, err error) {
	want := countersHeader()
	header := make([]byte, len(want))
	if _, err := file.ReadAt(header, 0); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	if string(header) != string(want) || size%blockSize != 0 || size > blockSize*(1+maxBlocks) {
		return 0, errNotCounters
	}
	return int(size/blockSize) - 1, nil
}

// mapBlock maps the next block, which the file has. It frees the records of
// channels that were in no configuration any more when the daemon ended.
func (f *CountersFile) mapBlock() error {
	block, err := unix.Mmap(int(f.file.Fd()), int64(len(f.blocks)+1)*blockSize, blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	f.blocks = append(f.blocks, block)
	for at := 0; at < blockSize; at += recordSize {
		data := block[at : at+recordSize : at+recordSize]
		r := &record{data: data, counters: (*balancer.Counters)(unsafe.Pointer(&data[0]))}
		switch {
		case r.taken() && !r.sound():
			return errNotCounters
		case r.taken() && r.int(atGroup) >= 0:
			f.take(r)
		default:
			f.free = append(f.free, r)
		}
	}
	return nil
}

func (f *CountersFile) take(r *record) {
	f.taken[channelKey{r.text(atListener), r.key()}] = r
	f.owner[r.counters] = r
}

// grow adds a block. It is written, not left a hole: a full disk is an error
// here and a SIGBUS later.
func (f *CountersFile) grow() error {
	if len(f.blocks) == maxBlocks {
		return fmt.Errorf("it has %d records already", maxBlocks*blockRecords)
	}
	if _, err := f.file.WriteAt(make([]byte, blockSize), int64(len(f.blocks)+1)*blockSize); err != nil {
		return err
	}
	return f.mapBlock()
}

// Claim returns the counters of a channel, which go on where they stood.
func (f *CountersFile) Claim(listener string, key balancer.Key) (*balancer.Counters, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := f.taken[channelKey{listener, key}]; r != nil {
		return r.counters, nil
	}
	if len(listener) > math.MaxUint8 || len(key.Host) > math.MaxUint8 {
		return nil, fmt.Errorf("the name of %s is too long", key)
	}
	if len(f.free) == 0 {
		if err := f.grow(); err != nil {
			return nil, fmt.Errorf("counters file %q: %w", f.file.Name(), err)
		}
	}
	free := f.free[0]
	f.free = f.free[1:]
	clear(free.data)
	free.setText(atListener, listener)
	free.setText(atHost, key.Host)
	free.setInt(atPort, int(key.Port))
	free.setInt(atNth, key.Nth)
	free.setInt(atGroup, -1)
	free.setInt(atTaken, 1)
	f.take(free)
	return free.counters, nil
}

// Follow brings what is behind the counters up to date every second, until ctx
// ends.
func (f *CountersFile) Follow(ctx context.Context, e *engine.Engine) {
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	for {
		f.Update(e)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// Update brings it up to date now.
func (f *CountersFile) Update(e *engine.Engine) {
	f.mu.Lock()
	defer f.mu.Unlock()
	// A disk that fails loses the time alone: the rest is mapped.
	f.file.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(time.Now().UnixNano())), atUpdated)
	gone := maps.Clone(f.owner)
	listen := map[string]string{}
	for _, l := range e.Snapshot().Listeners {
		listen[l.Name] = strings.Join(addressesOf(l), " ")
	}
	e.Channels(func(listener string, group, number int, mode balancer.Mode, channel *balancer.Channel) {
		r := gone[channel.Counters]
		if r == nil {
			return
		}
		delete(gone, channel.Counters)
		if name := r.text(atListener); name != listener { // it has been renamed
			delete(f.taken, channelKey{name, r.key()})
			r.setText(atListener, listener)
			f.take(r)
		}
		r.describe(listen[listener], group, number, mode, channel)
	})
	for _, r := range gone {
		r.setInt(atGroup, -1)
	}
}

func (r *record) describe(listen string, group, number int, mode balancer.Mode, channel *balancer.Channel) {
	state := recordDisabled
	switch {
	case channel.Draining():
		state = recordDraining
	case channel.Enabled():
		state = recordEnabled
	}
	address := ""
	if addrs := channel.Addresses(); len(addrs) > 0 {
		address = addrs[0].Addr().String()
	}
	if len(address) >= atListen-atAddress {
		address = ""
	}
	r.setText(atAddress, address)
	for len(listen) > recordSize-atListen-2 {
		listen = listen[:max(0, strings.LastIndexByte(listen, ' '))]
	}
	binary.NativeEndian.PutUint16(r.data[atListen:], uint16(len(listen)))
	copy(r.data[atListen+2:], listen)
	r.setInt(atGroup, group)
	r.setInt(atNumber, number)
	r.setInt(atMode, int(mode))
	r.setInt(atState, state)
	binary.NativeEndian.PutUint64(r.data[atActive:], uint64(channel.Active()))
	binary.NativeEndian.PutUint64(r.data[atLimit:], uint64(channel.Limit()))
}

// Close unmaps the file. Nobody may use its counters any more.
func (f *CountersFile) Close() error {
	var errs []error
	for _, block := range f.blocks {
		errs = append(errs, unix.Munmap(block))
	}
	return errors.Join(append(errs, f.file.Close())...)
}

func (r *record) taken() bool { return r.int(atTaken) == 1 }

// sound reports whether no text reaches beyond its place.
func (r *record) sound() bool {
	return int(r.data[atAddress]) < atListen-atAddress &&
		int(binary.NativeEndian.Uint16(r.data[atListen:])) <= recordSize-atListen-2 &&
		r.int(atPort) >= 0 && r.int(atPort) <= math.MaxUint16
}

func (r *record) int(at int) int { return int(int32(binary.NativeEndian.Uint32(r.data[at:]))) }

func (r *record) setInt(at, value int) {
	binary.NativeEndian.PutUint32(r.data[at:], uint32(int32(value)))
}

func (r *record) text(at int) string {
	return string(r.data[at+1 : at+1+int(r.data[at])])
}

func (r *record) setText(at int, text string) {
	r.data[at] = uint8(len(text))
	copy(r.data[at+1:], text)
}

func (r *record) key() balancer.Key {
	return balancer.Key{Host: r.text(atHost), Port: uint16(r.int(atPort)), Nth: r.int(atNth)}
}
