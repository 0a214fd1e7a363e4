package counters

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"balance/engine"
	"balance/engine/balancer"
	"balance/engine/plane/planetest"
	"balance/engine/spec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a file, what was logged about it, and an engine that counts in it.
type rig struct {
	*testing.T
	*engine.Engine
	path   string
	file   *File
	log    lockedBuffer
	listen map[string]string // addresses by name
}

type lockedBuffer struct {
	sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(data []byte) (int, error) {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.Write(data)
}

// lines returns what was logged since, without the times, and forgets it.
func (b *lockedBuffer) lines() (list []string) {
	b.Lock()
	defer b.Unlock()
	for line := range strings.Lines(b.Buffer.String()) {
		_, line, _ = strings.Cut(line, "level=")
		list = append(list, strings.TrimSpace(line))
	}
	b.Reset()
	return list
}

// newRig opens the file.
func newRig(t *testing.T, path string) *rig {
	t.Helper()
	r := &rig{T: t, path: path, listen: map[string]string{}}
	var err error
	if r.file, err = Open(path, slog.New(slog.NewTextHandler(&r.log, nil))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if r.file.done == nil {
			r.file.Close()
		}
	})
	if r.Engine, err = engine.New(engine.Options{Log: slog.New(slog.DiscardHandler), Counters: r.file.Lookup}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		r.Shutdown(ctx)
	})
	return r
}

// again is the rig of another process, after this one was killed: it finds the
// file as it is now.
func (r *rig) again() *rig {
	r.Helper()
	data, err := os.ReadFile(r.path)
	if err != nil {
		r.Fatal(err)
	}
	path := filepath.Join(r.TempDir(), "again.counters")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		r.Fatal(err)
	}
	return newRig(r.T, path)
}

// apply applies listeners, each "name channel channel..."; "name=other channel"
// is what listens where other did.
func (r *rig) apply(listeners ...string) {
	r.Helper()
	if _, err := r.Apply(r.Context(), r.declare(listeners...)); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) declare(listeners ...string) *spec.Config {
	r.Helper()
	config := spec.DefaultConfig()
	listen := map[string]string{}
	for _, text := range listeners {
		words := strings.Fields(text)
		name, like, _ := strings.Cut(words[0], "=")
		if like == "" {
			like = name
		}
		listen[name] = r.listen[like]
		if listen[name] == "" {
			addr, err := planetest.FreeAddress("127.0.0.1")
			if err != nil {
				r.Fatal(err)
			}
			listen[name] = addr.String()
		}
		l := spec.Defaults()
		l.Name, l.Listen = name, []string{listen[name]}
		var group spec.Group
		for _, channel := range words[1:] {
			host, port, err := spec.SplitListen(channel)
			if err != nil {
				r.Fatal(err)
			}
			group.Channels = append(group.Channels, spec.Channel{Host: host, Port: port})
		}
		l.Groups = []spec.Group{group}
		config.Listeners = append(config.Listeners, l)
	}
	r.listen = listen
	return config
}

// count sets the sessions of a channel in force.
func (r *rig) count(listener, channel string, sessions uint64) {
	r.Helper()
	r.channel(listener, channel).Counters.Sessions.Store(sessions)
}

func (r *rig) channel(listener, channel string) (found *balancer.Channel) {
	r.Helper()
	r.Channels(func(l string, _, _ int, _ balancer.Mode, c *balancer.Channel) {
		if l == listener && c.Key().String() == channel {
			found = c
		}
	})
	if found == nil {
		r.Fatalf("there is no channel %s of %s", channel, listener)
	}
	return found
}

func (r *rig) update() { r.file.update(r.Engine) }

// holds compares the sessions of all records in the file, in its order; those of
// channels in no configuration stand in brackets.
func (r *rig) holds(want ...string) {
	r.Helper()
	records, _, err := Read(r.path)
	if err != nil {
		r.Error(err)
	}
	var got []string
	for _, record := range records {
		text := fmt.Sprintf("%s %s %d", record.Listener, record.Key, record.Sessions)
		if record.Group < 0 {
			text = "(" + text + ")"
		}
		got = append(got, text)
	}
	if !slices.Equal(got, want) {
		r.Errorf("the file holds %q, want %q", got, want)
	}
}

