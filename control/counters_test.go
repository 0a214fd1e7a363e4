package control

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"balance/engine"
	"balance/engine/balancer"
)

// refuseWarnings fails the test when a file is set aside.
func refuseWarnings(t *testing.T) func(error) {
	return func(err error) { t.Errorf("unexpected: %v", err) }
}

func openTestCounters(t *testing.T, path string) *CountersFile {
	t.Helper()
	f, err := OpenCounters(path, refuseWarnings(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func claim(t *testing.T, f *CountersFile, listener string, key balancer.Key) *balancer.Counters {
	t.Helper()
	counters, err := f.Claim(listener, key)
	if err != nil {
		t.Fatal(err)
	}
	return counters
}

// countedEngine runs a configuration whose counters are in the file.
func countedEngine(t *testing.T, f *CountersFile, config *engine.Config) *engine.Engine {
	t.Helper()
	e := engine.New(engine.Options{
		Log: slog.New(slog.DiscardHandler), Resolver: noNames{},
		Counters: func(listener string, key balancer.Key) *balancer.Counters { return claim(t, f, listener, key) },
	})
	t.Cleanup(func() { e.Shutdown(t.Context()) })
	if _, err := e.Apply(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestCountersOutliveTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.counters")
	f := openTestCounters(t, path)
	config := declare([]string{"web", "mail"}, []string{"127.0.0.1:80", "127.0.0.1:80"}, []string{"[2001:db8::7]:81"})
	config.Listeners[0].Groups[1].Mode = balancer.Hash
	config.Listeners[0].Groups[1].Channels[0].MaxConns = 4
	config.Listeners[0].Groups[0].Channels[1].Disabled = true
	e := countedEngine(t, f, config)
	e.Channels(func(listener string, group, number int, _ balancer.Mode, channel *balancer.Channel) {
		n := uint64(100*group + 10*number)
		if listener == "mail" {
			n += 1000
		}
		channel.Counters.Sessions.Store(n + 1)
		channel.Counters.Sent.Store(n + 2)
		channel.Counters.Received.Store(n + 3)
	})
	f.Update(e)
	// The file is not closed: a process that is killed closes nothing either.
	saved, err := ReadCounters(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		listener, request string
		status            Status
		answer            string
	}{
		{"web", "sh", OK, header +
			"  0   RR  0 ENA        127.0.0.1    80    0           1    0           2           3\n" +
			"  0   RR  1 dis        127.0.0.1    80    0          11    0          12          13\n" +
			"  1 Hash  0 ENA      2001:db8::7    81    0         101    4         102         103"},
		{"web", "mrtg-bytes 1 0", OK, "103\n102\nUNKNOWN\ngroup 1 channel 0"},
		{"mail", "mrtg-conns 0 1", OK, "1011\nUNKNOWN\nUNKNOWN\ngroup 0 channel 1"},
		{"web", "mrtg-conns 2 0", Failed, "unknown group"},
		{"web", "mrtg-conns 0 2", Failed, "unknown channel"},
	} {
		lines, status, handled := saved.Answer(x.listener, x.request)
		answer := strings.Join(lines, "\n")
		if !handled || status != x.status || answer != x.answer {
			t.Errorf("%s %s: handled %t, status %d, answer\n%s\nwant\n%s", x.listener, x.request, handled, status, answer, x.answer)
		}
	}
	for _, request := range []string{"disable 0", "status", "nonsense", "show me", ""} {
		if _, _, handled := saved.Answer("web", request); handled {
			t.Errorf("%q is answered from the file", request)
		}
	}
	f.Close()
	again := openTestCounters(t, path)
	if n := claim(t, again, "web", balancer.Key{Host: "127.0.0.1", Port: 80, Nth: 1}).Sent.Load(); n != 12 {
		t.Errorf("the counter goes on from %d, want 12", n)
	}
	if n := claim(t, again, "web", balancer.Key{Host: "127.0.0.2", Port: 80}).Sent.Load(); n != 0 {
		t.Errorf("the counter of a new channel starts at %d", n)
	}
}

func TestRecordsOfRemovedChannelsAreUsedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.counters")
	f := openTestCounters(t, path)
	e := countedEngine(t, f, declare([]string{"web"}, []string{"127.0.0.1:80", "127.0.0.2:80"}))
	f.Update(e)
	gone := claim(t, f, "web", balancer.Key{Host: "127.0.0.2", Port: 80})
	gone.Sessions.Store(7)
	if _, err := e.Apply(t.Context(), declare([]string{"web"}, []string{"127.0.0.1:80"})); err != nil {
		t.Fatal(err)
	}
	f.Update(e)
	saved, err := ReadCounters(path)
	if err != nil {
		t.Fatal(err)
	}
	if lines, _, _ := saved.Answer("web", "show"); len(lines) != 2 {
		t.Errorf("a removed channel is shown:\n%s", strings.Join(lines, "\n"))
	}
	if claim(t, f, "web", balancer.Key{Host: "127.0.0.2", Port: 80}) != gone {
		t.Error("a channel that comes back does not count on")
	}
	f.Close()
	again := openTestCounters(t, path)
	if n := len(again.taken); n != 1 {
		t.Errorf("%d records are taken after a restart, want 1", n)
	}
}

func TestCountersFollowARename(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.counters")
	f := openTestCounters(t, path)
	config := declare([]string{"web"}, []string{"127.0.0.1:80"})
	e := countedEngine(t, f, config)
	config = declare([]string{"www"}, []string{"127.0.0.1:80"})
	if _, err := e.Apply(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	f.Update(e)
	saved, err := ReadCounters(path)
	if err != nil || len(saved.Identity.Listeners) != 1 || saved.Identity.Listeners[0].Name != "www" {
		t.Errorf("%+v, %v", saved, err)
	}
}

func TestManyCounters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.counters")
	f := openTestCounters(t, path)
	key := func(i int) balancer.Key { return balancer.Key{Host: fmt.Sprintf("host%d", i), Port: 80} }
	var claiming sync.WaitGroup
	for g := range 4 {
		claiming.Go(func() {
			for i := g; i < 1000; i += 4 {
				counters, err := f.Claim("web", key(i))
				if err != nil {
					t.Error(err)
					return
				}
				counters.Sessions.Add(uint64(i))
			}
		})
	}
	claiming.Wait()
	for i := range 1000 {
		if n := claim(t, f, "web", key(i)).Sessions.Load(); n != uint64(i) {
			t.Fatalf("channel %d counts %d", i, n)
		}
	}
}

func TestCountersFilesThatAreSetAside(t *testing.T) {
	good := func(path string) []byte {
		f := openTestCounters(t, path)
		claim(t, f, "web", balancer.Key{Host: "h", Port: 80})
		f.Close()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	cases := map[string]func(data []byte) []byte{
		"foreign":       func([]byte) []byte { return []byte("dear diary") },
		"truncated":     func(data []byte) []byte { return data[:len(data)-1] },
		"short":         func(data []byte) []byte { return data[:8] },
		"other version": func(data []byte) []byte { data[8]++; return data },
		"other machine": func(data []byte) []byte { data[12], data[15] = data[15], data[12]; return data },
		"other records": func(data []byte) []byte { data[17]++; return data },
		"long text": func(data []byte) []byte {
			data[blockSize+atTaken] = 1
			data[blockSize+atAddress] = 255
			return data
		},
	}
	for name, damage := range cases {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.counters")
			damaged := damage(good(path))
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			if saved, err := ReadCounters(path); !errors.Is(err, errNotCounters) && (err != nil || len(saved.status) != 0) {
				t.Errorf("a client reads it: %v", err)
			}
			var warned error
			f, err := OpenCounters(path, func(err error) { warned = err })
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if !errors.Is(warned, errNotCounters) || !strings.Contains(warned.Error(), path) {
				t.Errorf("the warning is %v", warned)
			}
			if old, err := os.ReadFile(path + ".old"); err != nil || !bytes.Equal(old, damaged) {
				t.Errorf("the old file is not kept: %v", err)
			}
			claim(t, f, "web", balancer.Key{Host: "h", Port: 80}).Sessions.Add(1)
		})
	}
}

// What was set aside before is kept.
func TestCountersFilesThatAreSetAsideAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.counters")
	for n := range 10 {
		if err := os.WriteFile(path, fmt.Appendf(nil, "diary %d", n), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := OpenCounters(path, func(error) {})
		if n == 9 {
			if err == nil || !strings.Contains(err.Error(), "file exists") {
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

func TestCountersFilesThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.counters")
	f := openTestCounters(t, path)
	claim(t, f, "web", balancer.Key{Host: "h", Port: 80})
	if _, err := OpenCounters(path, refuseWarnings(t)); err == nil || !strings.Contains(err.Error(), "another daemon counts in it") {
		t.Errorf("a file that is in use: %v", err)
	}
	link := filepath.Join(dir, "link.counters")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCounters(link, refuseWarnings(t)); err == nil {
		t.Error("a symbolic link is followed")
	}
	if _, err := ReadCounters(link); err == nil {
		t.Error("a client follows a symbolic link")
	}
	if _, err := OpenCounters(filepath.Join(dir, "missing", "a"), refuseWarnings(t)); err == nil {
		t.Error("a directory is made for the file")
	}
}

func FuzzReadCounters(f *testing.F) {
	path := filepath.Join(f.TempDir(), "a.counters")
	file, err := OpenCounters(path, func(error) {})
	if err != nil {
		f.Fatal(err)
	}
	if _, err := file.Claim("web", balancer.Key{Host: "h", Port: 80}); err != nil {
		f.Fatal(err)
	}
	file.records()[0].setInt(atGroup, 0)
	file.Close()
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data[blockSize : blockSize+recordSize])
	f.Fuzz(func(t *testing.T, first []byte) {
		damaged := bytes.Clone(data)
		copy(damaged[blockSize:blockSize+recordSize], first)
		path := filepath.Join(t.TempDir(), "a.counters")
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if saved, err := ReadCounters(path); err == nil {
			for _, l := range saved.Identity.Listeners {
				lines, _, _ := saved.Answer(l.Name, "show")
				writeAnswer(io.Discard, lines, OK)
				saved.Answer(l.Name, "mrtg-bytes 0 0")
			}
		}
		if file, err := OpenCounters(path, func(error) {}); err == nil {
			file.Claim("web", balancer.Key{Host: "h", Port: 80})
			file.Close()
		}
	})
}

// records returns all records that are taken.
func (f *CountersFile) records() (list []*record) {
	for _, r := range f.taken {
		list = append(list, r)
	}
	return list
}
