package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// unread is a daemon whose output nobody reads.
type unread struct {
	*exec.Cmd
	listen net.Addr
	dir    string // of its control socket
}

// unreadFile writes a configuration that logs each session.
func unreadFile(t *testing.T, dataPlane string, listen, server net.Addr) string {
	t.Helper()
	file := filepath.Join(openTempDir(t), "balance.toml")
	content := fmt.Sprintf("[defaults]\ndata_plane = %q\n[log]\nsessions = true\n[[listener]]\nlisten = %q\ngroup = [{ channels = [%q] }]\n", dataPlane, listen, server)
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// startUnread starts a daemon; to says which of its outputs goes to the pipe
// whose other end is returned.
func startUnread(t *testing.T, dataPlane string, to func(*exec.Cmd, *os.File), args ...string) (*unread, *os.File) {
	t.Helper()
	a, listen := serverAndAddress(t)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close() })
	d := &unread{exec.Command("balance", append(args, "-config", unreadFile(t, dataPlane, listen, a))...), listen, t.TempDir()}
	d.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+d.dir)
	to(d.Cmd, writer)
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	t.Cleanup(func() { d.Process.Kill(); d.Wait() })
	awaitListening(t, listen)
	return d, reader
}

func toStderr(program *exec.Cmd, pipe *os.File) { program.Stderr = pipe }
func toStdout(program *exec.Cmd, pipe *os.File) { program.Stdout = pipe }

func awaitListening(t *testing.T, listen net.Addr) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		_, err := greeting(listen.String())
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("nobody listens: %v", err)
		}
	}
}

// serveMany has many clients served.
func serveMany(t *testing.T, listen net.Addr, clients int) {
	t.Helper()
	var all sync.WaitGroup
	const at = 8
	failed := make(chan error, at)
	for range at {
		all.Go(func() {
			for i := range clients / at {
				if by, err := greeting(listen.String()); by != "A" {
					failed <- fmt.Errorf("client %d was served by %q, %w", i, by, err)
					return
				}
			}
		})
	}
	all.Wait()
	select {
	case err := <-failed:
		t.Fatal(err)
	default:
	}
}

// command sends a command to the daemon, which has to answer.
func (d *unread) command(t *testing.T, command string) string {
	t.Helper()
	client := exec.Command("balance", "-c", command, portOf(d.listen))
	client.Env = d.Env
	answer, err := client.CombinedOutput()
	if err != nil {
		t.Fatalf("-c %s: %v, %s", command, err, answer)
	}
	return string(answer)
}

// ends waits for the end of the daemon.
func (d *unread) ends(t *testing.T) {
	t.Helper()
	hangs := time.AfterFunc(patience, func() { d.Process.Kill() })
	defer hangs.Stop()
	if err := d.Wait(); err != nil {
		t.Errorf("the daemon ended: %v", err)
	}
}

// awaitLine reads until a line contains the text.
func awaitLine(t *testing.T, reader *os.File, text string) string {
	t.Helper()
	reader.SetReadDeadline(time.Now().Add(patience))
	lines := bufio.NewReader(reader)
	for {
		line, err := lines.ReadString('\n')
		if strings.Contains(line, text) {
			return line
		}
		if err != nil {
			t.Fatalf("waiting for %q: %v", text, err)
		}
	}
}

// TestLogUnread leaves the pipe that the log goes to unread: clients are
// served, commands answered, and it can be stopped. Once somebody reads, the
// log says what is missing.
func TestLogUnread(t *testing.T) {
	for _, dataPlane := range []string{"auto", "portable"} {
		t.Run(dataPlane, func(t *testing.T) {
			d, log := startUnread(t, dataPlane, toStderr)
			serveMany(t, d.listen, 8192/4+1000) // a quarter of what may wait is theirs, and a pipe holds 64 KiB
			if answer := d.command(t, "status"); !strings.Contains(answer, "messages lost") {
				t.Errorf("status says\n%s", answer)
			}
			if line := awaitLine(t, log, "lost"); !strings.Contains(line, `level=WARN msg="messages lost" count=`) {
				t.Errorf("it says %q", line)
			}
			serveMany(t, d.listen, 1000)
			d.Process.Signal(syscall.SIGTERM)
			d.ends(t)
		})
	}
	t.Run("kill", func(t *testing.T) {
		d, _ := startUnread(t, "auto", toStderr)
		serveMany(t, d.listen, 1000)
		d.command(t, "kill")
		d.ends(t)
	})
}

// TestDumpUnread leaves the pipe of the dump unread.
func TestDumpUnread(t *testing.T) {
	for _, dataPlane := range []string{"auto", "portable"} {
		t.Run(dataPlane, func(t *testing.T) {
			d, dump := startUnread(t, dataPlane, toStdout, "-p")
			sendMuch(t, d.listen)
			serveMany(t, d.listen, 1000)
			awaitLine(t, dump, "chunks lost")
			sendMuch(t, d.listen)
			d.Process.Signal(syscall.SIGTERM)
			d.ends(t)
		})
	}
}

// sendMuch sends zeros, of which a dump shows each by three bytes there and
// three back, twice as many as it keeps at most (12 MiB), and reads what comes
// back.
func sendMuch(t *testing.T, listen net.Addr) {
	t.Helper()
	conn, err := net.Dial("tcp", listen.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	const volume = 4 << 20
	go func() {
		conn.Write(make([]byte, volume))
		conn.(*net.TCPConn).CloseWrite()
	}()
	if n, err := io.Copy(io.Discard, conn); n != volume+int64(len("A\n")) || err != nil {
		t.Fatalf("%d bytes came back, %v", n, err)
	}
}