func TestCountersOutliveTheProcess(t *testing.T) {
	r := newRig(t, filepath.Join(t.TempDir(), "a.counters"))
	r.apply("web 127.0.0.1:80 127.0.0.1:80", "mail [::1]:25")
	c := r.channel("web", "127.0.0.1:80#2").Counters
	c.Sessions.Store(1)
	c.Failures.Store(2)
	c.Sent.Store(3)
	c.Received.Store(4)
	r.count("mail", "[::1]:25", 5)
	r.update()
	r.holds("web 127.0.0.1:80 0", "web 127.0.0.1:80#2 1", "mail [::1]:25 5")
	r.count("mail", "[::1]:25", 6)
	r.update()
	r.holds("web 127.0.0.1:80 0", "web 127.0.0.1:80#2 1", "mail [::1]:25 6")

	next := r.again()
	next.apply("mail [::1]:26 [::1]:25", "web 127.0.0.1:80 127.0.0.1:80")
	c = next.channel("web", "127.0.0.1:80#2").Counters
	if c.Sessions.Load() != 1 || c.Failures.Load() != 2 || c.Sent.Load() != 3 || c.Received.Load() != 4 {
		t.Errorf("it goes on from %d, %d, %d, %d", c.Sessions.Load(), c.Failures.Load(), c.Sent.Load(), c.Received.Load())
	}
	next.count("mail", "[::1]:26", 7)
	next.file.Start(next.Engine)
	if err := next.file.Close(); err != nil {
		t.Error(err)
	}
	next.holds("web 127.0.0.1:80 0", "web 127.0.0.1:80#2 1", "mail [::1]:25 6", "mail [::1]:26 7")
	if lines := slices.Concat(r.log.lines(), next.log.lines()); len(lines) > 0 {
		t.Errorf("logged: %q", lines)
	}
}

