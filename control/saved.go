package control

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"balance/engine"
	"balance/engine/balancer"
)

// Saved is what a counters file tells about a daemon, which may have ended.
type Saved struct {
	Path     string
	Identity Identity  // its listeners alone
	Updated  time.Time // when the daemon last wrote what is behind the counters
	status   []engine.ListenerStatus
}

// ReadCounters reads a counters file, whoever writes to it meanwhile.
func ReadCounters(path string) (*Saved, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	blocks := 0
	if !info.Mode().IsRegular() {
		err = errNotCounters
	} else {
		blocks, err = checkCounters(file, info.Size())
	}
	if err != nil {
		return nil, fmt.Errorf("counters file %q: %w", path, err)
	}
	var records []*record
	for i := range blocks {
		data := make([]byte, blockSize)
		if _, err := file.ReadAt(data, int64(i+1)*blockSize); err != nil {
			return nil, fmt.Errorf("counters file %q: %w", path, err)
		}
		for at := 0; at < blockSize; at += recordSize {
			if r := (&record{data: data[at : at+recordSize]}); r.taken() && r.sound() && r.int(atGroup) >= 0 {
				records = append(records, r)
			}
		}
	}
	slices.SortStableFunc(records, func(a, b *record) int {
		return cmp.Or(cmp.Compare(a.int(atGroup), b.int(atGroup)), cmp.Compare(a.int(atNumber), b.int(atNumber)))
	})
	updated := make([]byte, 8)
	if _, err := file.ReadAt(updated, atUpdated); err != nil {
		return nil, fmt.Errorf("counters file %q: %w", path, err)
	}
	saved := &Saved{Path: path, Updated: time.Unix(0, int64(binary.NativeEndian.Uint64(updated)))}
	for _, r := range records {
		saved.add(r)
	}
	return saved, nil
}

// add puts a record behind the one before it. One that does not belong there,
// since it was written to meanwhile or is damaged, is left out.
func (s *Saved) add(r *record) {
	l := s.listener(r)
	group := r.int(atGroup)
	if group == len(l.Groups) {
		l.Groups = append(l.Groups, engine.GroupStatus{Mode: balancer.Mode(r.int(atMode) & 1)})
	}
	if group >= len(l.Groups) || r.int(atNumber) != len(l.Groups[group].Channels) {
		return
	}
	number := func(at int) uint64 { return binary.NativeEndian.Uint64(r.data[at:]) }
	channel := engine.ChannelStatus{
		Key:      r.key(),
		Enabled:  r.int(atState) == recordEnabled,
		Draining: r.int(atState) == recordDraining,
		Active:   int(number(atActive)),
		Limit:    int(number(atLimit)),
		Sessions: number(0), Failures: number(8), Sent: number(16), Received: number(24),
	}
	if addr, err := netip.ParseAddr(r.text(atAddress)); err == nil {
		channel.Addresses = []netip.AddrPort{netip.AddrPortFrom(addr, channel.Key.Port)}
	}
	l.Groups[group].Channels = append(l.Groups[group].Channels, channel)
}

func (s *Saved) listener(r *record) *engine.ListenerStatus {
	name := r.text(atListener)
	for i := range s.status {
		if s.status[i].Name == name {
			return &s.status[i]
		}
	}
	length := int(binary.NativeEndian.Uint16(r.data[atListen:]))
	listen := strings.Fields(string(r.data[atListen+2 : atListen+2+length]))
	s.Identity.Listeners = append(s.Identity.Listeners, Listener{Name: name, Addresses: listen})
	s.status = append(s.status, engine.ListenerStatus{Name: name})
	return &s.status[len(s.status)-1]
}

// Stale reports whether no daemon writes to the file any more: it would have
// done so each second.
func (s *Saved) Stale() bool { return time.Since(s.Updated) > 3*followEvery }

// Answer answers a request about a listener from the file, if it is one that
// needs the counters alone: show, mrtg-bytes, mrtg-conns.
func (s *Saved) Answer(listener, request string) (lines []string, status Status, handled bool) {
	name, args := Resolve(request)
	for _, l := range s.status {
		if l.Name != listener {
			continue
		}
		switch c, _ := find(name); {
		case name == "show" && c.takes(len(args)):
			lines = Table(l)
		case (name == "mrtg-bytes" || name == "mrtg-conns") && c.takes(len(args)):
			lines, status = mrtg(l, name, args)
		default:
			return nil, Misused, false
		}
		for i := range lines {
			lines[i] = printable(lines[i])
		}
		return lines, status, true
	}
	return nil, Misused, false
}

// SearchCounters reads the counters files in the runtime directories of this
// user.
func SearchCounters() (list []*Saved, errs []error) {
	for _, path := range directories() {
		dir, err := openForSearch(path)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
			continue
		}
		dir.Close()
		names, _ := filepath.Glob(filepath.Join(escapeGlob(path), "*"+CountersSuffix))
		for _, name := range names {
			saved, err := ReadCounters(name)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			list = append(list, saved)
		}
	}
	return list, errs
}

// escapeGlob takes the special meaning from the characters of a path.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}
