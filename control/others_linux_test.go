package control

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestOtherSockets(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"12.sock", "docker.sock"} {
		listener, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
	}
	paths, err := otherSockets()
	if err != nil {
		t.Fatal(err)
	}
	paths = slices.DeleteFunc(paths, func(path string) bool { return filepath.Dir(path) != dir })
	if want := []string{filepath.Join(dir, "12.sock")}; !slices.Equal(paths, want) {
		t.Errorf("%q, want %q", paths, want)
	}
}

// What another user plants in a directory of his leads nowhere: nobody is sent a
// word.
func TestPlantedSockets(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("skipped: only root can make files of another user")
	}
	const someUser = 54321
	outside, dir := t.TempDir(), t.TempDir()
	listen := func(path string) {
		t.Helper()
		listener, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				conn.SetDeadline(time.Now().Add(5 * time.Second))
				if n, _ := conn.Read(make([]byte, 1)); n > 0 {
					t.Errorf("%q was sent something", path)
				}
				conn.Close()
			}
		}()
	}
	listen(filepath.Join(outside, "1.sock"))
	listen(filepath.Join(dir, "2.sock"))
	listen(filepath.Join(dir, "3.sock"))
	for _, err := range []error{
		os.Symlink(filepath.Join(outside, "1.sock"), filepath.Join(dir, "1.sock")),
		os.Lchown(filepath.Join(dir, "1.sock"), someUser, someUser),
		os.Chown(filepath.Join(dir, "3.sock"), someUser, someUser),
		os.Chown(dir, someUser, someUser),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(outside, link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "1.sock"):  "it is not a socket",
		filepath.Join(dir, "2.sock"):  "it belongs to user 0, its directory to user 54321",
		filepath.Join(dir, "3.sock"):  "a process of user 0 listens in a directory of user 54321",
		filepath.Join(link, "1.sock"): "it is not a directory",
	} {
		if client, err := dialOther(path, maxIdentity); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v, want %q", path, client, err, want)
		}
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := dialOther(filepath.Join(dir, "3.sock"), maxIdentity); err == nil || !strings.Contains(err.Error(), "others may write to it") {
		t.Error(err)
	}
}