// The file was written by the version that mapped it.
func TestVersion1GoesOn(t *testing.T) {
	if !bytes.Equal(encodeHead(time.Time{})[AtVersion:AtVersion+4], []byte{version, 0, 0, 0}) {
		t.Skip("the file is one of a machine with the other byte order")
	}
	packed, err := os.Open("testdata/version1.counters.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	unpacked, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "a.counters")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, path)
	r.holds("web 127.0.0.1:18090 0", "web 127.0.0.1:18090#2 0", "web [::1]:18090 8", "(web 127.0.0.2:18090 0)",
		"mail 127.0.0.1:18090 4", "mail 127.0.0.1:9 0", "web 127.0.0.3:18090 0")
	r.apply("mail 127.0.0.1:18090", "web [::1]:18090")
	c := r.channel("web", "[::1]:18090").Counters
	if c.Sessions.Load() != 8 || c.Sent.Load() != 21 || c.Received.Load() != 48 {
		t.Errorf("it goes on from %d, %d, %d", c.Sessions.Load(), c.Sent.Load(), c.Received.Load())
	}
	r.update()
	if data, err := os.ReadFile(path); err != nil || data[AtVersion] != version {
		t.Errorf("it is still version %d, %v", data[AtVersion], err)
	}
	r.holds("(web 127.0.0.1:18090 0)", "(web 127.0.0.1:18090#2 0)", "web [::1]:18090 8",
		"mail 127.0.0.1:18090 4", "(mail 127.0.0.1:9 0)", "(web 127.0.0.3:18090 0)")
	if lines := r.log.lines(); len(lines) > 0 {
		t.Errorf("logged: %q", lines)
	}
}

// A record that is still true gets a checksum, too.
func TestVersion1IsWrittenAnew(t *testing.T) {
	r := newRig(t, filepath.Join(t.TempDir(), "a.counters"))
	r.apply("web 127.0.0.1:80 127.0.0.2:80")
	r.count("web", "127.0.0.2:80", 2)
	r.update()
	data, err := os.ReadFile(r.path)
	if err != nil {
		t.Fatal(err)
	}
	data[AtVersion] = 1
	for i := range 2 {
		clear(data[AtRecords+i*RecordSize:][atSum:RecordSize])
	}
	if err := os.WriteFile(r.path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	r.Shutdown(t.Context()) // so that the other can have its address
	next := r.again()
	next.listen = r.listen
	next.apply("web 127.0.0.1:80 127.0.0.2:80")
	next.update()
	next.holds("web 127.0.0.1:80 0", "web 127.0.0.2:80 2")
}

func TestChannelsThatComeBackCountOn(t *testing.T) {
	r := newRig(t, filepath.Join(t.TempDir(), "a.counters"))
	r.apply("web 127.0.0.1:80 127.0.0.2:80")
	r.count("web", "127.0.0.2:80", 7)
	r.update()
	gone := r.channel("web", "127.0.0.2:80")
	r.apply("web 127.0.0.1:80")
	r.update()
	gone.Counters.Sessions.Add(1) // its sessions go on
	r.update()
	r.holds("web 127.0.0.1:80 0", "(web 127.0.0.2:80 8)")
	r.apply("web 127.0.0.2:80")
	r.apply("web 127.0.0.1:80") // within one update
	r.apply("web 127.0.0.2:80")
	gone.Counters.Sessions.Add(1)
	r.update()
	r.holds("(web 127.0.0.1:80 0)", "web 127.0.0.2:80 9")

	next := r.again()
	next.apply("web 127.0.0.3:80")
	next.update()
	next.holds("web 127.0.0.3:80 0", "(web 127.0.0.2:80 9)")
}

func TestTheChannelGoneLongestMakesRoom(t *testing.T) {
	r := newRig(t, filepath.Join(t.TempDir(), "a.counters"))
	r.file.table.limit = 3
	for i, channels := range []string{
		"127.0.0.1:80 127.0.0.2:80 127.0.0.3:80", "127.0.0.1:80 127.0.0.2:80", "127.0.0.1:80",
	} {
		r.apply("web " + channels)
		r.Channels(func(_ string, _, _ int, _ balancer.Mode, c *balancer.Channel) { c.Counters.Sessions.Add(uint64(1 + i)) })
		r.update()
	}
	r.holds("web 127.0.0.1:80 6", "(web 127.0.0.2:80 3)", "(web 127.0.0.3:80 1)")
	gone := r.file.Lookup("web", balancer.Key{Host: "127.0.0.3", Port: 80})
	r.apply("web 127.0.0.1:80 127.0.0.4:80")
	r.update()
	gone.Sessions.Add(100) // a session of the channel that is gone does not count for another
	r.update()
	r.holds("web 127.0.0.1:80 6", "(web 127.0.0.2:80 3)", "web 127.0.0.4:80 0")
	if lines := r.log.lines(); len(lines) > 0 {
		t.Errorf("logged: %q", lines)
	}

	r.apply("web 127.0.0.1:80 127.0.0.4:80 127.0.0.5:80 127.0.0.6:80")
	r.count("web", "127.0.0.6:80", 9)
	r.update()
	r.update()
	r.holds("web 127.0.0.1:80 6", "web 127.0.0.5:80 0", "web 127.0.0.4:80 0")
	if lines := r.log.lines(); len(lines) != 1 || !strings.Contains(lines[0], "it has no room for 1 channels") {
		t.Errorf("logged: %q", lines)
	}
	r.apply("web 127.0.0.1:80 127.0.0.4:80 127.0.0.6:80")
	r.update()
	r.holds("web 127.0.0.1:80 6", "web 127.0.0.6:80 9", "web 127.0.0.4:80 0")
	if lines := r.log.lines(); len(lines) != 1 || !strings.Contains(lines[0], "written to again") {
		t.Errorf("logged: %q", lines)
	}
}

// More names than there are records, in configurations that never were in force.
func TestFailedReloadsTakeNoRecords(t *testing.T) {
	r := newRig(t, filepath.Join(t.TempDir(), "a.counters"))
	r.apply("web 127.0.0.1:80")
	r.update()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for i := range 70 {
		config := r.declare("web 127.0.0.1:80")
		config.Listeners[0].Listen = append(config.Listeners[0].Listen, busy.Addr().String())
		group := &config.Listeners[0].Groups[0]
		for n := range 1000 {
			group.Channels = append(group.Channels, spec.Channel{Host: fmt.Sprintf("10.%d.%d.%d", i, n>>8, n&255), Port: 80})
		}
		if _, err := r.Apply(t.Context(), config); err == nil {
			t.Fatal("a busy address can be listened on")
		}
		r.update()
	}
	r.holds("web 127.0.0.1:80 0")
	r.apply("web 127.0.0.1:80 127.0.0.2:80")
	r.update()
	r.holds("web 127.0.0.1:80 0", "web 127.0.0.2:80 0")
}

func TestCountersFollowNames(t *testing.T) {
	for _, x := range []struct {
		name  string
		apply [][]string
		want  []string
	}{
		{"a new name", [][]string{{"www=web 127.0.0.1:80", "mail 127.0.0.1:80"}},
			[]string{"www 127.0.0.1:80 1", "mail 127.0.0.1:80 2"}},
		{"names change places", [][]string{{"mail=web 127.0.0.1:80", "web=mail 127.0.0.1:80"}},
			[]string{"mail 127.0.0.1:80 1", "web 127.0.0.1:80 2"}},
		{"a new listener takes the name", [][]string{{"web=new 127.0.0.1:80", "www=web 127.0.0.1:80", "mail 127.0.0.1:80"}},
			[]string{"www 127.0.0.1:80 1", "mail 127.0.0.1:80 2", "web 127.0.0.1:80 0"}},
		{"the name comes back", [][]string{{"www=web 127.0.0.1:80", "mail 127.0.0.1:80"}, {"web=www 127.0.0.1:80", "mail 127.0.0.1:80"}},
			[]string{"web 127.0.0.1:80 1", "mail 127.0.0.1:80 2"}},
		{"the name of one that is gone", [][]string{{"mail 127.0.0.1:80"}, {"web=mail 127.0.0.1:80"}},
			[]string{"web 127.0.0.1:80 2"}},
	} {
		// With and without an update between two configurations.
		for _, between := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s %t", x.name, between), func(t *testing.T) {
				r := newRig(t, filepath.Join(t.TempDir(), "a.counters"))
				r.apply("web 127.0.0.1:80", "mail 127.0.0.1:80")
				r.count("web", "127.0.0.1:80", 1)
				r.count("mail", "127.0.0.1:80", 2)
				r.update()
				for _, listeners := range x.apply {
					r.apply(listeners...)
					if between {
						r.update()
					}
				}
				r.update()
				r.holds(x.want...)
				owners := map[*balancer.Counters]bool{}
				r.Channels(func(listener string, _, _ int, _ balancer.Mode, c *balancer.Channel) {
					if owners[c.Counters] {
						t.Errorf("%s %s shares its counters", listener, c.Key())
					}
					owners[c.Counters] = true
					if r.file.Lookup(listener, c.Key()) != c.Counters {
						t.Errorf("%s %s has no record", listener, c.Key())
					}
				})
			})
		}
	}
}

