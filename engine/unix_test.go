package engine_test

import (
	"errors"
	"fmt"
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

	"balance/engine"
	"balance/engine/balancer"
	"balance/engine/socket"
	"balance/engine/spec"
)

// unixPath returns a path for a unix socket, and the address of it.
func unixPath(t testing.TB) (path, address string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "engine") // that of the test may be too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path = filepath.Join(dir, "in.sock")
	return path, "unix:" + path
}

func dialUnix(t testing.TB, path string) *client {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := greeted(conn)
	if err != nil {
		t.Fatal(err)
	}
	c.t = t
	t.Cleanup(func() { c.Close() })
	return c
}

// fileOf returns the file of a socket, nil if there is none.
func fileOf(t testing.TB, path string) os.FileInfo {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return info
}

// unixServer is a server on a unix socket that greets and echoes.
func (r *rig) unixServer(name string) (path string) {
	r.Helper()
	path, _ = unixPath(r)
	listener, err := net.Listen("unix", path)
	if err != nil {
		r.Fatal(err)
	}
	var handlers sync.WaitGroup
	handlers.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			handlers.Go(func() { greet(conn, name) })
		}
	})
	r.Cleanup(func() {
		listener.Close()
		handlers.Wait()
	})
	return path
}

func TestUnixListenerAndChannel(t *testing.T) {
	r := newRig(t)
	path, address := unixPath(t)
	a, tcp := r.server("a"), free(t, "127.0.0.1")
	b := r.unixServer("b")
	channel := spec.Channel{Host: "unix:" + b}
	l := listener("web", address, a)
	l.Listen = append(l.Listen, tcp)
	l.Groups[0].Channels = append(l.Groups[0].Channels, channel)
	config := declare(l)
	config.Log.Sessions = spec.AllSessions
	r.apply(config)
	if mode := fileOf(t, path).Mode(); mode != fs.ModeSocket|0o660 {
		t.Errorf("the file has the mode %v", mode)
	}
	for i, want := range []string{"a", "b", "a", "b"} {
		var c *client
		if i < 2 {
			c = dialUnix(t, path)
		} else {
			c = dial(t, tcp)
		}
		if c.by != want {
			t.Errorf("client %d was served by %q", i, c.by)
		}
		c.works()
		if i < 2 {
			found := 0
			for s := range r.Sessions {
				if !s.Client.IsValid() {
					found++
				}
			}
			if found != i+1 {
				t.Errorf("%d clients of a unix socket are shown", found)
			}
		}
	}
	status := r.Snapshot().Listeners[0]
	if got := fmt.Sprint(status.Addresses); got != fmt.Sprintf("[%s %s]", address, tcp) {
		t.Errorf("listens on %s", got)
	}
	if got := status.Groups[0].Channels[1]; got.Sessions != 2 || got.Key.String() != "unix:"+b || got.State != balancer.StateUp || len(got.Addresses) != 0 {
		t.Errorf("the channel: %+v", got)
	}
	r.Resolve(t.Context())
	if got := r.Snapshot().Listeners[0].Groups[0].Channels[1]; got.State != balancer.StateUp {
		t.Errorf("after names were resolved the channel is %s", got.State)
	}
	if r.names.taken() != nil {
		t.Error("a name was asked for")
	}
	c := dialUnix(t, path)
	c.Conn.(*net.UnixConn).CloseWrite()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("after the end of the stream: %d, %v", n, err)
	}
	eventually(t, "the session is logged", func() bool { return strings.Contains(r.log.String(), "client=unix listener=web") })
	r.Shutdown(canceled())
	if fileOf(t, path) != nil {
		t.Error("the file is left behind")
	}
}

func TestUnixOfTwoDaemons(t *testing.T) {
	r := newRig(t)
	other := newEngine(t, engine.Options{Log: slog.New(slog.DiscardHandler), DataPlane: dataPlane})
	defer other.Shutdown(canceled())
	path, address := unixPath(t)
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	a, b := r.server("a"), r.server("b")
	r.apply(declare(listener("web", address, a)))
	before := fileOf(t, path)
	if _, err := other.Apply(t.Context(), declare(listener("web", address, b), listener("mail", free(t, "127.0.0.1"), b))); !errors.Is(err, socket.ErrLive) {
		t.Errorf("another daemon in its place: %v", err)
	}
	if !os.SameFile(before, fileOf(t, path)) {
		t.Error("another daemon has taken the file")
	}
	if got := dialUnix(t, path).by; got != "a" {
		t.Errorf("served by %q", got)
	}
}

