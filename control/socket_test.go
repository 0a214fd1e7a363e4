package control

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"balance/engine/socket"
)

func TestModes(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	expectMode(t, r.dir, fs.ModeDir|0o700)
	expectMode(t, r.server.Path(), fs.ModeSocket|0o600)
}

func expectMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != want {
		t.Errorf("%s has mode %v, want %v", filepath.Base(path), info.Mode(), want)
	}
}

func listen(dir string, daemon Daemon) (*Server, error) {
	server, err := Listen(dir, daemon, slog.New(slog.DiscardHandler))
	if err == nil {
		server.Serve()
	}
	return server, err
}

func TestDirectoriesThatAreRefused(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	cases := []struct {
		name, want string
		make       func(path string) error
	}{
		{"open", "others may write to it (mode 0777)", func(path string) error {
			return errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, 0o777))
		}},
		{"link", "it is not a directory", func(path string) error { return os.Symlink(r.dir, path) }},
		{"file", "it is not a directory", func(path string) error { return os.WriteFile(path, nil, 0o600) }},
		{"missing/parent", "no such file or directory", func(string) error { return nil }},
		{"foreign", "it belongs to user 12345", func(path string) error {
			return errors.Join(os.Mkdir(path, 0o700), os.Chown(path, 12345, 12345))
		}},
	}
	base := t.TempDir()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "foreign" && os.Geteuid() != 0 {
				t.Skip("skipped: only root can make a directory of another user")
			}
			path := filepath.Join(base, c.name)
			if err := c.make(path); err != nil {
				t.Fatal(err)
			}
			server, err := listen(path, r.daemon())
			if err == nil {
				server.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestDirectoryIsMadePrivate(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	server, err := listen(dir, r.daemon())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	expectMode(t, dir, fs.ModeDir|0o700)
}

func TestLiveSocketIsNotTaken(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	_, err := listen(r.dir, r.daemon()) // this process, so the same name
	if !errors.Is(err, socket.ErrLive) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("%v, want it to name the process", err)
	}
	if _, status := r.say(r.dial(), "show"); status != OK {
		t.Error("the first server is out of order")
	}
}

// stale leaves a socket behind as a daemon does that is killed.
func stale(t *testing.T, path string) {
	t.Helper()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	listener.Close()
}

func TestStaleSockets(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	r.server.Close()
	stale(t, r.server.Path())
	server, err := listen(r.dir, r.daemon())
	if err != nil {
		t.Fatalf("a stale socket is not taken over: %v", err)
	}
	defer server.Close()
	other := filepath.Join(r.dir, "1.sock")
	stale(t, other)
	found := Search()
	if len(found.Clients) != 1 || len(found.Errs) != 0 {
		t.Errorf("%d daemons, errors %v, want one daemon", len(found.Clients), found.Errs)
	}
	for _, client := range found.Clients {
		client.Close()
	}
	if _, err := os.Lstat(other); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the stale socket of another process is still there: %v", err)
	}
	if _, err := os.Lstat(server.Path()); err != nil {
		t.Errorf("the live socket is gone: %v", err)
	}
}