func TestManyChannelsAndReloads(t *testing.T) {
	r := newRig(t, filepath.Join(t.TempDir(), "a.counters"))
	var channels []string
	for i := range 500 {
		channels = append(channels, fmt.Sprintf("127.0.1.%d:%d", i%250, 1000+i))
	}
	r.apply("web " + strings.Join(channels, " "))
	r.update()
	for i, channel := range channels {
		r.count("web", channel, uint64(i))
	}
	var reloading sync.WaitGroup
	reloading.Go(func() {
		for i := range 20 {
			config := r.declare("web " + strings.Join(channels[i*10:], " "))
			if _, err := r.Apply(t.Context(), config); err != nil {
				t.Error(err)
			}
		}
	})
	for range 20 {
		r.update()
	}
	reloading.Wait()
	r.apply("web " + strings.Join(channels, " "))
	r.update()
	for i, channel := range channels {
		if n := r.channel("web", channel).Counters.Sessions.Load(); n != uint64(i) {
			t.Fatalf("channel %d counts %d", i, n)
		}
	}
	if n := len(r.file.table.places); n != len(channels) {
		t.Errorf("%d records", n)
	}
}

// Whatever somebody does to the file, it holds everything after the next update.
func TestFilesThatAreMended(t *testing.T) {
	truncate := func(size func(int64) int64) func(*rig) error {
		return func(r *rig) error {
			info, err := os.Stat(r.path)
			if err != nil {
				return err
			}
			return os.Truncate(r.path, size(info.Size()))
		}
	}
	replace := func(content func(*rig) []byte) func(*rig) error {
		return func(r *rig) error {
			data := content(r)
			if err := os.WriteFile(r.path+".new", data, 0o600); err != nil {
				return err
			}
			return os.Rename(r.path+".new", r.path)
		}
	}
	stand := func(in func(path string) error) func(*rig) error {
		return func(r *rig) error { return errors.Join(os.Remove(r.path), in(r.path)) }
	}
	t.Chdir(t.TempDir()) // and back at the end
	for _, x := range []struct {
		name   string
		damage func(r *rig) error
		logged string
		aside  bool
	}{
		{"nothing left", truncate(func(int64) int64 { return 0 }), "it had 0 bytes instead of 68608 and is written anew", false},
		{"half of it", truncate(func(n int64) int64 { return n / 2 }), "it had 34304 bytes", false},
		{"half a record", truncate(func(n int64) int64 { return n - RecordSize/2 }), "it had 68096 bytes", false},
		{"longer", truncate(func(n int64) int64 { return n + 1 }), "it had 68609 bytes", false},
		{"removed", func(r *rig) error { return os.Remove(r.path) }, "it was removed and is written anew", false},
		{"moved", func(r *rig) error { return os.Rename(r.path, r.path+".moved") }, "it was removed", false},
		{"an empty file", replace(func(*rig) []byte { return nil }), "it was removed", false},
		{"a foreign file", replace(func(*rig) []byte { return []byte("dear diary") }), "it was replaced by another file; it is now", true},
		{"an old copy", replace(func(r *rig) []byte { data, _ := os.ReadFile(r.path); return data }), "it was replaced by another file; it is now", true},
		{"a directory", stand(func(path string) error { return os.MkdirAll(filepath.Join(path, "x"), 0o700) }), "it was replaced by another file; it is now", true},
		{"a link", stand(func(path string) error { return os.Symlink("/etc/passwd", path) }), "it was replaced by another file; it is now", true},
		{"a link to nothing", stand(func(path string) error { return os.Symlink(path+".x", path) }), "it was replaced by another file; it is now", true},
		{"a pipe", stand(func(path string) error { return syscall.Mkfifo(path, 0o600) }), "it was replaced by another file; it is now", true},
		{"a socket", stand(func(path string) error {
			// A path may be too long for a socket (unix(7), sun_path).
			if err := os.Chdir(filepath.Dir(path)); err != nil {
				return err
			}
			socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Base(path)})
			if err == nil {
				socket.SetUnlinkOnClose(false)
				err = socket.Close()
			}
			return err
		}), "it was replaced by another file; it is now", true},
		{"the head alone", func(r *rig) error {
			file, err := os.OpenFile(r.path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = file.WriteAt(make([]byte, headSize), 0)
			return errors.Join(err, file.Close())
		}, "", false},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := newRig(t, filepath.Join(t.TempDir(), "a.counters"))
			r.apply("web 127.0.0.1:80 127.0.0.2:80 127.0.0.3:80")
			for i := range 3 {
				r.count("web", fmt.Sprintf("127.0.0.%d:80", i+1), uint64(10+i))
			}
			r.update()
			if err := x.damage(r); err != nil {
				t.Fatal(err)
			}
			r.count("web", "127.0.0.2:80", 21)
			r.update()
			r.holds("web 127.0.0.1:80 10", "web 127.0.0.2:80 21", "web 127.0.0.3:80 12")
			r.count("web", "127.0.0.3:80", 22)
			r.update()
			r.holds("web 127.0.0.1:80 10", "web 127.0.0.2:80 21", "web 127.0.0.3:80 22")
			lines := r.log.lines()
			if x.logged == "" && len(lines) > 0 || x.logged != "" && (len(lines) != 1 || !strings.Contains(lines[0], x.logged)) {
				t.Errorf("logged: %q", lines)
			}
			if _, err := os.Lstat(r.path + ".old"); (err == nil) != x.aside {
				t.Errorf("set aside: %v", err)
			}
			if _, err := Open(r.path, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "another daemon counts in it") {
				t.Errorf("it is not locked: %v", err)
			}
		})
	}
}

