package history

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func open(t *testing.T, directory, key string) (*Store, *logBuffer) {
	t.Helper()
	log := new(logBuffer)
	s := Open(context.Background(), directory, key, slog.New(slog.NewTextHandler(log, nil)))
	t.Cleanup(s.Close)
	return s, log
}

func add(s *Store, texts ...string) {
	for _, text := range texts {
		s.Add(Entry{Time: time.Unix(1, 0).UTC(), By: "ann (7), control", Why: "because", Changes: 3, Data: []byte(text)})
	}
}

// texts are the entries as "NUMBER TEXT".
func texts(s *Store) []string {
	var list []string
	for _, e := range s.Entries() {
		list = append(list, fmt.Sprint(e.Number, " ", string(e.Data)))
	}
	return list
}

func expect(t *testing.T, s *Store, want ...string) {
	t.Helper()
	if got := texts(s); !slices.Equal(got, want) {
		t.Errorf("entries %q, want %q", got, want)
	}
}

func silent(t *testing.T, log *logBuffer) {
	t.Helper()
	if log.String() != "" {
		t.Errorf("log:\n%s", log)
	}
}

// files are the names in the place of a key.
func files(t *testing.T, directory, key string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(directory, "history", key))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestKeepsThroughRestarts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s, log := open(t, dir, "web")
	add(s, "one\n", "two\n")
	s.Amend([]byte("# a comment\ntwo\n"))
	s.Close()
	silent(t, log)
	path := filepath.Join(dir, "history", "web", "000002.toml")
	content, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(content), "# balance history {") || !strings.HasSuffix(string(content), "}\n# a comment\ntwo\n") {
		t.Errorf("%q, %v", content, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}

	s, log = open(t, dir, "web")
	expect(t, s, "1 one\n", "2 # a comment\ntwo\n")
	first := s.Entries()[0]
	if !first.Time.Equal(time.Unix(1, 0)) || first.By != "ann (7), control" || first.Why != "because" || first.Changes != 3 {
		t.Errorf("%+v", first)
	}
	add(s, "three\n")
	expect(t, s, "1 one\n", "2 # a comment\ntwo\n", "3 three\n")
	other, _ := open(t, dir, "mail")
	expect(t, other)
	silent(t, log)
}

func TestKeepsTheLast(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir, "web")
	for i := range MaxEntries + 5 {
		add(s, fmt.Sprint(i))
	}
	s.Close()
	if names := files(t, dir, "web"); len(names) != MaxEntries+1 || names[0] != "000006.toml" || names[MaxEntries] != "lock" {
		t.Errorf("files %v", names)
	}
	s, _ = open(t, dir, "web")
	if list := texts(s); len(list) != MaxEntries || list[0] != "6 5" {
		t.Errorf("entries %q", list)
	}
	big := strings.Repeat("#", MaxBytes/4)
	for range 5 {
		add(s, big)
	}
	if n := len(s.Entries()); n != 4 {
		t.Errorf("%d entries of a quarter of what may be kept", n)
	}
	huge := strings.Repeat("#", MaxBytes)
	add(s, huge, huge)
	if n := len(s.Entries()); n != 2 {
		t.Errorf("%d entries of all that may be kept", n)
	}
}

// What was killed in the middle of writing leaves an unfinished file, or after a
// loss of power an entry that is not whole.
func TestWhatIsNotWhole(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir, "web")
	add(s, "one", "two", "three")
	s.Close()
	place := filepath.Join(dir, "history", "web")
	whole, err := os.ReadFile(filepath.Join(place, "000002.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		unfinished:    string(whole[:20]),
		"000002.toml": string(whole[:len(whole)-1]),
		"000007.toml": "",
		"000008.toml": headerMark + "{}\n",
		"000009.toml": string(whole),
	} {
		if err := os.WriteFile(filepath.Join(place, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, log := open(t, dir, "web")
	expect(t, s, "1 one", "3 three")
	add(s, "four")
	expect(t, s, "1 one", "3 three", "10 four")
	s.Close()
	if n := strings.Count(log.String(), "is left out"); n != 4 {
		t.Errorf("%d entries are left out:\n%s", n, log)
	}
	if slices.Contains(files(t, dir, "web"), unfinished) {
		t.Error("what was unfinished is still there")
	}
}

// Two daemons with one key have a place each, and find it again.
func TestTwoDaemons(t *testing.T) {
	dir := t.TempDir()
	first, log1 := open(t, dir, "web")
	second, log2 := open(t, dir, "web")
	add(first, "a")
	add(second, "b")
	add(first, "c")
	second.Close()
	first.Close()
	first, _ = open(t, dir, "web")
	second, _ = open(t, dir, "web")
	expect(t, first, "1 a", "2 c")
	expect(t, second, "1 b")
	silent(t, log1)
	silent(t, log2)
	for range maxPlaces {
		_, log1 = open(t, dir, "web")
	}
	if !strings.Contains(log1.String(), "in memory alone") {
		t.Errorf("more than %d daemons: %s", maxPlaces, log1)
	}
}

// What cannot be written is in memory, is told once, and is written when that can
// be done.
func TestCannotWrite(t *testing.T) {
	dir := t.TempDir()
	s, log := open(t, dir, "web")
	obstacle := filepath.Join(dir, "history", "web", "000001.toml")
	if err := os.MkdirAll(filepath.Join(obstacle, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	add(s, "one")
	eventually(t, func() bool { return strings.Contains(log.String(), "cannot save") })
	add(s, "two")
	expect(t, s, "1 one", "2 two")
	if err := os.RemoveAll(obstacle); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if n := strings.Count(log.String(), "cannot save"); n != 1 {
		t.Errorf("it was told %d times:\n%s", n, log)
	}
	s, _ = open(t, dir, "web")
	expect(t, s, "1 one", "2 two")
}

func eventually(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never came to that")
		}
	}
}

// Nothing is kept where others could change it.
func TestUnsafePlaces(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(dir string) error
		want string
	}{
		{"writable", func(dir string) error {
			if err := os.Mkdir(filepath.Join(dir, "history"), 0o700); err != nil {
				return err
			}
			return os.Chmod(filepath.Join(dir, "history"), 0o777)
		}, "others may write to it (mode 0777)"},
		{"link", func(dir string) error {
			return os.Symlink(t.TempDir(), filepath.Join(dir, "history"))
		}, "not a directory"},
		{"link below", func(dir string) error {
			if err := os.Mkdir(filepath.Join(dir, "history"), 0o700); err != nil {
				return err
			}
			return os.Symlink(t.TempDir(), filepath.Join(dir, "history", "web"))
		}, "not a directory"},
		{"file", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "history"), nil, 0o600)
		}, "not a directory"},
		{"lock", func(dir string) error {
			if err := os.MkdirAll(filepath.Join(dir, "history", "web"), 0o700); err != nil {
				return err
			}
			return os.Symlink("/etc/passwd", filepath.Join(dir, "history", "web", "lock"))
		}, "too many levels of symbolic links"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := c.make(dir); err != nil {
				t.Fatal(err)
			}
			s, log := open(t, dir, "web")
			add(s, "one")
			expect(t, s, "1 one")
			if !strings.Contains(log.String(), "in memory alone") || !strings.Contains(log.String(), c.want) {
				t.Errorf("log: %s", log)
			}
		})
	}
}

