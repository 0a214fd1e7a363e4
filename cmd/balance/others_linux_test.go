package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"balance/cmd/balance/internal/exit"
)

// TestRootFindsDaemonsOfOthers has a machine of its own, as far as networks and
// /run are concerned.
func TestRootFindsDaemonsOfOthers(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("skipped: only root can act as another user")
	}
	if err := exec.Command("unshare", "-n", "-m", "ip", "link", "set", "lo", "up").Run(); err != nil {
		t.Skipf("skipped: this user may make no namespaces: %v", err)
	}
	found, err := exec.LookPath("balance")
	if err != nil {
		t.Fatal(err)
	}
	binary := copyBinary(t, found)
	machine := bounded(t, "unshare", "-n", "-m", "sh", "-c", "ip link set lo up && mount -t tmpfs -o mode=755 tmpfs /run && echo ready && exec cat")
	input, err := machine.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := machine.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := machine.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { input.Close(); machine.Wait() }()
	if n, err := output.Read(make([]byte, 16)); n == 0 {
		t.Fatal(err)
	}
	inside := func(directory string, args ...string) *exec.Cmd {
		program := bounded(t, "nsenter", append([]string{"-t", strconv.Itoa(machine.Process.Pid), "-n", "-m"}, args...)...)
		program.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+directory)
		return program
	}
	run := func(args ...string) (stdout, stderr string, code int) {
		t.Helper()
		program := inside("", append([]string{binary}, args...)...)
		var out, errs strings.Builder
		program.Stdout, program.Stderr = &out, &errs
		program.Run()
		return out.String(), errs.String(), program.ProcessState.ExitCode()
	}
	start := func(directory, host string, command ...string) (pid int) {
		t.Helper()
		daemon := inside(directory, append(command, binary, "-f", "-b", host, "8080", "127.0.0.1:1")...)
		if err := daemon.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { daemon.Process.Kill(); daemon.Wait() })
		for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
			if _, _, code := run("-b", host, "-c", "version", "8080"); code == exit.OK {
				return daemon.Process.Pid
			}
			if time.Now().After(end) {
				t.Fatalf("the daemon on %s is not found", host)
			}
		}
	}
	directoryOf := func(user string) string {
		directory := filepath.Join(openTempDir(t), "run")
		id, _ := strconv.Atoi(user)
		if err := os.Mkdir(directory, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(directory, id, id); err != nil {
			t.Fatal(err)
		}
		return directory
	}

	first := start(directoryOf(daemonUser), "127.0.0.1", unprivileged(daemonUser, "")...)
	whose := fmt.Sprintf("balance: process %d belongs to user %s\n", first, daemonUser)
	if stdout, stderr, code := run("-c", "status"); code != exit.OK || stderr != whose || !strings.Contains(stdout, "version ") {
		t.Errorf("status: exit code %d, %q, %q", code, stdout, stderr)
	}
	if stdout, _, code := run("-c", "show; disable 0"); code != exit.Usage || !strings.Contains(stdout, "name it by its port") || strings.Contains(stdout, "GRP") {
		t.Errorf("without its name: exit code %d, %q", code, stdout)
	}
	if stdout, stderr, code := run("-c", "disable 0", "8080"); code != exit.OK || stderr != whose || stdout != "channel 0 disabled\n" {
		t.Errorf("by its name: exit code %d, %q, %q", code, stdout, stderr)
	}

	second := start(directoryOf(someUser), "127.0.0.2", unprivileged(someUser, "")...)
	stdout, _, code := run("-c", "show", "8080")
	for _, want := range []string{
		fmt.Sprintf("process %d of user %s: 127.0.0.1:8080", first, daemonUser),
		fmt.Sprintf("process %d of user %s: 127.0.0.2:8080", second, someUser), "with -b by its address",
	} {
		if code != exit.Usage || !strings.Contains(stdout, want) {
			t.Errorf("two: exit code %d, %q, want %q", code, stdout, want)
		}
	}

	start("/run/balance", "127.0.0.3")
	if stdout, stderr, code := run("-c", "show", "8080"); code != exit.OK || stderr != "" || !strings.Contains(stdout, "ENA") {
		t.Errorf("a daemon of root does not come first: exit code %d, %q, %q", code, stdout, stderr)
	}
	stranger := inside("", unprivileged(someUser, "", binary, "-b", "127.0.0.1", "-c", "version", "8080")...)
	if out, err := stranger.CombinedOutput(); err == nil || !strings.Contains(string(out), "no master process") {
		t.Errorf("a user finds those of others: %v: %s", err, out)
	}
}
