//go:build unix

package socket

import (
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

var private = File{Mode: 0o600, Group: NoGroup}

func pathOf(t *testing.T) string { return filepath.Join(t.TempDir(), "s") }

func openUnix(t *testing.T, path string, file File) *Socket {
	t.Helper()
	s, err := OpenUnix(t.Context(), path, file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func dialUnix(t *testing.T, path string) net.Conn {
	t.Helper()
	client, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// alone fails if there is more in a directory than the names.
func alone(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("the directory holds %q, want %q", got, names)
	}
}

// serveOne accepts a client of the socket, whatever its form, and sends it a byte.
func serveOne(t *testing.T, s *Socket, client net.Conn) {
	t.Helper()
	accept(t, s).Write([]byte("x"))
	if _, err := client.Read([]byte{0}); err != nil {
		t.Errorf("a client of %s: %v", s.Address(), err)
	}
}

// forms are what a socket can be for a data plane.
var forms = map[string]func(*Socket){"Listener": func(*Socket) {}, "Descriptor": func(s *Socket) { s.Descriptor() }}

func TestUnix(t *testing.T) {
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			path := pathOf(t)
			s := openUnix(t, path, File{Mode: 0o622, Group: NoGroup})
			form(s)
			if got, ok := s.Unix(); !ok || got != path || s.Addr().IsValid() || s.Address().String() != "unix:"+path {
				t.Errorf("the socket is %q, %v, %v, %s", got, ok, s.Addr(), s.Address())
			}
			if info, err := os.Lstat(path); err != nil || info.Mode() != fs.ModeSocket|0o622 {
				t.Errorf("the file: %v, %v", info, err)
			}
			alone(t, filepath.Dir(path), "s")
			serveOne(t, s, dialUnix(t, path))
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			alone(t, filepath.Dir(path))
			if err := s.Close(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("closed twice: %v", err)
			}
		})
	}
}

// stale leaves a socket behind that nobody listens on.
func stale(t *testing.T, path string) {
	t.Helper()
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
}

func TestUnixTakesOverAStaleOne(t *testing.T) {
	path := pathOf(t)
	stale(t, path)
	s := openUnix(t, path, private)
	serveOne(t, s, dialUnix(t, path))
}

// What is in the place of the socket and is not to be taken over stays as it is.
func TestUnixLeavesAlone(t *testing.T) {
	for name, test := range map[string]struct {
		make func(t *testing.T, path string)
		want string
	}{
		"live": {func(t *testing.T, path string) { openUnix(t, path, private) }, "somebody listens there"},
		"full": {func(t *testing.T, path string) {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Close(fd) })
			if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
				t.Fatal(err)
			}
			for range 10 {
				client, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { unix.Close(client) })
				unix.SetNonblock(client, true)
				if unix.Connect(client, &unix.SockaddrUnix{Name: path}) != nil {
					return
				}
			}
			t.Skip("the queue of a socket does not fill up on this system")
		}, "somebody listens there"},
		"datagrams": {func(t *testing.T, path string) {
			conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
		}, "connect"},
		"file": {func(t *testing.T, path string) { os.WriteFile(path, nil, 0o600) }, "is not a socket"},
		"link to a stale one": {func(t *testing.T, path string) {
			stale(t, path+"2")
			os.Symlink(path+"2", path)
		}, "is not a socket"},
		"link to nothing": {func(t *testing.T, path string) { os.Symlink(path+"2", path) }, "is not a socket"},
		"directory":       {func(t *testing.T, path string) { os.Mkdir(path, 0o700) }, "is not a socket"},
		"lock that is none": {func(t *testing.T, path string) {
			stale(t, path)
			os.Mkdir(path+".lock", 0o700)
		}, "lock"},
		"lock that is a link": {func(t *testing.T, path string) {
			stale(t, path)
			os.Symlink(path, path+".lock")
		}, "lock"},
	} {
		t.Run(name, func(t *testing.T) {
			path := pathOf(t)
			test.make(t, path)
			before, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = OpenUnix(t.Context(), path, private)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("opened beside it: %v", err)
			}
			if errors.Is(err, ErrLive) != strings.Contains(test.want, "listens") {
				t.Errorf("live or not: %v", err)
			}
			if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
				t.Errorf("it is gone: %v", err)
			}
		})
	}
}

