package control

import (
	"cmp"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"balance/control/counters"
	"balance/engine"
	"balance/engine/spec"
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

// CountersName returns the stats_file of a configuration. If it has none it is
// one that is named after the first address of the first listener.
func CountersName(c *spec.Config) string {
	if c.Control.StatsFile == "" {
		return url.PathEscape(c.Listeners[0].Listen[0])
	}
	return c.Control.StatsFile
}

// OpenCounters is counters.Open, and makes the runtime directory if the file is
// to be there.
func OpenCounters(path string, log *slog.Logger) (*counters.File, error) {
	if filepath.Dir(path) == Directory() {
		dir, err := makeDirectory(Directory(), false)
		if err != nil {
			return nil, err
		}
		dir.Close()
	}
	return counters.Open(path, log)
}

// Saved is what a counters file tells about a daemon, which may have ended.
type Saved struct {
	Path     string
	Identity Identity  // its listeners alone
	Updated  time.Time // when the daemon last wrote to it
	status   []engine.ListenerStatus
}

// ReadCounters reads a counters file, whoever writes to it meanwhile.
func ReadCounters(path string) (*Saved, error) {
	records, updated, err := counters.Read(path)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(records, func(a, b counters.Record) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Number, b.Number))
	})
	saved := &Saved{Path: path, Updated: updated}
	for _, r := range records {
		if r.Group >= 0 {
			saved.add(r)
		}
	}
	return saved, nil
}

// add puts a record behind the one before it. One that does not belong there,
// since it was written to meanwhile or one is missing, is left out.
func (s *Saved) add(r counters.Record) {
	l := s.listener(r)
	if r.Group == len(l.Groups) {
		l.Groups = append(l.Groups, engine.GroupStatus{Mode: r.Mode})
	}
	if r.Group >= len(l.Groups) || r.Number != len(l.Groups[r.Group].Channels) {
		return
	}
	channel := engine.ChannelStatus{
		Key:      r.Key,
		State:    r.ChannelState(),
		Active:   r.Active,
		Limit:    r.Limit,
		Sessions: r.Sessions, Failures: r.Failures, Sent: r.Sent, Received: r.Received,
	}
	if r.Address.IsValid() {
		channel.Addresses = []netip.AddrPort{netip.AddrPortFrom(r.Address, r.Key.Port)}
	}
	l.Groups[r.Group].Channels = append(l.Groups[r.Group].Channels, channel)
}

func (s *Saved) listener(r counters.Record) *engine.ListenerStatus {
	for i := range s.status {
		if s.status[i].Name == r.Listener {
			return &s.status[i]
		}
	}
	s.Identity.Listeners = append(s.Identity.Listeners, Listener{Name: r.Listener, Addresses: strings.Fields(r.Listen)})
	s.status = append(s.status, engine.ListenerStatus{Name: r.Listener})
	return &s.status[len(s.status)-1]
}

// Stale reports whether no daemon writes to the file any more: it would have
// done so each second.
func (s *Saved) Stale() bool { return time.Since(s.Updated) > 3*counters.Every }

// Answer answers a request about a listener from the file, if it is one that
// needs the counters alone: show without -l, mrtg-bytes, mrtg-conns.
func (s *Saved) Answer(listener, request string) (lines []string, status Status, handled bool) {
	name, args := Resolve(request)
	for _, l := range s.status {
		if l.Name != listener {
			continue
		}
		switch c, _ := find(name); {
		case name == "show" && len(args) == 0:
			lines = Table(l, false)
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