// What a reload does to a unix socket.
func TestUnixReload(t *testing.T) {
	r := newRig(t)
	a, b := r.server("a"), r.server("b")
	path, address := unixPath(t)
	second, secondAddress := unixPath(t)
	web, tcp := listener("web", address, a), free(t, "127.0.0.1")
	r.apply(declare(web))
	file := fileOf(t, path)
	old := dialUnix(t, path)
	same := func(what string) {
		t.Helper()
		if now := fileOf(t, path); now == nil || !os.SameFile(file, now) {
			t.Errorf("%s: it is another socket", what)
		}
		old.works()
	}

	// Another listener gets it, and then both have one.
	r.apply(declare(listener("mail", address, b)))
	same("moved")
	if got := dialUnix(t, path).by; got != "b" {
		t.Errorf("moved: served by %q", got)
	}
	r.apply(declare(listener("mail", tcp, b), listener("web", address, a)))
	same("moved back")
	if got := dialUnix(t, path).by + dial(t, tcp).by; got != "ab" {
		t.Errorf("moved back: served by %q", got)
	}

	// Mode and group go to the file, not if something else is wrong.
	changed := listener("web", address, a)
	changed.Unix.Mode = 0o666
	wrong := listener("other", "unix:"+filepath.Join(filepath.Dir(path), "none", "s"), b)
	if _, err := r.Apply(t.Context(), declare(changed, wrong)); err == nil {
		t.Fatal("applied with a directory that there is not")
	}
	same("not applied")
	if mode := fileOf(t, path).Mode().Perm(); mode != 0o660 {
		t.Errorf("not applied: the file has the mode %04o", mode)
	}
	if os.Geteuid() == 0 {
		changed.Unix.Group = "1"
	}
	r.apply(declare(changed))
	same("mode")
	if mode := fileOf(t, path).Mode().Perm(); mode != 0o666 {
		t.Errorf("the file has the mode %04o", mode)
	}
	if gid := fileOf(t, path).Sys().(*syscall.Stat_t).Gid; os.Geteuid() == 0 && gid != 1 {
		t.Errorf("the file has the group %d", gid)
	}
	changed.Unix.Group = "no-such-group"
	if _, err := r.Apply(t.Context(), declare(changed)); err == nil || !strings.Contains(err.Error(), `"no-such-group"`) {
		t.Errorf("a group that there is not: %v", err)
	}

	// Back and forth, as fast as it goes: the old one may not have retired yet.
	for range 20 {
		r.apply(declare(listener("web", secondAddress, a)))
		if fileOf(t, second) == nil {
			t.Fatal("there is no second socket")
		}
		r.apply(declare(listener("web", address, a)))
		if got := dialUnix(t, path).by; got != "a" {
			t.Errorf("served by %q", got)
		}
	}
	eventually(t, "the second socket is gone", func() bool { return fileOf(t, second) == nil })
	old.works()

	// Who waits in the queue is served when the listener is removed.
	r.apply(declare(listener("mail", tcp, b)))
	eventually(t, "the socket is gone", func() bool { return fileOf(t, path) == nil })
	old.works()
}

func TestUnixRefuses(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	path, address := unixPath(t)
	l := listener("web", address, a)
	l.WhenUnusable = spec.UnusableRefuse
	r.apply(declare(l))
	for range 3 {
		old := dialUnix(t, path)
		r.enable("web", a, false)
		eventually(t, "clients are refused", func() bool {
			conn, err := net.Dial("unix", path)
			if err == nil {
				conn.Close()
			}
			return err != nil
		})
		old.works()
		l.Unix.Mode = 0o600 ^ (l.Unix.Mode & 0o060) ^ 0o060
		r.apply(declare(l))
		r.enable("web", a, true)
		eventually(t, "clients are accepted", func() bool { return fileOf(t, path) != nil })
		if got := dialUnix(t, path).by; got != "a" {
			t.Errorf("served by %q", got)
		}
		if mode := fileOf(t, path).Mode().Perm(); mode != fs.FileMode(l.Unix.Mode) {
			t.Errorf("the file has the mode %04o, not %04o", mode, l.Unix.Mode)
		}
	}
}

// A channel is told by its path like any other by its address.
func TestUnixChannelReload(t *testing.T) {
	r := newRig(t)
	web := free(t, "127.0.0.1")
	one, two := r.unixServer("one"), r.unixServer("two")
	declared := func(paths ...string) *spec.Config {
		l := listener("web", web)
		for _, path := range paths {
			l.Groups[0].Channels = append(l.Groups[0].Channels, spec.Channel{Host: "unix:" + path})
		}
		return declare(l)
	}
	r.apply(declared(one))
	old := dial(t, web)
	r.apply(declared(two, one))
	got := []string{dial(t, web).by, dial(t, web).by}
	slices.Sort(got)
	if fmt.Sprint(got) != "[one two]" {
		t.Errorf("served by %q", got)
	}
	if c := r.Snapshot().Listeners[0].Groups[0].Channels[1]; c.Sessions != 2 || c.Active != 2 {
		t.Errorf("the channel that stays: %+v", c)
	}
	old.works()
	os.Remove(two)
	got = []string{dial(t, web).by, dial(t, web).by}
	if fmt.Sprint(got) != "[one one]" {
		t.Errorf("with one that is gone: served by %q", got)
	}
}

// Whose file somebody has removed or replaced is listened on anew at the next reload, and
// who has come before is served on.
func TestUnixFileIsLost(t *testing.T) {
	r := newRig(t)
	path, address := unixPath(t)
	config := declare(listener("web", address, r.server("a")))
	r.apply(config)
	before := dialUnix(t, path)
	file := fileOf(t, path)
	r.apply(config)
	if !os.SameFile(fileOf(t, path), file) {
		t.Error("a file that is there is made anew")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r.apply(config)
	dialUnix(t, path).works()

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Apply(t.Context(), config); !errors.Is(err, socket.ErrLive) {
		t.Errorf("in the place of another who is alive: %v", err)
	}
	if _, err := r.Edit(t.Context(), func(c *spec.Config) error { c.Listeners[0].MaxSessions = 9; return nil }); err != nil {
		t.Errorf("an operator cannot act: %v", err)
	}
	other.SetUnlinkOnClose(false)
	other.Close()
	r.apply(config)
	dialUnix(t, path).works()
	before.works()
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("beside the socket there are %v, %v", entries, err)
	}
}
