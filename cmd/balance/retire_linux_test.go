package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestClientsKeepComing asks daemons to stop, or to give up a listener, whose
// clients cannot be kept away from it: a socket of a link-local address is bound
// to its interface, and without CAP_NET_RAW that cannot be changed.
func TestClientsKeepComing(t *testing.T) {
	const dropped = `ip link set lo up && ip address add fe80::1/64 dev lo nodad && exec setpriv --inh-caps=-net_raw --bounding-set=-net_raw balance -config "$1"`
	for _, tool := range []string{"ip", "setpriv", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	if err := exec.Command("unshare", "-n", "true").Run(); err != nil {
		t.Skipf("this user may not make a network namespace: %v", err)
	}
	const retired = "[[listener]]\nname = \"link\"\nlisten = \"[fe80::1%lo]:5000\"\ngroup = [{ channels = [\"127.0.0.1:1\"] }]\n"
	const other = "[[listener]]\nname = \"other\"\nlisten = \"127.0.0.1:5001\"\ngroup = [{ channels = [\"127.0.0.1:1\"] }]\n"
	for _, dataPlane := range []string{"eventloop", "portable"} {
		for _, test := range []struct {
			name, shutdown string
			end            func(t *testing.T, d *loggedDaemon, file, defaults string)
		}{
			{"Stop", "1s", func(t *testing.T, d *loggedDaemon, _, _ string) {
				syscall.Kill(d.pid, syscall.SIGTERM)
			}},
			{"StopTwice", "1h", func(t *testing.T, d *loggedDaemon, _, _ string) {
				syscall.Kill(d.pid, syscall.SIGTERM)
				d.await(t, 0, "shutting down")
				syscall.Kill(d.pid, syscall.SIGTERM)
			}},
			{"Reload", "1s", func(t *testing.T, d *loggedDaemon, file, defaults string) {
				writeFile(t, file, defaults+other)
				d.await(t, 0, "configuration reloaded")
			}},
		} {
			t.Run(dataPlane+test.name, func(t *testing.T) {
				file := t.TempDir() + "/balance.toml"
				defaults := fmt.Sprintf("[defaults]\ndata_plane = %q\nshutdown_timeout = %q\n", dataPlane, test.shutdown)
				writeFile(t, file, defaults+retired)
				d := startLogged(t, "unshare", "-n", "sh", "-c", dropped, "balance", file)
				come, stop := keepComing(t, d.pid, "[fe80::1%lo]:5000")
				defer stop()
				for end := time.Now().Add(patience); come.Load() < 100; time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						t.Fatalf("only %d clients can connect", come.Load())
					}
				}
				test.end(t, d, file, defaults)
				for end := time.Now().Add(patience); listens(t, d.pid, ":1388 "); time.Sleep(10 * time.Millisecond) {
					if time.Now().After(end) {
						t.Fatal("the socket is still open")
					}
				}
				// Another signal in its last moment would end it by itself.
				for end := time.Now().Add(patience); test.name != "Reload" && !hasEnded(d.pid); time.Sleep(10 * time.Millisecond) {
					if time.Now().After(end) {
						t.Fatal("the daemon does not end")
					}
				}
			})
		}
	}
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// keepComing has clients connect to an address in the network namespace of a
// process, without a pause, and counts them.
func keepComing(t *testing.T, pid int, address string) (come *atomic.Int64, stop func()) {
	t.Helper()
	space, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		t.Fatal(err)
	}
	come = new(atomic.Int64)
	stopped := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with it
			if err := unix.Setns(int(space.Fd()), unix.CLONE_NEWNET); err != nil {
				t.Errorf("enter the network namespace: %v", err)
				return
			}
			for {
				select {
				case <-stopped:
					return
				default:
				}
				if conn, err := net.DialTimeout("tcp", address, time.Second); err == nil {
					come.Add(1)
					conn.Close()
				}
			}
		})
	}
	return come, func() {
		close(stopped)
		clients.Wait()
		space.Close()
	}
}

// listens reports whether a process, if it is still there, listens on an IPv6
// port, written as in /proc/net/tcp6.
func listens(t *testing.T, pid int, port string) bool {
	t.Helper()
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp6", pid))
	if err != nil {
		return false
	}
	return matchesLine(string(table), port, " 0A ")
}

// hasEnded reports whether a process has ended, waited for or not.
func hasEnded(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// matchesLine reports whether a line of the text has all the parts in it.
func matchesLine(text string, parts ...string) bool {
	for line := range strings.Lines(text) {
		all := true
		for _, part := range parts {
			all = all && strings.Contains(line, part)
		}
		if all {
			return true
		}
	}
	return false
}
