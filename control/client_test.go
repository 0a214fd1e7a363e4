package control

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"balance/engine/socket"

	"golang.org/x/sys/unix"
)

// quickPace is long enough for a busy machine only where nothing is waited for
// in vain.
var quickPace = pace{prompt: 300 * time.Millisecond, answer: time.Minute, probe: 20 * time.Millisecond}

// busyPace waits for whoever answers at all, however busy the machine is.
var busyPace = pace{prompt: time.Minute, answer: time.Minute, probe: time.Minute}

// impostor listens where a daemon would and answers each request by handle,
// which returns false to say nothing more.
func impostor(t *testing.T, handle func(request string, conn io.Writer) bool) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "1.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var handlers sync.WaitGroup
	handlers.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			handlers.Go(func() {
				defer conn.Close()
				requests := bufio.NewScanner(conn)
				silent := false
				for requests.Scan() {
					silent = silent || !handle(requests.Text(), conn)
				}
			})
		}
	})
	t.Cleanup(func() { listener.Close(); handlers.Wait() })
	return path
}

const someIdentity = `{"version":"1","pid":1,"listeners":[{"name":"web","listen":[":80"],"addresses":[":80"]}]}` + "\n. 0\n"

func dialQuickly(t *testing.T, path string) *Client {
	t.Helper()
	c, err := dialAtPace(path, maxIdentity, quickPace)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestAnswersAreBounded(t *testing.T) {
	piece := bytes.Repeat([]byte("x"), 1<<16)
	for name, endless := range map[string][]byte{"line": piece, "lines": bytes.Repeat([]byte("\n"), 1<<16)} {
		t.Run(name, func(t *testing.T) {
			path := impostor(t, func(request string, conn io.Writer) bool {
				if request == "identify" {
					io.WriteString(conn, someIdentity)
					return true
				}
				for {
					if _, err := conn.Write(endless); err != nil {
						return false
					}
				}
			})
			c, err := dialAtPace(path, maxIdentity, busyPace)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, _, err := c.Ask("show"); err == nil || !strings.Contains(err.Error(), "the answer") {
				t.Errorf("%v", err)
			}
		})
		t.Run("identity of an endless "+name, func(t *testing.T) {
			path := impostor(t, func(_ string, conn io.Writer) bool {
				for {
					if _, err := conn.Write(endless); err != nil {
						return false
					}
				}
			})
			if c, err := dialAtPace(path, maxIdentity, busyPace); err == nil {
				c.Close()
				t.Error("an identity has no end")
			} else if len(err.Error()) > 1000 || errors.Is(err, ErrSilent) {
				t.Errorf("an error of %d bytes: %.1000q", len(err.Error()), err)
			}
		})
	}
}

func TestRefusalsAreShort(t *testing.T) {
	path := impostor(t, func(_ string, conn io.Writer) bool {
		fmt.Fprintf(conn, "\x1b]0;owned\a%s\n. 1\n", strings.Repeat("é", 10_000))
		return true
	})
	_, err := Dial(path)
	if err == nil || len(err.Error()) > 1000 || err.Error() != printable(err.Error()) || !strings.Contains(err.Error(), `\u001b]0;owned`) {
		t.Errorf("%q", err)
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain\tGrüße 你好":          "plain\tGrüße 你好",
		"\x1b]0;owned\a\x1b[2J":    `\u001b]0;owned\u0007\u001b[2J`,
		"a\u0085b\u009b31m":        `a\u0085b\u009b31m`,      // C1, as UTF-8
		"a\x9b31mb\xff":            "a\ufffd31mb\ufffd",      // C1, as a single byte
		"\xe2\x28\xa1":             "\ufffd(\ufffd",          // no UTF-8
		"\u202eevil\u2066\u2028":   `\u202eevil\u2066\u2028`, // turns the direction of what follows
		"\U000e0041":               `\udb40\udc41`,
		"carriage\rreturn\x7f\x00": `carriage\u000dreturn\u007f\u0000`,
	} {
		if got := printable(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// FuzzAnswer reads what anybody may have written.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("a\n. 0\n"))
	f.Add([]byte("\x1b[2J\x9b\xff\n..\n. 64\n"))
	f.Add([]byte(". x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		const most = 100
		lines, _, _ := readAnswer(bufio.NewReaderSize(bytes.NewReader(data), 16), most)
		total := 0
		for _, line := range lines {
			total++
			if line != printable(line) || strings.ContainsFunc(line, notPrintable) {
				t.Fatalf("%q can not be printed", line)
			}
		}
		if total > most {
			t.Fatalf("%d lines from %d bytes", total, most)
		}
	})
}

// TestIdentityIsNotTrusted has a daemon that says it is another.
func TestIdentityIsNotTrusted(t *testing.T) {
	text, err := json.Marshal(Identity{
		Version: "1\x1b[2J", PID: 1, File: "/etc/\x1b]0;owned\a",
		Listeners: []Listener{{Name: "we\u009bb", Listen: []string{":80\r"}, Addresses: []string{"\u202e:80"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := impostor(t, func(_ string, conn io.Writer) bool {
		fmt.Fprintf(conn, "%s\n. 0\n", text)
		return true
	})
	c, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, known := socket.PeerPID(c.conn); known && c.Identity.PID != os.Getpid() {
		t.Errorf("it is taken for process %d, and is %d", c.Identity.PID, os.Getpid())
	}
	l := c.Identity.Listeners[0]
	for _, text := range []string{c.Identity.Version, c.Identity.File, l.Name, l.Listen[0], l.Addresses[0]} {
		if text != printable(text) || !strings.Contains(text, `\u`) {
			t.Errorf("%q", text)
		}
	}

	path = impostor(t, func(_ string, conn io.Writer) bool {
		fmt.Fprintf(conn, "{\"version\":\"%s\"}\n. 0\n", strings.Repeat("x", 100_000))
		return true
	})
	if _, err := Dial(path); err == nil || len(err.Error()) > 1000 {
		t.Errorf("a version of 100000 bytes: %.100v", err)
	}
	path = impostor(t, func(_ string, conn io.Writer) bool {
		io.WriteString(conn, "{\"version\":\x1b[2J}\n. 0\n")
		return true
	})
	if _, err := Dial(path); err == nil || err.Error() != printable(err.Error()) {
		t.Errorf("no JSON: %q", err)
	}
}

// A daemon that is stuck after it has said who it is.
func TestStuckDaemon(t *testing.T) {
	for _, request := range []string{"show", "kill", "reload"} {
		var mu sync.Mutex
		first := true
		path := impostor(t, func(_ string, conn io.Writer) bool {
			mu.Lock()
			defer mu.Unlock()
			if first {
				io.WriteString(conn, someIdentity)
			}
			first = false
			return true
		})
		c := dialQuickly(t, path)
		if _, _, err := c.Ask(request); !errors.Is(err, ErrSilent) {
			t.Errorf("%s: %v, want %v", request, err, ErrSilent)
		}
		if _, _, err := c.Ask("show"); err == nil || errors.Is(err, ErrSilent) {
			t.Errorf("the client goes on: %v", err)
		}
	}
}

// What takes its time is waited for while the daemon answers others, or turns
// them away.
func TestSlowDaemonIsNotStuck(t *testing.T) {
	for _, refuses := range []bool{false, true} {
		patient := quickPace
		patient.prompt = 200 * time.Millisecond
		silence := patient.silence()
		first := make(chan struct{}, 1)
		first <- struct{}{}
		path := impostor(t, func(request string, conn io.Writer) bool {
			select {
			case <-first:
				io.WriteString(conn, someIdentity)
				return true
			default:
			}
			switch {
			case request == "kill":
				time.Sleep(2 * silence)
				io.WriteString(conn, "done\n. 0\n")
			case refuses:
				conn.(net.Conn).Close()
			default:
				io.WriteString(conn, someIdentity)
			}
			return true
		})
		c, err := dialAtPace(path, maxIdentity, patient)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if lines, _, err := c.Ask("kill"); err != nil || len(lines) != 1 {
			t.Errorf("refuses %t: %q, %v", refuses, lines, err)
		}
	}
}

// What hangs by itself is not waited for without end, though the daemon answers
// others.
func TestAnswerThatNeverComes(t *testing.T) {
	path := impostor(t, func(request string, conn io.Writer) bool {
		if request == "identify" {
			io.WriteString(conn, someIdentity)
		}
		return true
	})
	impatient := quickPace
	impatient.answer = 2 * quickPace.silence()
	c, err := dialAtPace(path, maxIdentity, impatient)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, _, err := c.Ask("show"); err == nil || errors.Is(err, ErrSilent) || !strings.Contains(err.Error(), "no answer within") {
		t.Error(err)
	}
}

// TestFullQueue dials a socket whose queue is full: nobody accepts.
func TestFullQueue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "1.sock")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for {
		conn, err := net.Dial("unix", path)
		if err != nil {
			break
		}
		defer conn.Close()
	}
	if _, err := dialAtPace(path, maxIdentity, quickPace); !errors.Is(err, ErrSilent) {
		t.Errorf("%v, want %v", err, ErrSilent)
	}
}

func TestSearchAsksSoManySockets(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	for i := range maxSockets + 1 {
		stale(t, filepath.Join(r.dir, fmt.Sprintf("%d.sock", 10_000_000+i)))
	}
	found := Search()
	for _, c := range found.Clients {
		c.Close()
	}
	if len(found.Errs) != 1 || !strings.Contains(found.Errs[0].Error(), "too much") {
		t.Errorf("%v", found.Errs)
	}
}
