package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// TestDescriptorLimit holds the runtime to raising the soft limit, on which the
// program relies. It stops one short of the hard limit, to tell its own doing
// from the user's (syscall/rlimit.go).
func TestDescriptorLimit(t *testing.T) {
	a, listen := serverAndAddress(t)
	d := startLogged(t, "sh", "-c", `ulimit -Sn 256 && exec balance "$@"`, "balance", "-f", "-b", "127.0.0.1", portOf(listen), a.String())
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", d.pid))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`Max open files\s+(\S+)\s+(\S+)`).FindStringSubmatch(string(limits))
	if found == nil {
		t.Fatalf("no limit of files in\n%s", limits)
	}
	soft, _ := strconv.Atoi(found[1])
	hard, _ := strconv.Atoi(found[2])
	if soft < hard-1 || soft <= 256 {
		t.Errorf("the limit of files is %s of %s", found[1], found[2])
	}
}

// TestMountWithoutEvents writes to a file that is mounted over the one that is
// watched: no event comes, so it has to be looked at.
func TestMountWithoutEvents(t *testing.T) {
	t.Parallel()
	if err := exec.Command("unshare", "-m", "true").Run(); err != nil {
		t.Skipf("this user may not mount: %v", err)
	}
	a, listen := serverAndAddress(t)
	b, stop, err := startServer("B")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	source, target := filepath.Join(t.TempDir(), "source"), filepath.Join(t.TempDir(), "balance.toml")
	write := func(path string, server net.Addr) {
		t.Helper()
		content := fmt.Sprintf("[[listener]]\nname = \"x\"\nlisten = %q\ngroup = [{ channels = [%q] }]\n", listen, server)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(source, a)
	write(target, a)
	d := startLogged(t, "unshare", "-m", "sh", "-c", `mount --bind "$1" "$2" && exec balance -config "$2"`, "balance", source, target)
	write(source, b)
	d.await(t, 0, "configuration reloaded")
	if by, err := greeting(listen.String()); by != "B" {
		t.Errorf("served by %q, %v", by, err)
	}
}

// TestLogNobodyReads closes the pipe that the log goes to.
func TestLogNobodyReads(t *testing.T) {
	a, listen := serverAndAddress(t)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command("balance", "-d", "-p", "-b", "127.0.0.1", portOf(listen), a.String())
	daemon.Stdout, daemon.Stderr = writer, writer
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	defer daemon.Wait()
	defer daemon.Process.Kill()
	writer.Close()
	if _, err := reader.Read(make([]byte, 1)); err != nil { // that it listens
		t.Fatal(err)
	}
	reader.Close()
	for range 3 {
		if by, err := greeting(listen.String()); by != "A" {
			t.Fatalf("served by %q, %v", by, err)
		}
	}
}
