package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"balance/engine"
	"balance/engine/admit"
	"balance/engine/spec"
)

// write replaces what a file holds, in place.
func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// admitted fails unless clients from the loopback are let in, or not.
func admitted(t testing.TB, address string, want bool) {
	t.Helper()
	c, err := tryDial(address)
	if err == nil {
		c.Close()
	}
	if (err == nil) != want {
		t.Errorf("a client: %v, want it let in: %v", err, want)
	}
}

func TestLists(t *testing.T) {
	r := newRig(t)
	a, address, dir := r.server("a"), free(t, "127.0.0.1"), t.TempDir()
	allow, deny := filepath.Join(dir, "allow"), filepath.Join(dir, "deny")
	write(t, allow, "127.0.0.0/8\n")
	write(t, deny, "# nobody yet\n")
	l := listener("web", address, a)
	l.Admit.AllowFile, l.Admit.DenyFile, l.Admit.Allow = allow, deny, []string{"192.0.2.0/24"}
	config := declare(l)
	r.apply(config)
	admitted(t, address, true)
	if changes := r.apply(config); len(changes) != 0 || r.Snapshot().Generation != 1 {
		t.Errorf("the same again changes %v", changes)
	}

	write(t, deny, "# nobody yet\n127.0.0.1\n2001:db8::/32\n2001:db8::/32\n")
	want := fmt.Sprintf("~ web admit.deny_file %q: 2 networks added, 0 gone\n", deny)
	if preview, err := r.Preview(config); err != nil || preview.String() != want {
		t.Errorf("a preview tells of\n%s%v", preview, err)
	}
	admitted(t, address, true) // an edit reads no file again
	if _, err := r.Edit(t.Context(), func(c *spec.Config) error { c.Listeners[0].IdleTimeout = time.Hour; return nil }); err != nil {
		t.Fatal(err)
	}
	admitted(t, address, true)
	r.apply(declare(l)) // takes the edit back, and reads
	admitted(t, address, false)

	write(t, deny, "2001:db8::/32\n")
	if changes, err := r.Reread(t.Context()); err != nil || changes.String() != fmt.Sprintf("~ web admit.deny_file %q: 0 networks added, 1 gone\n", deny) {
		t.Errorf("reread: %v, %v", changes, err)
	}
	admitted(t, address, true)
	if log := r.log.String(); !strings.Contains(log, "0 networks added, 1 gone") {
		t.Error("the log does not tell of it")
	}

	// The same number of bytes at the same time is another file all the same.
	write(t, allow, "128.0.0.0/8\n")
	r.apply(config)
	admitted(t, address, false)
	os.Remove(deny)
	write(t, deny+"2", "")
	os.Rename(deny+"2", deny)
	write(t, allow, "127.0.0.0/8\n")
	r.apply(config)
	admitted(t, address, true)

	// What is no network of another is no change to tell of, but which line it is.
	write(t, allow, "# a comment\n127.0.0.0/8\n")
	if changes := r.apply(config); len(changes) != 0 {
		t.Errorf("a comment changes %v", changes)
	}
	if got, err := r.Admission("web", netip.MustParseAddr("127.0.0.1")); err != nil || got.Rule.Line != 2 || got.Rule.File != allow || !got.Ruled || got.Refusal != admit.Admitted {
		t.Errorf("admission: %+v, %v", got, err)
	}
	if got, err := r.Admission("web", netip.MustParseAddr("10.0.0.1")); err != nil || got.Ruled || got.Refusal != admit.Denied {
		t.Errorf("admission of another: %+v, %v", got, err)
	}

	// Without lists there is no edge.
	plain := listener("web", address, a)
	r.apply(declare(plain))
	if got, err := r.Admission("web", netip.MustParseAddr("10.0.0.1")); err != nil || got != (engine.Admission{}) {
		t.Errorf("admission where nothing is asked: %+v, %v", got, err)
	}
}