// A daemon that never answers holds up the search, but nobody who starts.
func TestSearchKeepsNobodyFromStarting(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	r.server.Close()
	stale(t, filepath.Join(r.dir, "1.sock"))
	mute, err := net.Listen("unix", filepath.Join(r.dir, "2.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	searched := make(chan Found, 1)
	go func() { searched <- Search() }()
	conn, err := mute.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 20 {
		server, err := listen(r.dir, r.daemon())
		if err != nil {
			t.Errorf("while somebody searches: %v", err)
			break
		}
		server.Close()
	}
	conn.Close()
	found := <-searched
	if len(found.Clients) != 0 || len(found.Errs) != 1 {
		t.Errorf("%d daemons, errors %v", len(found.Clients), found.Errs)
	}
}

// TestBoundSocketIsNotStale stops a daemon between bind and listen, when
// nobody can connect yet.
func TestBoundSocketIsNotStale(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	dir, err := makeDirectory(r.dir, false)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	locked, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer locked.Close()
	path := filepath.Join(r.dir, "1.sock")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	var searching sync.WaitGroup
	var found Found
	searching.Go(func() { found = Search() })
	searching.Wait() // it gives up waiting for the lock
	for _, client := range found.Clients {
		client.Close()
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("a client removed a socket that is about to listen: %v", err)
	}
}

// TestSharedDirectoryIsLockedByNobodyElse holds the lock that whoever can read
// the directory can take.
func TestSharedDirectoryIsLockedByNobodyElse(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	r.server.Close()
	if err := os.Chmod(r.dir, sharedDirectory); err != nil {
		t.Fatal(err)
	}
	stranger, err := os.Open(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if err := syscall.Flock(int(stranger.Fd()), syscall.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	server, err := listen(r.dir, r.daemon())
	if err != nil {
		t.Fatalf("whoever reads the directory keeps a daemon from its socket: %v", err)
	}
	server.Close()
	expectMode(t, filepath.Join(r.dir, lockName), 0o600)
}

func TestLocksThatAreRefused(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	r.server.Close()
	path := filepath.Join(r.dir, lockName)
	cases := []struct {
		name, want string
		make       func() error
	}{
		{"link", "too many levels of symbolic links", func() error { return os.Symlink("/dev/null", path) }},
		{"pipe", "not a regular file", func() error { return syscall.Mkfifo(path, 0o600) }},
		{"directory", "is a directory", func() error { return os.Mkdir(path, 0o700) }},
		{"foreign", "belongs to user 12345", func() error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Chown(path, 12345, 12345))
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "foreign" && os.Geteuid() != 0 {
				t.Skip("skipped: only root can make a file of another user")
			}
			if err := errors.Join(os.RemoveAll(path), c.make()); err != nil {
				t.Fatal(err)
			}
			server, err := listen(r.dir, r.daemon())
			if err == nil {
				server.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestLockIsMadePrivate(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	r.server.Close()
	path := filepath.Join(r.dir, lockName)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	server, err := listen(r.dir, r.daemon())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	expectMode(t, path, 0o600)
}

func TestFilesThatAreNoSocketsStay(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	r.server.Close()
	if err := os.WriteFile(r.server.Path(), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen(r.dir, r.daemon()); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("%v", err)
	}
	if data, _ := os.ReadFile(r.server.Path()); string(data) != "mine" {
		t.Error("a foreign file was removed")
	}
}

func TestManyClients(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80", "127.0.0.2:80"}))
	var clients sync.WaitGroup
	failures := make(chan error, 100)
	for i := range 100 {
		clients.Go(func() {
			client, err := Dial(r.server.Path())
			if err != nil {
				failures <- err
				return
			}
			defer client.Close()
			for k := range 10 {
				request, want := "show", ""
				if i%4 == 0 {
					limit := i*10 + k
					request, want = fmt.Sprintf("maxc 0 %d", limit), fmt.Sprintf("maxc of channel 0 changed to %d", limit)
				}
				lines, status, err := client.Ask(request)
				if err != nil || status != OK || want != "" && strings.Join(lines, "\n") != want {
					failures <- fmt.Errorf("%s: %q, status %d, %v", request, lines, status, err)
					return
				}
			}
		})
	}
	clients.Wait()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
}

func TestEditsAtOnceAreAllKept(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	var clients sync.WaitGroup
	for i := range 20 {
		client := r.dial()
		clients.Go(func() { client.Ask(fmt.Sprintf("create 127.0.1.%d 80", i)) })
	}
	clients.Wait()
	if n := len(r.engine.Snapshot().Listeners[0].Groups[0].Channels); n != 21 {
		t.Errorf("%d channels, want 21", n)
	}
}

// TestSlowClient has clients that ask and never read: others are served, and
// the server ends in time.
func TestSlowClient(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	for range 10 {
		conn, err := net.Dial("unix", r.server.Path())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		requests := bytes.Repeat([]byte("help\n"), 1000)
		for {
			if _, err := conn.Write(requests); err != nil {
				break // both buffers are full: the server waits for this client
			}
		}
	}
	if _, status := r.say(r.dial(), "show"); status != OK {
		t.Error("slow clients keep others from their answers")
	}
	ended := make(chan struct{})
	go func() { r.server.Close(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(testPatience):
		t.Fatal("slow clients keep the server from its end")
	}
}

func TestLongRequests(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	conn, err := net.Dial("unix", r.server.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(testPatience))
	go conn.Write(bytes.Repeat([]byte("x"), MaxRequest+1))
	answer, _ := io.ReadAll(conn)
	if want := fmt.Sprintf("a request has at most %d bytes\n. 1\n", MaxRequest); string(answer) != want {
		t.Errorf("%q, want %q", answer, want)
	}
}

// TestPlainText talks as a script with socat does: it sends all it has to say,
// ends its side, and reads. The last line has no line feed.
func TestPlainText(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	conn, err := net.Dial("unix", r.server.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(testPatience))
	io.WriteString(conn, "maxc 0 3\r\n\nfoo\ngroup 9\nmrtg-conns 0 0")
	conn.(*net.UnixConn).CloseWrite()
	answer, err := io.ReadAll(conn)
	want := "maxc of channel 0 changed to 3\n. 0\n. 0\nsyntax error\n\"foo\" is no command; help lists them\n. 64\nvalue out of range\n. 1\n" +
		"0\nUNKNOWN\nUNKNOWN\ngroup 0 channel 0\n. 0\n"
	if err != nil || string(answer) != want {
		t.Errorf("%q, %v, want %q", answer, err, want)
	}
}

func TestTooManyClients(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	for range maxClients {
		r.dial()
	}
	if _, err := Dial(r.server.Path()); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("one client too many: %v", err)
	}
}

func TestMatch(t *testing.T) {
	identity := Identity{Listeners: []Listener{
		{Name: "all", Listen: []string{":80"}, Addresses: []string{":80"}},
		{Name: "one", Listen: []string{"127.0.0.1:81", "localhost:82"}, Addresses: []string{"127.0.0.1:81", "127.0.0.1:82"}},
		{Name: "two", Listen: []string{"127.0.0.2:81"}, Addresses: []string{"127.0.0.2:81"}},
		{Name: "six", Listen: []string{"[::]:83"}, Addresses: []string{"[::]:83"}},
	}}
	cases := []struct {
		host string
		port int
		want string
	}{
		{"", 80, "all"},
		{"127.0.0.1", 80, "all"},
		{"::1", 80, "all"},
		{"", 81, "one two"},
		{"127.0.0.2", 81, "two"},
		{"127.0.0.3", 81, ""},
		{"0.0.0.0", 81, ""},
		{"localhost", 82, "one"},
		{"::1", 83, "six"},
		{"0:0::0", 83, "six"},
		{"127.0.0.1", 83, ""},
		{"", 84, ""},
	}
	for _, c := range cases {
		if got := strings.Join(identity.Match(c.host, c.port), " "); got != c.want {
			t.Errorf("%q port %d: %q, want %q", c.host, c.port, got, c.want)
		}
	}
}

func TestDirectories(t *testing.T) {
	runtime := t.TempDir()
	private := filepath.Join(os.TempDir(), "balance-7")
	for _, c := range []struct {
		uid                int
		managed, xdg, want string
	}{
		{7, "/run/a/:/run/b", runtime, "/run/a"},
		{0, "/run/a", "", "/run/a"},
		{0, "run", "", systemDirectory},
		{0, "", runtime, systemDirectory},
		{7, "", runtime, filepath.Join(runtime, "balance") + " " + private + " /run/user/7/balance " + systemDirectory},
		{7, "", "", private + " /run/user/7/balance " + systemDirectory},
		{7, "", "relative", private + " /run/user/7/balance " + systemDirectory},
		{7, "", filepath.Join(runtime, "gone"), private + " /run/user/7/balance " + systemDirectory},
	} {
		got := directoriesOf(c.uid, func(name string) string {
			return map[string]string{"RUNTIME_DIRECTORY": c.managed, "XDG_RUNTIME_DIR": c.xdg}[name]
		})
		if strings.Join(got, " ") != c.want {
			t.Errorf("user %d, RUNTIME_DIRECTORY=%q XDG_RUNTIME_DIR=%q: %q, want %q", c.uid, c.managed, c.xdg, got, c.want)
		}
	}
	t.Setenv("RUNTIME_DIRECTORY", runtime)
	if got := Directory(); got != runtime {
		t.Errorf("%q, want %q", got, runtime)
	}
}
