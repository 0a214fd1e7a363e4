package control

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"balance/control/counters"
	"balance/engine/balancer"
	"balance/engine/spec"
)

// counted runs a configuration, gives its channels numbers, and returns the file
// that they are counted in, after the end.
func counted(t testing.TB, config *spec.Config) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "a.counters")
	f, err := OpenCounters(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	e := newEngine(t, config)
	e.Channels(func(listener string, group, number int, _ balancer.Mode, channel *balancer.Channel) {
		n := uint64(100*group + 10*number)
		if listener == "mail" {
			n += 1000
		}
		channel.Counters.Sessions.Store(n + 1)
		channel.Counters.Sent.Store(n + 2)
		channel.Counters.Received.Store(n + 3)
	})
	f.Start(e)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAnswersFromTheCountersFile(t *testing.T) {
	config := declare([]string{"web", "mail"}, []string{"127.0.0.1:80", "127.0.0.1:80"}, []string{"[2001:db8::7]:81"})
	config.Listeners[0].Groups[1].Mode = balancer.Hash
	config.Listeners[0].Groups[1].Channels[0].MaxConns = 4
	config.Listeners[0].Groups[0].Channels[1].Disabled = true
	saved, err := ReadCounters(counted(t, config))
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
}

// FuzzReadCounters damages the first record of a file of version 1, which has no
// checksum.
func FuzzReadCounters(f *testing.F) {
	data, err := os.ReadFile(counted(f, declare([]string{"web"}, []string{"127.0.0.1:80", "127.0.0.1:81"})))
	if err != nil {
		f.Fatal(err)
	}
	data[counters.AtVersion] = 1
	first := data[counters.AtRecords : counters.AtRecords+counters.RecordSize]
	f.Add(append([]byte(nil), first...))
	f.Fuzz(func(t *testing.T, record []byte) {
		damaged := append([]byte(nil), data...)
		copy(damaged[counters.AtRecords:counters.AtRecords+counters.RecordSize], record)
		path := filepath.Join(t.TempDir(), "a.counters")
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		saved, err := ReadCounters(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range saved.Identity.Listeners {
			lines, _, _ := saved.Answer(l.Name, "show")
			writeAnswer(io.Discard, slices.Values(lines), OK)
			saved.Answer(l.Name, "mrtg-bytes 0 0")
		}
		file, err := OpenCounters(path, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
	})
}
