package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"balance/cmd/balance/internal/exit"
)

// silentMount runs the rest of its arguments in a mount namespace where a
// directory, its first argument, is a file system that never answers: what the
// kernel asks of /dev/fuse nobody reads.
const silentMount = `
exec 3<>/dev/fuse
mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 silent "$1" || exit 1
shift
exec "$@"
`

func inSilentMount(t *testing.T, dir string, args ...string) []string {
	t.Helper()
	command := func(args ...string) []string {
		return append([]string{"unshare", "-m", "sh", "-c", silentMount, "sh", dir}, args...)
	}
	if try := command("true"); exec.Command(try[0], try[1:]...).Run() != nil {
		t.Skip("this user cannot mount a file system of its own")
	}
	return command(args...)
}

// TestFileThatHangs leads the path of the file to where reading it hangs. The
// daemon says so, goes on, takes the next good file, answers, and stops when it
// is told to.
func TestFileThatHangs(t *testing.T) {
	t.Parallel()
	a, listen := serverAndAddress(t)
	dir := t.TempDir()
	name := func(name string) string { return filepath.Join(dir, name) }
	if err := os.Mkdir(name("silent"), 0o755); err != nil {
		t.Fatal(err)
	}
	command := inSilentMount(t, name("silent"), "balance", "-config", name("balance.toml"))
	version := 0
	lead := func(target string) {
		t.Helper()
		if err := os.Symlink(target, name("next")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name("next"), name("balance.toml")); err != nil {
			t.Fatal(err)
		}
	}
	good := func() {
		t.Helper()
		version++
		file := name(fmt.Sprintf("good%d", version))
		content := fmt.Sprintf("[[listener]]\nname = \"good%d\"\nlisten = %q\ngroup = [{ channels = [%q] }]\n", version, listen, a)
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		lead(file)
	}
	good()
	d := startLogged(t, command[0], command[1:]...)
	for _, bad := range []struct{ target, wants string }{
		{"/proc/kmsg", "a read would wait for more"},
		{name("silent/balance.toml"), "the file system hangs"},
	} {
		t.Run(filepath.Base(bad.target), func(t *testing.T) {
			before := d.log.Len()
			lead(bad.target)
			d.await(t, before, "cannot reload.*"+bad.wants)
			reload := exec.Command("balance", "-c", "reload", portOf(listen))
			reload.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+d.directory)
			if answer, err := reload.CombinedOutput(); err == nil || !strings.Contains(string(answer), bad.wants) {
				t.Errorf("-c reload: %v\n%s", err, answer)
			}
			before = d.log.Len()
			syscall.Kill(d.pid, syscall.SIGHUP)
			d.await(t, before, "cannot reload.*"+bad.wants)
			if by, err := greeting(listen.String()); by != "A" {
				t.Errorf("served by %q, %v", by, err)
			}
			before = d.log.Len()
			good()
			d.await(t, before, fmt.Sprintf("name good[0-9]+ → good%d", version))
			before = d.log.Len()
			syscall.Kill(d.pid, syscall.SIGHUP)
			d.await(t, before, "configuration reloaded")
		})
	}
	// While it hangs again, the end comes.
	before := d.log.Len()
	lead(name("silent/balance.toml"))
	time.Sleep(200 * time.Millisecond) // the watch is about to look, or does
	syscall.Kill(d.pid, syscall.SIGHUP)
	syscall.Kill(d.pid, syscall.SIGTERM)
	d.await(t, before, "shutting down")
}

// A signal is heard while files hang, for no goroutine but main has the first
// thread of the process, which the kernel gives it to.
func TestFirstThreadDoesNotHang(t *testing.T) {
	const many = 64 // more than there are idle threads
	threads := make(chan int, many)
	all := make(chan struct{})
	for range many {
		go func() {
			runtime.LockOSThread() // as an attempt that hangs has one
			defer runtime.UnlockOSThread()
			threads <- unix.Gettid()
			<-all
		}()
	}
	defer close(all)
	for range many {
		if <-threads == os.Getpid() {
			t.Error("a goroutine has the first thread")
		}
	}
}

func TestCheckOfAFileThatHangs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	command := inSilentMount(t, dir, "balance", "-check", "-config", filepath.Join(dir, "balance.toml"))
	answer, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	failed, ok := err.(*exec.ExitError)
	if !ok || failed.ExitCode() != exit.Config || !strings.Contains(string(answer), `balance.toml": the file system hangs: nothing has come back in 5s`) {
		t.Errorf("%v\n%s", err, answer)
	}
}

// The file of the token may be where the file system hangs, too.
func TestTokenThatHangs(t *testing.T) {
	t.Parallel()
	dir, silent := t.TempDir(), t.TempDir()
	file := filepath.Join(dir, "balance.toml")
	content := fmt.Sprintf("[control]\nhttp_token_file = %q\n[[listener]]\nlisten = \"127.0.0.1:0\"\ngroup = [{ channels = [\"127.0.0.1:9\"] }]\n", filepath.Join(silent, "token"))
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	command := inSilentMount(t, silent, "timeout", "-s", "KILL", "60", "balance", "-check", "-config", file)
	answer, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	failed, ok := err.(*exec.ExitError)
	if !ok || failed.ExitCode() != exit.Config || !strings.Contains(string(answer), `balance.toml:2: control: http_token_file "`+filepath.Join(silent, "token")+`": the file system hangs`) {
		t.Errorf("%v\n%s", err, answer)
	}
}

// So may the directory of the socket of the status page. Neither a reload nor
// the end waits for it.
func TestPageWhoseSocketHangs(t *testing.T) {
	t.Parallel()
	a, listen := serverAndAddress(t)
	dir, silent := t.TempDir(), t.TempDir()
	file := filepath.Join(dir, "balance.toml")
	put := func(http, name string) {
		t.Helper()
		content := fmt.Sprintf("[control]\nhttp = %q\n[[listener]]\nname = %q\nlisten = %q\ngroup = [{ channels = [%q] }]\n", http, name, listen, a)
		if err := os.WriteFile(file+".new", []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	put("", "one")
	command := inSilentMount(t, silent, "timeout", "-s", "KILL", "60", "balance", "-config", file) // which passes signals on
	d := startLogged(t, command[0], command[1:]...)
	hung := "unix:" + filepath.Join(silent, "http.sock")
	before := d.log.Len()
	put(hung, "two")
	d.await(t, before, `cannot reload.*balance.toml:2: control http .*http.sock.*the file system hangs`)
	before = d.log.Len()
	put("unix:"+filepath.Join(dir, "http.sock"), "three")
	d.await(t, before, "name one → three")
	before = d.log.Len()
	put(hung, "four")
	time.Sleep(500 * time.Millisecond) // it is tried, or about to be
	syscall.Kill(d.pid, syscall.SIGTERM)
	d.await(t, before, "shutting down")
}
