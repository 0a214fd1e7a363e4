package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestBadFiles puts one bad thing after the other in the place of the file.
// Each time the daemon has to say why, go on as before, and take the next good
// file. As root the test runs the daemon as another user, who can be refused.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	addr, stop, err := startServer("A")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	listen, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	busy, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()

	path := filepath.Join(openTempDir(t), "balance.toml")
	good := func(version int) string {
		return fmt.Sprintf("# %d\n[[listener]]\nname = \"good%d\"\nlisten = %q\n[[listener.group]]\nmode = \"rr\"\nchannels = [%q]\n", version, version, listen, addr)
	}
	with := func(more string) string {
		return good(0) + "[[listener]]\n" + more + "\ngroup = [{ channels = [\"h\"] }]\n"
	}
	noise := make([]byte, 64<<20)
	rand.NewChaCha8([32]byte{}).Read(noise)
	type bad struct {
		name  string
		put   func()
		wants string // in the log
	}
	write := func(content string) func() {
		return func() {
			if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	cases := []bad{
		{"invalid UTF-8", write(good(0) + "# \xff\n"), "balance.toml:8: .*UTF-8"},
		{"unknown key", write(good(0) + "chanels = []\n"), `balance.toml:8: .*unknown key .*chanels.*did you mean .*channels`},
		{"port in use", write(with(fmt.Sprintf("listen = %q", busy.Addr()))), "address already in use"},
		{"directory", func() { mkdir(t, path) }, "directory"},
		{"64 MiB of noise", write(string(noise)), "larger than 1048576 bytes"},
		{"5 MB of brackets", write(strings.Repeat("[", 5_000_000)), "larger than 1048576 bytes"},
		{"nested brackets", write(strings.Repeat("[", 500_000)), "nest deeper than 64"},
		{"empty", write(""), "no listener"},
		{"missing", func() {}, "no such file"},
		{"unreadable", func() { write(good(0))(); chmod(t, path, 0) }, "permission denied"},
	}
	if denied() {
		cases = append(cases, bad{"privileged port", write(with(`listen = "127.0.0.1:7"`)), "permission denied"})
	} else {
		t.Log("skipping a privileged port: this system has none")
	}
	for i := 1; i < 10; i++ {
		content := good(0)
		content = content[:len(content)*i/10]
		cases = append(cases, bad{fmt.Sprintf("%d tenths", i), write(content), "balance.toml|TOML"})
	}

	write(good(1))()
	d := startAsNobody(t, path)
	for i, c := range cases {
		version := 2 + i
		t.Run(c.name, func(t *testing.T) {
			before := d.log.Len()
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			c.put()
			d.await(t, before, c.wants)
			d.await(t, before, "running configuration stays in force")
			if by, err := greeting(listen.String()); by != "A" {
				t.Errorf("served by %q, %v", by, err)
			}
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			write(good(version))()
			d.await(t, before, fmt.Sprintf("name good[0-9]+ → good%d", version))
		})
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// openTempDir returns a temporary directory that other users can reach.
func openTempDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	chmod(t, dir, 0o755)
	chmod(t, filepath.Dir(dir), 0o755)
	return dir
}

const nobody = 65534

// denied reports whether nobody may not listen on a port below 1024.
func denied() bool {
	start, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	return err != nil || strings.TrimSpace(string(start)) != "0"
}

// loggedDaemon is a daemon whose log the test reads while it runs.
type loggedDaemon struct {
	pid       int
	log       *lockedBuffer
	directory string // of its control socket
}

// startAsNobody starts a daemon that cannot do everything.
func startAsNobody(t *testing.T, path string) *loggedDaemon {
	t.Helper()
	binary, err := exec.LookPath("balance")
	if err != nil {
		t.Fatal(err)
	}
	program := exec.Command(binary, "-config", path)
	if os.Getuid() == 0 {
		program.Path = copyBinary(t, binary)
		program.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return startProgram(t, program)
}

func startLogged(t *testing.T, name string, args ...string) *loggedDaemon {
	t.Helper()
	return startProgram(t, exec.Command(name, args...))
}

// startProgram starts a daemon and waits until it listens. It ends with the
// test, which fails if it does not end well.
func startProgram(t *testing.T, program *exec.Cmd) *loggedDaemon {
	t.Helper()
	directory := t.TempDir()
	program.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+directory)
	d := startHere(t, program)
	d.directory = directory
	return d
}

// startHere is startProgram in the runtime directory that the program has.
func startHere(t *testing.T, program *exec.Cmd) *loggedDaemon {
	t.Helper()
	d := &loggedDaemon{log: new(lockedBuffer)}
	program.Stderr = d.log
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	d.pid = program.Process.Pid
	t.Cleanup(func() {
		program.Process.Signal(syscall.SIGTERM)
		if err := program.Wait(); err != nil {
			t.Errorf("the daemon ended: %v", err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", d.log)
		}
	})
	d.await(t, 0, "msg=listening")
	return d
}

// copyBinary puts the program where every user can run it, under a name that
// makes it balance. Another process writes it: of this one, a child that is just
// being made might still have the file open to write when it is to be run, which
// is ETXTBSY (execve(2)).
func copyBinary(t *testing.T, binary string) string {
	t.Helper()
	path := filepath.Join(openTempDir(t), "balance")
	if out, err := exec.Command("cp", binary, path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	chmod(t, path, 0o755)
	return path
}

// await waits until the log matches behind a place in it.
func (d *loggedDaemon) await(t *testing.T, from int, pattern string) {
	t.Helper()
	for end := time.Now().Add(patience); !d.log.matches(from, pattern); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the log does not match %s:\n%s", pattern, d.log.String()[from:])
		}
	}
}

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *lockedBuffer) matches(from int, pattern string) bool {
	return regexp.MustCompile(pattern).MatchString(b.String()[from:])
}

func (b *lockedBuffer) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Len()
}
