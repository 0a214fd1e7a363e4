package config_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"balance/config"
)

// TestWatch changes a file in every way that editors and orchestrators do, one
// after the other, and waits each time until a call finds the new content.
func TestWatch(t *testing.T) {
	dir := t.TempDir()
	name := func(parts ...string) string { return filepath.Join(append([]string{dir}, parts...)...) }
	write := func(path, content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// As Kubernetes lays out a ConfigMap: file -> ..data/file, ..data -> ..1
	must(os.Mkdir(name("..1"), 0o755))
	write(name("..1", "file"), "start")
	must(os.Symlink("..1", name("..data")))
	must(os.Symlink(filepath.Join("..data", "file"), name("file")))

	seen := make(chan string, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() {
		config.Watch(ctx, func() []string { return []string{name("file")} }, func() {
			data, _ := os.ReadFile(name("file"))
			seen <- string(data)
		}, func(err error) { t.Errorf("warning: %v", err) })
	})
	defer watching.Wait()
	defer cancel()
	await := func(content string) { t.Helper(); awaitCall(t, seen, content) }
	await("start")

	write(name("..1", "file"), "written in place")
	await("written in place")

	must(os.Mkdir(name("..2"), 0o755))
	write(name("..2", "file"), "directory swapped")
	must(os.Symlink("..2", name("..tmp")))
	must(os.Rename(name("..tmp"), name("..data")))
	must(os.RemoveAll(name("..1")))
	await("directory swapped")

	write(name("..2", "file"), "written behind the new link")
	await("written behind the new link")

	write(name("new"), "replaced by rename")
	must(os.Rename(name("new"), name("file")))
	await("replaced by rename")

	must(os.Rename(name("file"), name("file~")))
	write(name("file"), "with a backup, as vi does")
	await("with a backup, as vi does")

	must(os.Remove(name("file")))
	await("")
	write(name("file"), "created again")
	await("created again")

	must(os.MkdirAll(name("else", "where"), 0o755))
	write(name("else", "where", "target"), "link to elsewhere")
	must(os.Symlink(name("else", "where", "target"), name("link")))
	must(os.Rename(name("link"), name("file")))
	await("link to elsewhere")

	must(os.Rename(name("else"), name("gone")))
	await("")
	must(os.MkdirAll(name("else", "where"), 0o755))
	write(name("else", "where", "target"), "a directory of the way was replaced")
	await("a directory of the way was replaced")
	write(name("else", "where", "target"), "and is watched again")
	await("and is watched again")
}

// TestWatchMore has files added to those that are watched, and taken away.
func TestWatchMore(t *testing.T) {
	first, list := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "list")
	write := func(path, content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(first, "one")
	var files atomic.Pointer[[]string]
	files.Store(&[]string{first})
	seen := make(chan string, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() {
		config.Watch(ctx, func() []string { return *files.Load() }, func() {
			content, _ := os.ReadFile(first)
			more, _ := os.ReadFile(list)
			seen <- string(content) + string(more)
		}, func(err error) { t.Errorf("warning: %v", err) })
	})
	defer watching.Wait()
	defer cancel()
	await := func(content string) { t.Helper(); awaitCall(t, seen, content) }
	await("one")
	files.Store(&[]string{first, list}) // which is not there yet
	await("one")
	write(list, " two")
	await("one two")
	write(list+"~", " three")
	if err := os.Rename(list+"~", list); err != nil {
		t.Fatal(err)
	}
	await("one three")
	write(first, "1")
	await("1 three")
	files.Store(&[]string{first})
	await("1 three")
	write(list, "")
	write(first, "I")
	await("I")
}

// awaitCall waits for a call that found the content.
func awaitCall(t *testing.T, seen <-chan string, content string) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		select {
		case got := <-seen:
			if got == content {
				return
			}
		case <-late:
			t.Fatalf("no call found %q", content)
		}
	}
}
