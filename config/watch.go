package config

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"

	"balance/patience"
)

// How a file that is being written is waited for: until it has been quiet for
// so long, but not longer than that. Mounts that send no events are looked at
// every pollEvery.
const (
	quietFor    = 100 * time.Millisecond
	atMost      = time.Second
	pollEvery   = 2 * time.Second
	maxSymlinks = 40 // as the kernel allows (path_resolution(7))
)

// Watch calls changed after each change to one of the files, or to what their
// paths lead to: a file may be written in place, replaced, removed and
// created, and any symbolic link on the way may be pointed elsewhere. It
// returns when ctx ends. It calls warn when events cannot be had; the files are
// looked at every two seconds all the same.
//
// The function files returns the paths, the first of which warnings name. When
// it returns others than before, a call of changed comes within two seconds.
//
// A change of a file's attributes counts, and the first call comes when the
// watch is in place, so the caller compares the content. The calls come one
// after the other.
//
// Where the file system hangs, it is looked at anew when that is over, or when
// an event tells that a path may lead elsewhere.
func Watch(ctx context.Context, files func() []string, changed func(), warn func(error)) {
	w := &watch{path: files()[0], files: files, warn: warn}
	w.subscribe()
	defer w.unsubscribe()
	last, _ := w.follow(ctx)
	changed()

	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	quiet := time.NewTimer(0)
	quiet.Stop()
	defer quiet.Stop()
	var first time.Time // event of those that are waited out; zero if none is
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-w.events:
			if !w.concerns(event) {
				continue
			}
			if first.IsZero() {
				first = time.Now()
			}
			quiet.Reset(min(quietFor, max(0, atMost-time.Since(first))))
		case err := <-w.failures:
			warn(fmt.Errorf("watch %q: %w", w.path, err))
		case <-poll.C:
			if !first.IsZero() || lookPatience.Waits() {
				continue
			}
			if now, ok := w.look(ctx); ok && !slices.Equal(now.identities, last) {
				first = time.Now()
				quiet.Reset(quietFor)
			}
		case <-quiet.C:
			first = time.Time{}
			if now, ok := w.follow(ctx); ok {
				last = now
			}
			changed()
		}
	}
}

// watch knows the names on the way to each file: the path itself and each
// symbolic link behind it. Their directories are watched, since a watch on a
// file is lost when the file is replaced.
type watch struct {
	path     string // the first of the files
	files    func() []string
	warn     func(error)
	notifier *fsnotify.Watcher // nil if there are no events
	events   <-chan fsnotify.Event
	failures <-chan error
	names    []string // absolute; files and links whose change counts
	hanging  bool     // the last look did not come back, which was told
}

func (w *watch) concerns(event fsnotify.Event) bool {
	return slices.Contains(w.names, event.Name)
}

func (w *watch) subscribe() {
	notifier, err := fsnotify.NewWatcher()
	if err != nil {
		w.warn(fmt.Errorf("watch %q: %w; looking every %s instead", w.path, err, pollEvery))
		return
	}
	w.notifier, w.events, w.failures = notifier, notifier.Events, notifier.Errors
}

func (w *watch) unsubscribe() {
	if w.notifier != nil {
		w.notifier.Close()
	}
}

// sight is what a look at the way to the files has found.
type sight struct {
	names      []string
	identities []identity // of each file
}

// look finds the way to the files. It is false if that hangs.
func (w *watch) look(ctx context.Context) (sight, bool) {
	files := w.files()
	found, err := patience.Within(ctx, lookPatience, func() (found sight, err error) {
		for _, file := range files {
			found.names = hops(found.names, file)
			found.identities = append(found.identities, identify(file))
		}
		return found, nil
	})
	if err != nil && ctx.Err() == nil && !w.hanging {
		w.warn(fmt.Errorf("watch %q: %w", w.path, err))
	}
	w.hanging = err != nil
	return found, err == nil
}

// follow brings names up to date, and watches their directories anew: one that
// was replaced by another of the same name has no watch any more. An event
// that is lost meanwhile is none, for the files are read afterwards. It returns
// what they are now, and false if the file system hangs.
func (w *watch) follow(ctx context.Context) ([]identity, bool) {
	found, ok := w.look(ctx)
	if !ok {
		return nil, false
	}
	w.names = found.names
	if w.notifier == nil {
		return found.identities, true
	}
	notifier, names := w.notifier, w.names
	failed, err := patience.Within(ctx, lookPatience, func() ([]error, error) { return watchDirectories(notifier, names), nil })
	for _, one := range failed {
		w.warn(one)
	}
	if err != nil {
		// It holds the notifier's lock, so that is lost.
		go notifier.Close()
		w.notifier, w.events, w.failures = nil, nil, nil
		if ctx.Err() == nil {
			w.warn(fmt.Errorf("watch %q: %w; looking every %s instead", w.path, err, pollEvery))
		}
	}
	return found.identities, true
}

func watchDirectories(notifier *fsnotify.Watcher, names []string) (failed []error) {
	for _, dir := range notifier.WatchList() {
		notifier.Remove(dir) // an error says that it is gone already
	}
	for _, name := range names {
		dir := filepath.Dir(name)
		if err := notifier.Add(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, fmt.Errorf("watch directory %q: %w", dir, err))
		}
	}
	return failed
}

// hops adds to names every name on the way to the file that could be replaced by
// another: each prefix of the path, and of the path behind each link.
func hops(names []string, path string) []string {
	path, err := filepath.Abs(path)
	if err != nil {
		return names
	}
	for range maxSymlinks {
		for name := path; name != filepath.Dir(name); name = filepath.Dir(name) {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		resolved, link := followLink(path)
		if !link {
			break
		}
		path = resolved
	}
	return names
}

// followLink replaces the first symbolic link among the prefixes of the path by
// its target.
func followLink(path string) (resolved string, link bool) {
	var prefixes []string
	for name := path; name != filepath.Dir(name); name = filepath.Dir(name) {
		prefixes = append(prefixes, name)
	}
	for _, prefix := range slices.Backward(prefixes) {
		target, err := os.Readlink(prefix)
		if err != nil {
			continue
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(prefix), target)
		}
		return filepath.Join(target, path[len(prefix):]), true
	}
	return path, false
}

// identity tells two states of a file apart without reading it.
type identity struct {
	exists  bool
	size    int64
	changed time.Time
	inode   any
}

func identify(path string) identity {
	info, err := os.Stat(path)
	if err != nil {
		return identity{}
	}
	return identity{exists: true, size: info.Size(), changed: info.ModTime(), inode: inodeOf(info)}
}
