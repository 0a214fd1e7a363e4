package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestStopped stops the process while it dials. What has succeeded until it
// goes on counts as having come in time, however little or long after the time
// to connect that is.
func TestStopped(t *testing.T) {
	t.Parallel()
	for _, dataPlane := range []string{"eventloop", "portable"} {
		for _, late := range []time.Duration{100 * time.Millisecond, 2 * time.Second} {
			t.Run(fmt.Sprint(dataPlane, late), func(t *testing.T) {
				t.Parallel()
				testStopped(t, dataPlane, late)
			})
		}
	}
}

// testStopped gives a machine that has much to do more time to begin.
func testStopped(t *testing.T, dataPlane string, late time.Duration) {
	for timeout := 5 * time.Second; !stopsInTime(t, dataPlane, timeout, late); timeout *= 2 {
		if timeout > patience {
			t.Fatalf("within %s not all are dialled for", timeout)
		}
	}
}

// stopsInTime reports false if the time to connect may have been over before the
// process was stopped.
func stopsInTime(t *testing.T, dataPlane string, timeout, late time.Duration) bool {
	const clients = 300
	server := newSilentServer(t)
	listen, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	file := t.TempDir() + "/balance.toml"
	content := fmt.Sprintf("[defaults]\ndata_plane = %q\nauto_disable = true\nconnect_timeout = %q\n[[listener]]\nlisten = %q\ngroup = [{ channels = [%q] }]\n",
		dataPlane, timeout, listen, server.addr)
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	d := startLogged(t, "balance", "-config", file)
	began := time.Now()
	var conns []net.Conn
	for range clients {
		conn, err := net.Dial("tcp", listen.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	dialled := time.Now()
	allDialled := func() bool {
		show := exec.Command("balance", "-c", "show", portOf(listen))
		show.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+d.directory)
		table, err := show.Output()
		return err == nil && slices.Contains(strings.Fields(string(table)), fmt.Sprint(clients))
	}
	for !allDialled() {
		if time.Since(began) > timeout {
			return false
		}
		time.Sleep(50 * time.Millisecond)
	}
	syscall.Kill(d.pid, syscall.SIGSTOP)
	if time.Since(began) > timeout {
		syscall.Kill(d.pid, syscall.SIGCONT)
		return false
	}
	server.speak(t)
	awaitThat(t, "all dials have succeeded", func() bool { return server.greeted.Load() > clients }) // the filler, too
	time.Sleep(time.Until(dialled.Add(timeout + late)))
	syscall.Kill(d.pid, syscall.SIGCONT)
	refused := 0
	for _, conn := range conns {
		conn.SetDeadline(time.Now().Add(patience))
		if got, err := io.ReadAll(conn); err != nil || string(got) != "hello\n" {
			refused++
		}
	}
	if refused > 0 || d.log.matches(0, "autodisabled") {
		t.Errorf("%d of %d clients were turned away", refused, clients)
	}
	return true
}

// silentServer is a listening socket whose queue is full until it speaks.
type silentServer struct {
	file    *os.File
	addr    string
	greeted atomic.Int64
}

func newSilentServer(t *testing.T) *silentServer {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &silentServer{file: os.NewFile(uintptr(fd), "server")}
	t.Cleanup(func() { s.file.Close() })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	s.addr = fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port)
	filler, err := net.Dial("tcp", s.addr) // a backlog of 0 takes one
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { filler.Close() })
	return s
}

// speak greets everybody from now on.
func (s *silentServer) speak(t *testing.T) {
	t.Helper()
	if err := unix.Listen(int(s.file.Fd()), 4096); err != nil {
		t.Fatal(err)
	}
	listener, err := net.FileListener(s.file)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() {
		listener.Close()
		<-ended
	})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "hello\n")
			conn.Close()
			s.greeted.Add(1)
		}
	}()
}

// awaitThat waits until something is so.
func awaitThat(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