// A file that is wrong keeps all of the change from being applied.
func TestListsThatAreWrong(t *testing.T) {
	r := newRig(t)
	a, address, dir := r.server("a"), free(t, "127.0.0.1"), t.TempDir()
	deny := filepath.Join(dir, "deny")
	write(t, deny, "192.0.2.0/24\n")
	l := listener("web", address, a)
	l.Admit.DenyFile = deny
	config := declare(l)
	r.apply(config)
	other := free(t, "127.0.0.1")
	for name, test := range map[string]struct {
		make func()
		want string
	}{
		"syntax":    {func() { write(t, deny, "127.0.0.1\n\n300.0.0.1\n") }, deny + ":3: "},
		"missing":   {func() {}, "no such file"},
		"directory": {func() { os.Mkdir(deny, 0o700) }, "not a regular file"},
		"FIFO":      {func() { mkfifo(t, deny) }, "not a regular file"},
		"device":    {func() { os.Symlink("/dev/zero", deny) }, "not a regular file"},
		"large": {func() {
			write(t, deny, "127.0.0.1\n")
			os.Truncate(deny, admit.MaxListBytes+1)
		}, "is larger than 64 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			os.RemoveAll(deny)
			test.make()
			changed := declare(l, listener("other", other, a))
			changed.Listeners[0].IdleTimeout = time.Hour
			_, err := r.Apply(t.Context(), changed)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), `listener "web" admit: deny_file`) {
				t.Errorf("applied: %v", err)
			}
			var fault spec.Fault
			if !errors.As(err, &fault) || fault.Path.String() != "listener[0].admit.deny_file" {
				t.Errorf("the fault is at %s", fault.Path)
			}
			if _, err := r.Preview(changed); err == nil {
				t.Error("a preview finds nothing wrong")
			}
			if engine.LoadLists(changed) == nil {
				t.Error("a check finds nothing wrong")
			}
			if _, err := r.Reread(t.Context()); err == nil {
				t.Error("reread")
			}
			admitted(t, address, true)
			refused(t, other)
			if r.Config() != config || r.Snapshot().Generation != 1 {
				t.Error("something has changed")
			}
			if _, err := r.Edit(t.Context(), func(c *spec.Config) error { return nil }); err != nil {
				t.Errorf("an edit of something else: %v", err)
			}
		})
	}
	os.RemoveAll(deny)
	write(t, deny, "")
	l.Admit.AllowFile, l.Admit.DenyFile = deny, ""
	if err := engine.LoadLists(declare(l)); err == nil || !strings.Contains(err.Error(), "everybody would be let in") {
		t.Errorf("an empty file of who may come in: %v", err)
	}
	l.Admit.Allow = []string{"127.0.0.1"}
	if err := engine.LoadLists(declare(l)); err != nil {
		t.Errorf("an empty file beside others: %v", err)
	}
}

// hundredThousand is a list of so many networks.
func hundredThousand() []byte {
	random := rand.New(rand.NewPCG(1, 2))
	var text bytes.Buffer
	for range 100_000 {
		addr := netip.AddrFrom4([4]byte{byte(11 + random.IntN(100)), byte(random.Uint32()), byte(random.Uint32()), byte(random.Uint32())})
		fmt.Fprintln(&text, netip.PrefixFrom(addr, 16+random.IntN(17)).Masked())
	}
	return text.Bytes()
}

// BenchmarkReloadLists reloads a list of 100 000 networks, one of which is another each
// time, or none.
func BenchmarkReloadLists(b *testing.B) {
	for _, same := range []bool{false, true} {
		b.Run(fmt.Sprintf("same=%v", same), func(b *testing.B) {
			r := newRig(b)
			path := filepath.Join(b.TempDir(), "deny")
			text := hundredThousand()
			write(b, path, string(text))
			l := listener("web", free(b, "127.0.0.1"), r.server("a"))
			l.Admit.DenyFile = path
			r.apply(declare(l))
			n := 0
			for b.Loop() {
				if !same {
					b.StopTimer()
					n++
					write(b, path, fmt.Sprintf("%s10.%d.%d.%d\n", text, n>>16&255, n>>8&255, n&255))
					b.StartTimer()
				}
				if _, err := r.Reread(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