// A file of another user in which nobody counts is in the way, too.
func TestAFileOfAnotherUserIsSetAside(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("skipped: only root can act as another user")
	}
	r := newRig(t, filepath.Join(t.TempDir(), "a.counters"))
	r.apply("web 127.0.0.1:80")
	r.count("web", "127.0.0.1:80", 5)
	if err := errors.Join(os.Remove(r.path), os.WriteFile(r.path, nil, 0o600), os.Chown(r.path, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(r.path, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "it belongs to another user, user 65534") {
		t.Errorf("at the start: %v", err)
	}
	r.update()
	r.holds("web 127.0.0.1:80 5")
	if lines := r.log.lines(); len(lines) != 1 || !strings.Contains(lines[0], "it was replaced by another file; it is now") {
		t.Errorf("logged: %q", lines)
	}
}

// A name of its own that nothing has is all that a rename takes.
func TestRenameReplacesNothing(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := errors.Join(os.WriteFile(a, []byte("a"), 0o600), os.Symlink("nowhere", b)); err != nil {
		t.Fatal(err)
	}
	if err := rename(a, b); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a name that is taken: %v", err)
	}
	if err := rename(a, b+"2"); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(b + "2"); string(got) != "a" {
		t.Errorf("%q, %v", got, err)
	}
}

// What overwrites the file without changing its size is undone at the end.
func TestTheEndWritesEverything(t *testing.T) {
	r := newRig(t, filepath.Join(t.TempDir(), "a.counters"))
	r.apply("web 127.0.0.1:80")
	r.count("web", "127.0.0.1:80", 5)
	r.update()
	info, err := os.Stat(r.path)
	if err == nil {
		err = errors.Join(os.Truncate(r.path, 0), os.Truncate(r.path, info.Size()))
	}
	if err != nil {
		t.Fatal(err)
	}
	r.file.Start(r.Engine)
	if err := r.file.Close(); err != nil {
		t.Fatal(err)
	}
	r.holds("web 127.0.0.1:80 5")
}

