package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"balance/control/counters"
)

// countingDaemon writes the configuration of one listener and one channel, which
// counts in the file, and returns its path.
func countingDaemon(t *testing.T, file string, server, listen net.Addr) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "balance.toml")
	content := fmt.Sprintf("[control]\nstats_file = %q\n[[listener]]\nname = \"web\"\nlisten = %q\ngroup = [{ channels = [%q] }]\n", file, listen, server)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// awaitRecord waits until the one record of the file is as it should be.
func awaitRecord(t *testing.T, file string, ok func(counters.Record) bool) {
	t.Helper()
	var records []counters.Record
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if records, _, err = counters.Read(file); err == nil && len(records) == 1 && ok(records[0]) {
			return
		}
	}
	t.Fatalf("%s holds %+v, %v", file, records, err)
}

// TestCountersFileIsDamaged does to the file of a daemon that serves clients
// what may be done to a file. The daemon has to live, and to have counted each
// client in the end.
func TestCountersFileIsDamaged(t *testing.T) {
	t.Parallel()
	server, listen := serverAndAddress(t)
	file := filepath.Join(t.TempDir(), "counters")
	daemon := exec.Command("balance", "-config", countingDaemon(t, file, server, listen))
	log := new(lockedBuffer)
	daemon.Stderr = log
	daemon.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+t.TempDir())
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- daemon.Wait() }()
	defer func() { daemon.Process.Kill() }()
	defer func() {
		if t.Failed() {
			t.Logf("log:\n%s", log)
		}
	}()
	d := &loggedDaemon{log: log, pid: daemon.Process.Pid}
	d.await(t, 0, "msg=listening")

	var served atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if by, err := greeting(listen.String()); by != "A" {
					t.Errorf("served by %q, %v", by, err)
					return
				}
				served.Add(1)
				time.Sleep(time.Millisecond) // many clients are enough
			}
		})
	}
	truncate := func(part int64) func() error {
		return func() error {
			info, err := os.Stat(file)
			if err != nil {
				return err
			}
			return os.Truncate(file, info.Size()*part/100)
		}
	}
	replace := func(content func() []byte) func() error {
		return func() error {
			if err := os.WriteFile(file+".new", content(), 0o600); err != nil {
				return err
			}
			return os.Rename(file+".new", file)
		}
	}
	awaitRecord(t, file, func(r counters.Record) bool { return r.Sessions > 0 })
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, damage := range []struct {
		name string
		do   func() error
	}{
		{"truncate to nothing", truncate(0)},
		{"truncate to a half", truncate(50)},
		{"truncate to 99 %", truncate(99)},
		{"remove", func() error { return os.Remove(file) }},
		{"replace by another file", replace(func() []byte { return []byte("dear diary") })},
		{"replace by an old copy", replace(func() []byte { return old })},
		{"write an old copy over it", func() error { return os.WriteFile(file, old, 0o600) }},
	} {
		before := uint64(served.Load())
		if err := damage.do(); err != nil {
			t.Fatal(err)
		}
		awaitRecord(t, file, func(r counters.Record) bool { return r.Sessions > before })
		select {
		case err := <-ended:
			t.Fatalf("%s: the daemon ended: %v", damage.name, err)
		default:
		}
	}
	close(stop)
	clients.Wait()
	daemon.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("the daemon does not end")
	}
	n := uint64(served.Load())
	records, _, err := counters.Read(file)
	if err != nil || len(records) != 1 || records[0].Sessions != n || records[0].Received != n*uint64(len("A\n")) {
		t.Errorf("after %d clients the file holds %+v, %v", n, records, err)
	}
}

// TestCountersOnAFullDisk has a daemon count on a file system without room.
func TestCountersOnAFullDisk(t *testing.T) {
	t.Parallel()
	if err := exec.Command("unshare", "-m", "true").Run(); err != nil {
		t.Skipf("this user may not mount: %v", err)
	}
	server, listen := serverAndAddress(t)
	disk := t.TempDir()
	file := filepath.Join(disk, "counters")
	d := startLogged(t, "unshare", "-m", "sh", "-c",
		`mount -t tmpfs -o size=256k balance-test "$1" && head -c 1M /dev/zero >"$1/full"; exec balance -config "$2"`,
		"balance", disk, countingDaemon(t, file, server, listen))
	inside := func(path string) string { return filepath.Join("/proc", strconv.Itoa(d.pid), "root", path) }
	d.await(t, 0, "counters file.*no space left on device")
	for range 3 {
		if by, err := greeting(listen.String()); by != "A" {
			t.Fatalf("served by %q, %v", by, err)
		}
	}
	time.Sleep(2 * counters.Every) // it tries again, and fails again
	if err := os.Remove(inside(filepath.Join(disk, "full"))); err != nil {
		t.Fatal(err)
	}
	d.await(t, 0, "counters file is written to again")
	awaitRecord(t, inside(file), func(r counters.Record) bool { return r.Sessions == 3 })
	if n := strings.Count(d.log.String(), "no space left on device"); n != 1 {
		t.Errorf("it is logged %d times", n)
	}
}