// Of many who find a stale socket at once one gets it, and is not robbed of it.
func TestUnixOneOfMany(t *testing.T) {
	path := pathOf(t)
	for range 20 {
		stale(t, path)
		var mu sync.Mutex
		var won []*Socket
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				s, err := OpenUnix(t.Context(), path, private)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					won = append(won, s)
				case !errors.Is(err, ErrLive):
					t.Error(err)
				}
			})
		}
		all.Wait()
		if len(won) != 1 {
			t.Fatalf("%d have it", len(won))
		}
		alone(t, filepath.Dir(path), "s")
		for { // those who looked whether somebody listens are in the queue
			fd := -1
			control(won[0].raw, "accept", func(listening int) (err error) {
				fd, _, err = unix.Accept(listening)
				return err
			})
			if fd < 0 {
				break
			}
			unix.Close(fd)
		}
		serveOne(t, won[0], dialUnix(t, path))
		won[0].Close()
	}
}

// A file that is another's by now stays.
func TestUnixLeavesTheFileOfAnother(t *testing.T) {
	path := pathOf(t)
	s := openUnix(t, path, private)
	os.Remove(path)
	another := openUnix(t, path, private)
	if err := s.SetFile(File{Mode: 0o666, Group: NoGroup}); err == nil {
		t.Error("the mode of another's file was changed")
	}
	s.Close()
	serveOne(t, another, dialUnix(t, path))
}

func TestUnixSetFile(t *testing.T) {
	path := pathOf(t)
	s := openUnix(t, path, private)
	group := os.Getgid()
	if os.Getuid() == 0 {
		group = 12345
	}
	for _, file := range []File{{0o660, NoGroup}, {0o666, group}, {0o600, group}} {
		if err := s.SetFile(file); err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(path)
		if err != nil || info.Mode().Perm() != file.Mode || file.Group != NoGroup && int(info.Sys().(*syscall.Stat_t).Gid) != file.Group {
			t.Errorf("after %v: %v, %v", file, info, err)
		}
	}
	s.Refuse(true)
	if err := s.SetFile(File{0o640, NoGroup}); err != nil {
		t.Error(err)
	}
	s.Refuse(false)
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("after it refused clients: %v, %v", info, err)
	}
}

func TestUnixRefuse(t *testing.T) {
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			path := pathOf(t)
			s := openUnix(t, path, private)
			for range 2 {
				form(s)
				waiting := dialUnix(t, path)
				if err := s.Refuse(true); err != nil {
					t.Fatal(err)
				}
				if _, err := waiting.Read([]byte{0}); err == nil {
					t.Error("who waited in the queue still waits")
				}
				if conn, err := net.Dial("unix", path); err == nil {
					t.Errorf("a client was not refused: %v", conn)
				}
				if err := s.Share(true); err != nil {
					t.Error(err)
				}
				another := openUnix(t, path, private)
				if err := s.Refuse(false); !errors.Is(err, ErrLive) {
					t.Errorf("listens in the place of another: %v", err)
				}
				another.Close()
				if err := s.Refuse(false); err != nil {
					t.Fatal(err)
				}
				form(s)
				serveOne(t, s, dialUnix(t, path))
			}
			s.Refuse(true)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if err := s.Refuse(false); !errors.Is(err, net.ErrClosed) {
				t.Errorf("it is closed: %v", err)
			}
			alone(t, filepath.Dir(path))
		})
	}
}

// When a socket retires its file goes first; then whoever is in the queue is accepted.
func TestUnixRetire(t *testing.T) {
	path := pathOf(t)
	s := openUnix(t, path, private)
	o := &order{socket: s}
	client := dialUnix(t, path)
	s.Descriptor()
	o.empty = func() {
		alone(t, filepath.Dir(path))
		serveOne(t, s, client)
		openUnix(t, path, private) // another may come
	}
	s.Retire(t.Context(), o, slog.New(slog.DiscardHandler))
	if strings.Join(o.asked, " ") != "drain stop" {
		t.Errorf("asked of the acceptor: %q", o.asked)
	}
	dialUnix(t, path)
}

func TestLookupGroup(t *testing.T) {
	if _, err := LookupGroup("no-such-group-here"); err == nil {
		t.Error("a group that there is not")
	}
	if got, err := LookupGroup(""); got != NoGroup || err != nil {
		t.Errorf("no group: %d, %v", got, err)
	}
}
