package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"balance/cmd/balance/internal/exit"
)

// withSyslog runs a program with the socket $0 as that of syslog, which is
// looked for at /dev/log, then at /var/run/log.
const withSyslog = `mount -t tmpfs none /run && ln -s "$0" /run/log && { [ ! -S /dev/log ] || mount --bind "$0" /dev/log; } && exec balance "$@"`

// TestSyslogUnread goes to the background with a syslog that nobody reads:
// clients are served, another can be started, and both can be stopped.
func TestSyslogUnread(t *testing.T) {
	if err := exec.Command("unshare", "-m", "true").Run(); err != nil {
		t.Skipf("this user may not mount: %v", err)
	}
	if err := adoptOrphans(); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		network, dataPlane string
	}{
		{"unixgram", "auto"},
		{"unixgram", "portable"},
		{"unix", "auto"},
		{"unix", "portable"},
	} {
		t.Run(x.network+" "+x.dataPlane, func(t *testing.T) {
			syslog := unreadSyslog(t, x.network)
			first := startInBackground(t, syslog, x.dataPlane)
			serveMany(t, first.listen, 1000) // the socket takes 11 datagrams, or some hundred lines of a stream
			second := startInBackground(t, syslog, x.dataPlane)
			serveMany(t, second.listen, 8)
			first.command(t, "kill")
			first.ends(t)
			if err := unix.Kill(second.pid, unix.SIGTERM); err != nil {
				t.Error(err)
			}
			second.ends(t)
		})
	}
}

// TestStartUnread cannot start and cannot say so: a signal ends it.
func TestStartUnread(t *testing.T) {
	a, _ := serverAndAddress(t)
	reader, writer := fullPipe(t)
	defer reader.Close()
	program := exec.Command("balance", "-f", "-b", "127.0.0.1", portOf(a), a.String())
	program.Stderr = writer
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	hangs := time.AfterFunc(patience, func() { program.Process.Kill() })
	defer hangs.Stop()
	for end := time.Now().Add(patience); !writesToStderr(program.Process.Pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Error("it says nothing")
			break
		}
	}
	program.Process.Signal(unix.SIGTERM)
	if err := program.Wait(); err == nil || !strings.Contains(err.Error(), "terminated") {
		t.Errorf("it ended: %v", err)
	}
}

// fullPipe returns a pipe whose writers wait until somebody reads.
func fullPipe(t *testing.T) (reader, writer *os.File) {
	t.Helper()
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	reader, writer = os.NewFile(uintptr(ends[0]), "reader"), os.NewFile(uintptr(ends[1]), "writer")
	var err error
	for page := make([]byte, os.Getpagesize()); err == nil || err == unix.EINTR; {
		_, err = unix.Write(ends[1], page)
	}
	if err != unix.EAGAIN {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(ends[1], false); err != nil {
		t.Fatal(err)
	}
	return reader, writer
}

// writesToStderr reports whether a thread of the process is in a write to its
// standard error.
func writesToStderr(pid int) bool {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
	for _, task := range tasks {
		call, _ := os.ReadFile(task)
		if strings.HasPrefix(string(call), fmt.Sprintf("%d 0x2 ", unix.SYS_WRITE)) {
			return true
		}
	}
	return false
}

// background is a daemon that left the terminal.
type background struct {
	unread
	pid   int
	ended bool
}

// unreadSyslog returns the path of a socket like that of syslog, from which
// nobody reads.
func unreadSyslog(t *testing.T, network string) string {
	t.Helper()
	var socket io.Closer
	var err error
	addr := &net.UnixAddr{Name: filepath.Join(openTempDir(t), "log"), Net: network}
	if network == "unixgram" {
		socket, err = net.ListenUnixgram(network, addr)
	} else {
		socket, err = net.ListenUnix(network, addr)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	return addr.Name
}

// startInBackground starts a daemon that says with which name it logs.
func startInBackground(t *testing.T, syslog, dataPlane string) *background {
	t.Helper()
	a, listen := serverAndAddress(t)
	d := &background{unread: unread{
		exec.Command("unshare", "-m", "sh", "-c", withSyslog, syslog, "-daemon", "-d", "-config", unreadFile(t, dataPlane, listen, a)), listen, t.TempDir(),
	}}
	d.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+d.dir)
	timeout := time.AfterFunc(patience, func() { d.Process.Kill() })
	said, err := d.CombinedOutput()
	timeout.Stop()
	found := regexp.MustCompile(`^balance: debug messages go to syslog, as balance\[(\d+)\]\n$`).FindSubmatch(said)
	if err != nil || found == nil {
		t.Fatalf("the start ended: %v, and says %q", err, said)
	}
	d.pid, _ = strconv.Atoi(string(found[1]))
	t.Cleanup(func() {
		if !d.ended {
			unix.Kill(d.pid, unix.SIGKILL)
			unix.Wait4(d.pid, nil, 0, nil)
		}
	})
	return d
}

func (d *background) ends(t *testing.T) {
	t.Helper()
	var code int
	if code, d.ended = orphanEnds(d.pid); !d.ended || code != exit.OK {
		t.Errorf("the daemon ended: %v, with %d", d.ended, code)
	}
}

// orphanEnds waits for the end of a process that this one adopted.
func orphanEnds(pid int) (code int, ended bool) {
	var status unix.WaitStatus
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if got, err := unix.Wait4(pid, &status, unix.WNOHANG, nil); got == pid && err == nil {
			return status.ExitStatus(), true
		}
	}
	return 0, false
}