// A name that another daemon has taken is not fought about.
func TestTheNameIsTakenByAnotherDaemon(t *testing.T) {
	r := newRig(t, filepath.Join(t.TempDir(), "a.counters"))
	r.apply("web 127.0.0.1:80")
	r.count("web", "127.0.0.1:80", 5)
	r.update()
	if err := os.Remove(r.path); err != nil {
		t.Fatal(err)
	}
	other := newRig(t, r.path)
	other.apply("mail 127.0.0.1:80")
	other.update()
	r.update()
	r.update()
	other.holds("mail 127.0.0.1:80 0")
	if lines := r.log.lines(); len(lines) != 1 || !strings.Contains(lines[0], "another daemon counts in it") {
		t.Errorf("logged: %q", lines)
	}
	other.file.Close()
	r.update()
	r.holds("web 127.0.0.1:80 5")
	if lines := r.log.lines(); len(lines) != 2 || !strings.Contains(lines[0], "it was replaced by another file") || !strings.Contains(lines[1], "written to again") {
		t.Errorf("logged: %q", lines)
	}
}

// faulty is a file whose writes fail, after some bytes, or wait.
type faulty struct {
	storage
	mu   sync.Mutex
	err  error         // guarded by mu
	wait chan struct{} // guarded by mu; nil: none
}

func (f *faulty) set(err error, wait chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.wait = err, wait
}

func (f *faulty) WriteAt(data []byte, offset int64) (int, error) {
	f.mu.Lock()
	err, wait := f.err, f.wait
	f.mu.Unlock()
	if wait != nil {
		<-wait
	}
	if err != nil {
		f.storage.WriteAt(data[:len(data)/2], offset)
		return len(data) / 2, err
	}
	return f.storage.WriteAt(data, offset)
}

func TestWritesThatFail(t *testing.T) {
	r := newRig(t, filepath.Join(t.TempDir(), "a.counters"))
	r.apply("web 127.0.0.1:80 127.0.0.2:80")
	r.count("web", "127.0.0.1:80", 1)
	r.update()
	disk := &faulty{storage: r.file.file}
	r.file.file = disk
	full := errors.New("no space left on device")
	disk.set(full, nil)
	r.apply("web 127.0.0.1:80 127.0.0.2:80 127.0.0.3:80")
	r.count("web", "127.0.0.3:80", 3)
	for range 3 {
		r.update()
	}
	if lines := r.log.lines(); len(lines) != 1 || !strings.Contains(lines[0], "no space left on device") {
		t.Errorf("logged: %q", lines)
	}
	disk.set(nil, nil)
	r.update()
	r.update()
	r.holds("web 127.0.0.1:80 1", "web 127.0.0.2:80 0", "web 127.0.0.3:80 3")
	if lines := r.log.lines(); len(lines) != 1 || !strings.Contains(lines[0], "written to again") {
		t.Errorf("logged: %q", lines)
	}
	disk.set(full, nil)
	r.update()
	disk.set(errors.New("input/output error"), nil)
	r.update()
	if lines := r.log.lines(); len(lines) != 2 || !strings.Contains(lines[1], "input/output error") {
		t.Errorf("logged: %q", lines)
	}
}

// A file system that does not answer holds up nobody.
func TestWritesThatBlock(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	defer serving.Wait()
	defer server.Close()
	serving.Go(func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			conn.Write([]byte("hello"))
			conn.Close()
		}
	})
	r := newRig(t, filepath.Join(t.TempDir(), "a.counters"))
	channel := server.Addr().String()
	r.apply("web " + channel)
	disk := &faulty{storage: r.file.file}
	r.file.file = disk
	answer := make(chan struct{})
	disk.set(nil, answer)
	r.file.Start(r.Engine)
	await := func(pattern string) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			r.log.Lock()
			logged := r.log.Buffer.String()
			r.log.Unlock()
			if strings.Contains(logged, pattern) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%q is not logged:\n%s", pattern, logged)
			}
		}
	}
	await("its file system does not answer")
	for i := range 3 {
		conn, err := net.Dial("tcp", r.listen["web"])
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(conn); string(got) != "hello" {
			t.Errorf("served with %q, %v", got, err)
		}
		conn.Close()
		r.apply("web " + channel + fmt.Sprintf(" 127.0.0.%d:1", i+1))
	}
	if err := r.file.Close(); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("closed: %v", err)
	}
	close(answer)
	<-r.file.done
	await("answers again")
	records, _, err := Read(r.path)
	if err != nil || len(records) != 2 || records[0].Sessions < 3 {
		t.Errorf("in the end it holds %+v, %v", records, err)
	}
}