// A link, or a pipe, in the place of an entry is not followed, nor waited for.
func TestUnsafeEntries(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir, "web")
	add(s, "one", "two")
	s.Close()
	place := filepath.Join(dir, "history", "web")
	if err := os.Rename(filepath.Join(place, "000001.toml"), filepath.Join(place, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("elsewhere", filepath.Join(place, "000001.toml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "target"), filepath.Join(place, unfinished)); err != nil {
		t.Fatal(err)
	}
	s, _ = open(t, dir, "web")
	expect(t, s, "2 two")
	add(s, "three")
	s.Close()
	if _, err := os.Lstat(filepath.Join(dir, "target")); err == nil {
		t.Error("it was written through a link")
	}
	s, _ = open(t, dir, "web")
	expect(t, s, "2 two", "3 three")
}

func TestWordsArePrintable(t *testing.T) {
	s := New(slog.New(slog.DiscardHandler))
	s.Add(Entry{By: "ann\x1b[2J", Why: strings.Repeat("x", 3*maxWords)})
	if e := s.Entries()[0]; e.By != "ann\ufffd[2J" || len(e.Why) > maxWords+3 {
		t.Errorf("%q, %d bytes", e.By, len(e.Why))
	}
}

func TestDirectory(t *testing.T) {
	for _, c := range []struct {
		uid  int
		env  map[string]string
		want string
	}{
		{0, nil, "/var/lib/balance"},
		{0, map[string]string{"HOME": "/root", "XDG_STATE_HOME": "/x"}, "/var/lib/balance"},
		{0, map[string]string{"STATE_DIRECTORY": "/var/lib/b:/var/lib/c"}, "/var/lib/b"},
		{7, map[string]string{"STATE_DIRECTORY": "/var/lib/b/"}, "/var/lib/b"},
		{7, map[string]string{"XDG_STATE_HOME": "/x", "HOME": "/home/ann"}, "/x/balance"},
		{7, map[string]string{"XDG_STATE_HOME": "x", "HOME": "/home/ann"}, "/home/ann/.local/state/balance"},
		{7, nil, ""},
	} {
		got, err := directoryOf(c.uid, func(name string) string { return c.env[name] })
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%d %v: %q, %v", c.uid, c.env, got, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	whole, err := encode(Entry{Number: 7, Time: time.Unix(1, 0), By: "ann", Why: "because", Data: []byte("x = 1\n")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte(headerMark + "{}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := decode(data)
		if err != nil {
			return
		}
		again, err := encode(e)
		if err != nil {
			return // a time beyond what JSON may say
		}
		same, err := decode(again)
		if err != nil || same.Number != e.Number || !same.Time.Equal(e.Time) || same.By != e.By || string(same.Data) != string(e.Data) {
			t.Errorf("%+v, then %+v, %v", e, same, err)
		}
	})
}

// Where the directory above belongs to somebody else, what he puts in the place of
// ours leads nowhere.
func TestMovedAway(t *testing.T) {
	parent, elsewhere := t.TempDir(), t.TempDir()
	all, err := openDirectory(nil, filepath.Join(parent, "history"))
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	if err := os.Rename(all.Name(), filepath.Join(parent, "ours")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, all.Name()); err != nil {
		t.Fatal(err)
	}
	p, err := openOne(all, "key")
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	if names, _ := os.ReadDir(elsewhere); len(names) > 0 {
		t.Errorf("%v was made elsewhere", names)
	}
	if _, err := os.Stat(filepath.Join(parent, "ours", "key", "lock")); err != nil {
		t.Error(err)
	}
}
