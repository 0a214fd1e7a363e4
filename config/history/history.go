// Package history keeps the last configurations that were in force, so that one
// of them can be put in force again, by another process too.
//
// Each is a file of its own in a directory of the daemon, NUMBER.toml: a line of
// comment that says what it is, then the configuration. So they can be read, and
// used, without this program.
//
// What is added is in memory at once, and on disk soon after, by a goroutine of
// the store: whoever adds never waits for a disk. A file is written beside its
// place, brought to the disk and then renamed, so that a reader finds all of it or
// nothing (rename(2)). Where it cannot be written, the store says so and goes on.
package history

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"balance/patience"
)

// What is kept: the oldest goes first, but never the last two.
const (
	MaxEntries = 20
	MaxBytes   = 8 << 20 // of all configurations together
)

// maxWords bounds each of By and Why, in bytes.
const maxWords = 500

// Entry is a configuration that came into force.
type Entry struct {
	Number  int       // counts from 1, through restarts
	Time    time.Time // when it came into force
	By      string    // who asked for it; printable
	Why     string    // what was done; printable
	Changes int       // in how many ways it differed from the one before
	Data    []byte    // TOML; not to be written to
}

// Store holds entries. All methods may be called from any goroutine.
type Store struct {
	log     *slog.Logger
	writing sync.WaitGroup
	kick    chan struct{} // holds one while something is to be written

	mu      sync.Mutex
	entries []kept // guarded by mu; the oldest first
	last    int    // guarded by mu; the greatest number that was given out
	closed  bool   // guarded by mu

	place  *place // nil if it is in memory alone; written to by the goroutine only
	warned string // by that goroutine; the last problem
}

// kept is an entry, and whether it is on disk.
type kept struct {
	Entry
	saved bool
}

// diskPatience is for the directory of a store, which may be on the network.
var diskPatience = patience.New(5*time.Second, 4)

// New returns a store in memory.
func New(log *slog.Logger) *Store { return &Store{log: log, kick: make(chan struct{}, 1)} }

// Open returns the store of the daemon that the key names, in the directory that
// daemons keep their state in. Where another process has that store, this one gets
// one beside it. What cannot be had is logged, and the store is in memory then.
// It gives up when ctx ends. The caller closes the store.
func Open(ctx context.Context, directory, key string, log *slog.Logger) *Store {
	s := New(log)
	place, err := patience.Within(ctx, diskPatience, func() (*place, error) { return openPlace(directory, key) })
	if err != nil {
		log.Warn("the history of the configuration is kept in memory alone", "error", err)
		return s
	}
	for _, problem := range place.damaged {
		log.Warn("an entry of the history of the configuration is left out", "error", problem)
	}
	s.place, s.last = place, place.last
	for _, e := range place.entries {
		s.entries = append(s.entries, kept{e, true})
	}
	place.entries = nil
	s.trim()
	s.writing.Go(s.write)
	return s
}

// Add adds an entry, whose number it sets and returns.
func (s *Store) Add(e Entry) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	e.Number, e.By, e.Why = s.last, words(e.By), words(e.Why)
	s.entries = append(s.entries, kept{Entry: e})
	s.trim()
	s.changed()
	return e.Number
}

// Amend replaces the text of the last entry by one that means the same.
func (s *Store) Amend(data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.entries); n > 0 {
		s.entries[n-1].Data, s.entries[n-1].saved = data, false
		s.changed()
	}
}

// changed lets the goroutine write. The caller holds mu.
func (s *Store) changed() {
	if s.place == nil || s.closed {
		return
	}
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// trim drops the oldest entries. The caller holds mu, or has the store alone.
func (s *Store) trim() {
	bytes := 0
	for i, e := range slices.Backward(s.entries) {
		bytes += len(e.Data)
		if n := len(s.entries) - i; n > MaxEntries || n > 2 && bytes > MaxBytes {
			s.entries = slices.Clone(s.entries[i+1:])
			return
		}
	}
}

// Entries returns all entries, the oldest first. The last is in force.
func (s *Store) Entries() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Entry, len(s.entries))
	for i := range s.entries {
		list[i] = s.entries[i].Entry
	}
	return list
}

// Close brings to the disk what is not there yet, for which it waits five seconds
// at most, and gives the directory free. What is added afterwards is in memory
// alone.
func (s *Store) Close() {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if s.place == nil || closed {
		return
	}
	close(s.kick)
	_, err := patience.Within(context.Background(), diskPatience, func() (none struct{}, err error) {
		s.writing.Wait()
		return none, nil
	})
	if err != nil {
		s.log.Warn("the history of the configuration may not be on disk", "error", err)
	}
}

// write brings to the disk what has changed, until the store is closed.
func (s *Store) write() {
	defer s.place.Close()
	for range s.kick {
		s.save()
	}
	s.save() // what failed before
}

// save writes what is not on disk, and removes what is not in memory.
func (s *Store) save() {
	s.mu.Lock()
	var unsaved []Entry
	for _, e := range s.entries {
		if !e.saved {
			unsaved = append(unsaved, e.Entry)
		}
	}
	first := s.last + 1
	if len(s.entries) > 0 {
		first = s.entries[0].Number
	}
	s.mu.Unlock()
	if len(unsaved) == 0 {
		return
	}
	for _, e := range unsaved {
		if err := s.place.write(e); err != nil {
			if s.warned != err.Error() {
				s.warned = err.Error()
				s.log.Warn("cannot save the history of the configuration, it is kept in memory", "error", err)
			}
			return
		}
		s.mark(e)
	}
	s.warned = ""
	s.place.prune(first)
}

// mark notes that an entry is on disk, unless it was amended meanwhile.
func (s *Store) mark(e Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.entries {
		k := &s.entries[i]
		if k.Number == e.Number && string(k.Data) == string(e.Data) {
			k.saved = true
		}
	}
}

// words makes a text a printable one of bounded length.
func words(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
	if len(text) > maxWords {
		text = strings.ToValidUTF8(text[:maxWords], "") + "…"
	}
	return text
}