func TestOpenThatBlocks(t *testing.T) {
	answer := make(chan struct{})
	opened := make(chan struct{})
	path := filepath.Join(t.TempDir(), "a.counters")
	_, err := within(hangs, path, func() (*File, error) {
		defer close(opened)
		<-answer
		return open(path, slog.New(slog.DiscardHandler))
	})
	if err == nil || !strings.Contains(err.Error(), path+`": the file system hangs`) {
		t.Errorf("opened: %v", err)
	}
	close(answer)
	<-opened
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) { // until it is closed
		file, err := Open(path, slog.New(slog.DiscardHandler))
		if err == nil {
			file.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func TestDamagedRecordsAreDroppedAlone(t *testing.T) {
	r := newRig(t, filepath.Join(t.TempDir(), "a.counters"))
	r.apply("web 127.0.0.1:80 127.0.0.2:80 127.0.0.3:80")
	for i := range 3 {
		r.count("web", fmt.Sprintf("127.0.0.%d:80", i+1), uint64(10+i))
	}
	r.update()
	data, err := os.ReadFile(r.path)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{atSessions, atReceived + 7, atTaken, atGroup, atPort, atListener, atHost + 3, atAddress, atListen, atListen + 200, atSum} {
		damaged := bytes.Clone(data)
		damaged[AtRecords+RecordSize+at] ^= 0x40
		if err := os.WriteFile(r.path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		r.holds("web 127.0.0.1:80 10", "web 127.0.0.3:80 12")
		next := r.again()
		next.apply("web 127.0.0.1:80 127.0.0.2:80 127.0.0.3:80")
		next.update()
		next.holds("web 127.0.0.1:80 10", "web 127.0.0.2:80 0", "web 127.0.0.3:80 12")
		if lines := next.log.lines(); len(lines) != 1 || !strings.Contains(lines[0], "damaged records are left out: 1") {
			t.Errorf("logged: %q", lines)
		}
	}
	// It is told once, whether the channel comes back or not.
	next := r.again()
	next.log.lines()
	next.apply("web 127.0.0.1:80 127.0.0.3:80")
	next.update()
	if lines := next.again().log.lines(); len(lines) > 0 {
		t.Errorf("logged: %q", lines)
	}
}

// A file that was cut short while no daemon ran keeps what is left.
func TestWhatIsLeftOfAFile(t *testing.T) {
	r := newRig(t, filepath.Join(t.TempDir(), "a.counters"))
	r.apply("web 127.0.0.1:80 127.0.0.2:80")
	r.count("web", "127.0.0.1:80", 1)
	r.count("web", "127.0.0.2:80", 2)
	r.update()
	if err := os.Truncate(r.path, AtRecords+2*RecordSize-1); err != nil {
		t.Fatal(err)
	}
	next := r.again()
	next.holds("web 127.0.0.1:80 1")
	if lines := next.log.lines(); len(lines) != 1 || !strings.Contains(lines[0], "damaged records are left out: 1") {
		t.Errorf("logged: %q", lines)
	}
}

// A record that was written to half way is never one of both.
func TestTornRecords(t *testing.T) {
	old := Record{Listener: "web", Listen: ":80", Key: balancer.Key{Host: "h", Port: 80}, Sessions: 1}
	now := old
	now.Sessions, now.Number, now.Listen = 2, 1, strings.Repeat(":8080 ", 50)
	var a, b [RecordSize]byte
	old.encode(a[:])
	now.encode(b[:])
	for _, from := range [][RecordSize]byte{a, {}} {
		for cut := range RecordSize + 1 {
			torn := append(bytes.Clone(b[:cut]), from[cut:]...)
			if bytes.Equal(torn, from[:]) || bytes.Equal(torn, b[:]) {
				continue
			}
			if r, sound := decode(torn, version); sound {
				t.Errorf("cut at %d: %+v", cut, r)
			}
		}
	}
}

func TestRecords(t *testing.T) {
	for _, r := range []Record{
		{},
		{Listener: strings.Repeat("l", 255), Key: balancer.Key{Host: strings.Repeat("h", 255), Port: 65535, Nth: 7},
			Listen: strings.Repeat("x", atObserved-atListen-2), Group: nowhere, Number: 9, Mode: balancer.Hash, State: Draining,
			Active: 1, Limit: 2, Sessions: 3, Failures: 4, Sent: 5, Received: 1<<64 - 1,
			Observed: engine.Observation{Check: 1<<64 - 1, Observation: balancer.Observation{
				Failures: 6, FailingSince: 7, FailureReason: strings.Repeat("f", atSum-atWhyFails-1), HeldUntil: -8,
				Health: balancer.Unhealthy, HealthSince: 9, HealthReason: strings.Repeat("d", atWhyFails-atWhyDown-1)}}},
	} {
		var data [RecordSize]byte
		r.encode(data[:])
		if got, sound := decode(data[:], version); !sound || got != r {
			t.Errorf("%+v became %+v, %t", r, got, sound)
		}
	}
	second := Record{Listener: "l", Key: balancer.Key{Host: "h", Port: 1}, Listen: strings.Repeat("x", atObserved-atListen-2), Sessions: 3}
	var data [RecordSize]byte
	second.encode(data[:])
	second.Listen = strings.Repeat("y", atSum-atListen-2) // there was room for it in version 2
	binary.NativeEndian.PutUint16(data[atListen:], uint16(len(second.Listen)))
	copy(data[atListen+2:], second.Listen)
	binary.NativeEndian.PutUint32(data[atSum:], crc32.ChecksumIEEE(data[:atSum]))
	if got, sound := decode(data[:], 2); !sound || got != second {
		t.Errorf("version 2: %+v became %+v, %t", second, got, sound)
	}
	long := identity{strings.Repeat("l", 256), balancer.Key{Host: "h"}}
	if long.fits() || (identity{"l", balancer.Key{Host: strings.Repeat("h", 256)}}).fits() {
		t.Error("a name that is too long fits")
	}
}

func TestFilesThatAreSetAside(t *testing.T) {
	r := newRig(t, filepath.Join(t.TempDir(), "good.counters"))
	r.apply("web 127.0.0.1:80")
	r.update()
	good, err := os.ReadFile(r.path)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func(data []byte) []byte{
		"foreign":       func([]byte) []byte { return []byte("dear diary") },
		"short":         func(data []byte) []byte { return data[:8] },
		"other version": func(data []byte) []byte { data[AtVersion]++; return data },
		"no version":    func(data []byte) []byte { data[AtVersion] = 0; return data },
		"other machine": func(data []byte) []byte { data[12], data[15] = data[15], data[12]; return data },
		"other records": func(data []byte) []byte { data[17]++; return data },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.counters")
			damaged := damage(bytes.Clone(good))
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, _, err := Read(path); !errors.Is(err, errForeign) {
				t.Errorf("a client reads it: %v", err)
			}
			r := newRig(t, path)
			if lines := r.log.lines(); len(lines) != 1 || !strings.Contains(lines[0], "it is not a counters file") || !strings.Contains(lines[0], "a.counters.old") {
				t.Errorf("logged: %q", lines)
			}
			if old, err := os.ReadFile(path + ".old"); err != nil || !bytes.Equal(old, damaged) {
				t.Errorf("the old file is not kept: %v", err)
			}
			r.apply("web 127.0.0.1:80")
			r.update()
			r.holds("web 127.0.0.1:80 0")
		})
	}
}

// What was set aside before is kept.
func TestFilesThatAreSetAsideAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.counters")
	for n := range 10 {
		if err := os.WriteFile(path, fmt.Appendf(nil, "diary %d", n), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path, slog.New(slog.DiscardHandler))
		if n == 9 {
			if !errors.Is(err, fs.ErrExist) {
				t.Errorf("the tenth: %v", err)
			}
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	for name, want := range map[string]string{"": "diary 9", ".old": "diary 0", ".old2": "diary 1", ".old9": "diary 8"} {
		if got, err := os.ReadFile(path + name); string(got) != want {
			t.Errorf("%q holds %q, %v", name, got, err)
		}
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, filepath.Join(dir, "a.counters"))
	log := slog.New(slog.DiscardHandler)
	if _, err := Open(r.path, log); err == nil || !strings.Contains(err.Error(), "another daemon counts in it") {
		t.Errorf("a file that is in use: %v", err)
	}
	link := filepath.Join(dir, "link.counters")
	if err := os.Symlink(r.path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(link, log); err == nil {
		t.Error("a symbolic link is followed")
	}
	if _, _, err := Read(link); err == nil {
		t.Error("a client follows a symbolic link")
	}
	pipe := filepath.Join(dir, "pipe.counters")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, link, pipe} { // rather a wrong path than a file gone wrong
		if _, err := Open(path, log); err == nil || !strings.Contains(err.Error(), "it is not a regular file") {
			t.Errorf("%s: %v", path, err)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("it is gone: %v", err)
		}
	}
	if _, err := Open(filepath.Join(dir, "missing", "a"), log); err == nil {
		t.Error("a directory is made for the file")
	}
	if records, _, err := Read(r.path); err != nil || len(records) != 0 { // nothing was written to it yet
		t.Errorf("an empty file: %v, %v", records, err)
	}
}
