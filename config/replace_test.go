package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func contentOf(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func namesIn(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// A file keeps its owner and its mode, a link to it stays a link, and what it held
// is beside it.
func TestReplacement(t *testing.T) {
	dir := t.TempDir()
	real := filepath.Join(dir, "real")
	if err := os.Mkdir(real, 0o700); err != nil {
		t.Fatal(err)
	}
	target, link := filepath.Join(real, "b.toml"), filepath.Join(dir, "b.toml")
	if err := os.WriteFile(target, []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real/b.toml", link); err != nil {
		t.Fatal(err)
	}
	owner := os.Getgid()
	if os.Geteuid() == 0 {
		owner = 54321
		if err := os.Chown(target, owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	r, err := PrepareReplacement(t.Context(), link, []byte("new"))
	if err != nil {
		t.Fatal(err)
	}
	if got := contentOf(t, target); got != "old" {
		t.Errorf("prepared: %q", got)
	}
	backup, err := r.Commit(t.Context())
	if err != nil || backup != target+".bak" {
		t.Errorf("backup %q, %v", backup, err)
	}
	r.Close()
	if got := contentOf(t, target) + contentOf(t, backup); got != "newold" {
		t.Errorf("content %q", got)
	}
	for _, name := range []string{target, backup} {
		info, err := os.Lstat(name)
		if err != nil {
			t.Fatal(err)
		}
		if stat := info.Sys().(*syscall.Stat_t); info.Mode() != 0o640 || int(stat.Gid) != owner {
			t.Errorf("%s: %v of group %d", name, info.Mode(), stat.Gid)
		}
	}
	if now, err := os.Readlink(link); err != nil || now != "real/b.toml" {
		t.Errorf("link to %q, %v", now, err)
	}
	if names := namesIn(t, real); !slices.Equal(names, []string{"b.toml", "b.toml.bak"}) {
		t.Errorf("left behind: %v", names)
	}
}

// What has the content already is left alone, and so is its backup.
func TestReplacementBySame(t *testing.T) {
	name := filepath.Join(t.TempDir(), "b.toml")
	if err := os.WriteFile(name, []byte("same"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := PrepareReplacement(t.Context(), name, []byte("same"))
	if err != nil {
		t.Fatal(err)
	}
	if backup, err := r.Commit(t.Context()); backup != "" || err != nil {
		t.Errorf("%q, %v", backup, err)
	}
	if names := namesIn(t, filepath.Dir(name)); len(names) != 1 {
		t.Errorf("%v", names)
	}
}

// Nothing of it stays if it is given up, or if somebody has saved the file meanwhile.
func TestReplacementGivenUp(t *testing.T) {
	name := filepath.Join(t.TempDir(), "b.toml")
	if err := os.WriteFile(name, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := PrepareReplacement(t.Context(), name, []byte("new"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("saved by an editor"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Commit(t.Context()); err == nil || !strings.Contains(err.Error(), "somebody else changed it meanwhile") {
		t.Errorf("%v", err)
	}
	r.Close()
	if got := contentOf(t, name); got != "saved by an editor" {
		t.Errorf("%q", got)
	}
	if names := namesIn(t, filepath.Dir(name)); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
	if _, err := PrepareReplacement(t.Context(), filepath.Dir(name), []byte("new")); err == nil {
		t.Error("a directory was replaced")
	}
	if _, err := PrepareReplacement(t.Context(), name+".gone", []byte("new")); err == nil {
		t.Error("a file that is not there was replaced")
	}
}
