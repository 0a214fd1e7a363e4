package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"balance/control"
)

// historyRig is a daemon that is killed and started again.
type historyRig struct {
	*testing.T
	dir    string
	daemon *exec.Cmd
	log    *lockedBuffer
	args   []string
}

func (r *historyRig) environment() []string {
	return append(os.Environ(), "RUNTIME_DIRECTORY="+filepath.Join(r.dir, "run"), "STATE_DIRECTORY="+filepath.Join(r.dir, "state"))
}

// start starts the daemon and returns a client.
func (r *historyRig) start() *control.Client {
	r.Helper()
	r.log = new(lockedBuffer)
	daemon := exec.Command("balance", r.args...)
	daemon.Env, daemon.Stderr = r.environment(), r.log
	if err := daemon.Start(); err != nil {
		r.Fatal(err)
	}
	r.daemon = daemon
	r.Cleanup(func() { daemon.Process.Kill(); daemon.Wait() })
	path := filepath.Join(r.dir, "run", fmt.Sprint(daemon.Process.Pid)+".sock")
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		client, err := control.Dial(path)
		if err == nil {
			r.Cleanup(func() { client.Close() })
			return client
		}
		if time.Now().After(end) {
			r.Fatalf("%v\n%s", err, r.log)
		}
	}
}

// history asks a client for it.
func (r *historyRig) history(client *control.Client) []control.Configuration {
	r.Helper()
	lines, status, err := client.Ask("history -json")
	if err != nil || status != control.OK {
		r.Fatalf("%q, status %d, %v", lines, status, err)
	}
	var list []control.Configuration
	if err := json.Unmarshal([]byte(lines[0]), &list); err != nil {
		r.Fatal(err)
	}
	return list
}

// written are the files of the history, in the order of their numbers.
func (r *historyRig) written() []string {
	names, _ := filepath.Glob(filepath.Join(r.dir, "state", "history", "*", "*.toml")) // the pattern is no error
	return names
}

// A daemon that was killed while it wrote its history finds it again: every entry
// is whole, and what it said last of what was on disk can be gone back to.
func TestKilledWhileItWritesItsHistory(t *testing.T) {
	t.Parallel()
	server, listen := serverAndAddress(t)
	r := &historyRig{T: t, dir: t.TempDir(), args: []string{"-b", "127.0.0.1", "-f", portOf(listen), server.String()}}
	last := 0
	for round := range 4 {
		client := r.start()
		list := r.history(client)
		if len(list) == 0 || list[len(list)-1].Number < last {
			t.Fatalf("round %d: after %d there is %+v", round, last, list)
		}
		if text := r.log.String(); strings.Contains(text, "left out") || strings.Contains(text, "memory") {
			t.Errorf("round %d:\n%s", round, text)
		}
		var killing sync.WaitGroup
		killing.Go(func() {
			for end := time.Now().Add(patience); len(r.written()) == 0 && time.Now().Before(end); {
				time.Sleep(5 * time.Millisecond)
			}
			time.Sleep(time.Duration(20+17*round) * time.Millisecond)
			r.daemon.Process.Kill()
		})
		for n := 1; ; n++ {
			if _, _, err := client.Ask(fmt.Sprintf("maxc 0 %d", n)); err != nil {
				break // it is gone
			}
		}
		killing.Wait()
		r.daemon.Wait()
		names := r.written()
		if len(names) == 0 {
			t.Fatalf("nothing was written:\n%s", r.log)
		}
		fmt.Sscanf(filepath.Base(names[len(names)-1]), "%d", &last) // which is there for the next
	}
	client := r.start()
	client.Ask("maxc 0 1000")
	list := r.history(client)
	if len(list) < 3 || len(list) > 20 {
		t.Errorf("%d entries", len(list))
	}
	lines, status, err := client.Ask(fmt.Sprintf("rollback %d", list[len(list)-2].Number))
	if err != nil || status != control.OK || !strings.HasPrefix(lines[0], "~ ") {
		t.Errorf("%q, %v", lines, err)
	}
	// Nobody else may read them: they hold what the file holds.
	filepath.WalkDir(r.dir, func(path string, entry os.DirEntry, err error) error {
		if info, _ := entry.Info(); strings.HasSuffix(path, ".toml") && info.Mode() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
}

// Two daemons of one file have a history each, and one whose directory others may
// write to has it in memory. They serve all the same.
func TestTwoDaemonsOfOneFile(t *testing.T) {
	t.Parallel()
	server, _ := serverAndAddress(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "balance.toml")
	content := fmt.Sprintf("[[listener]]\nname = \"web\"\nlisten = \"127.0.0.1:0\"\ngroup = [{ channels = [%q] }]\n", server)
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	first := &historyRig{T: t, dir: dir, args: []string{"-config", file}}
	second := &historyRig{T: t, dir: dir, args: []string{"-config", file}}
	one, two := first.start(), second.start()
	one.Ask("maxc 0 1")
	two.Ask("maxc 0 2")
	two.Ask("maxc 0 3")
	if a, b := len(first.history(one)), len(second.history(two)); a != 2 || b != 3 {
		t.Errorf("%d and %d entries", a, b)
	}
	for _, r := range []*historyRig{second, first} {
		r.daemon.Process.Signal(os.Interrupt)
		r.daemon.Wait()
	}
	// Each begins with the one it had, and the file, which is another again.
	one, two = first.start(), second.start()
	if a, b := len(first.history(one)), len(second.history(two)); a != 3 || b != 4 {
		t.Errorf("%d and %d entries after a restart", a, b)
	}
	for _, r := range []*historyRig{second, first} {
		r.daemon.Process.Signal(os.Interrupt)
		r.daemon.Wait()
	}
	if err := os.Chmod(filepath.Join(dir, "state", "history"), 0o777); err != nil {
		t.Fatal(err)
	}
	one = first.start()
	if list := first.history(one); len(list) != 1 {
		t.Errorf("%+v", list)
	}
	if text := first.log.String(); !strings.Contains(text, "kept in memory alone") || !strings.Contains(text, "others may write to it") {
		t.Errorf("log:\n%s", text)
	}
	one.Ask("maxc 0 1")
	if lines, status, _ := one.Ask("rollback"); status != control.OK || !bytes.HasPrefix([]byte(lines[0]), []byte("~ ")) {
		t.Errorf("%q", lines)
	}
}
