package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"balance/cmd/balance/internal/exit"
	"balance/control"
)

// hostile is what no terminal may get from elsewhere: commands of it, as escapes
// and as C1 controls in two encodings, what turns the direction of a line, what
// is no UTF-8.
const hostile = "\x1b]0;owned\a\x1b[2J\u009b31m\x9b31m\u202eevil\xff\r"

// impostor listens in place of a daemon, in the runtime directory that it
// returns. It answers "identify" with the identity, and the rest with what
// answer writes.
func impostor(t *testing.T, identity []byte, answer func(w io.Writer)) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "run")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"1.sock", "2.sock"} {
		listener, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					requests := bufio.NewScanner(conn)
					for requests.Scan() {
						switch {
						case requests.Text() == "identify" && name == "2.sock":
							conn.Write(bytes.ReplaceAll(identity, []byte("7777"), []byte("7778")))
						case requests.Text() == "identify":
							conn.Write(identity)
						case strings.HasPrefix(requests.Text(), "listener "):
							io.WriteString(conn, ". 0\n")
						default:
							answer(conn)
						}
					}
				}()
			}
		}()
	}
	return dir
}

func hostileIdentity(t *testing.T, file string) []byte {
	t.Helper()
	text, err := json.Marshal(control.Identity{
		Version: hostile, PID: 1, File: file,
		Listeners: []control.Listener{{Name: hostile, Listen: []string{":7777", hostile}, Addresses: []string{":7777", ":1234", hostile}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Appendf(nil, "%s\n. 0\n", text)
}

func TestHostileDaemon(t *testing.T) {
	endless := func(piece string) func(io.Writer) {
		return func(w io.Writer) {
			for data := []byte(strings.Repeat(piece, 1<<14)); ; {
				if _, err := w.Write(data); err != nil {
					return
				}
			}
		}
	}
	says := func(text string) func(io.Writer) {
		return func(w io.Writer) { io.WriteString(w, text) }
	}
	good := hostileIdentity(t, "/"+hostile)
	file := hostileIdentity(t, "/no/7777")
	cases := []struct {
		name     string
		identity []byte
		answer   func(io.Writer)
		args     []string
		input    string
		code     int
		want     string
	}{
		{"answer", good, says(hostile + "\nowned\n. 0\n"), []string{"-c", "show", "7777"}, "", exit.OK, `\u001b]0;owned\u0007`},
		{"failure", good, says(hostile + "\n. 1\n"), []string{"-c", "show", "7777"}, "", exit.Failed, `\u001b]0;owned`},
		{"end mark", good, says(". " + hostile + "\n"), []string{"-c", "show", "7777"}, "", exit.NoMaster, "end mark"},
		{"shell", good, says(hostile + "\n. 0\n"), []string{"-i", "7777"}, "show\n", exit.OK, `\u001b]0;owned`},
		{"process", good, says(". 0\n"), []string{"-i", "7777"}, "", exit.OK, fmt.Sprintf("PID of master process is %d\n", os.Getpid())},
		{"debug", good, says(". 0\n"), []string{"-d", "-c", "show", "7777"}, "", exit.OK, fmt.Sprintf("process %d", os.Getpid())},
		{"two", good, says(". 0\n"), []string{"-c", "show", "1234"}, "", exit.Usage, "more than one"},
		{"diff", file, says(hostile + "\n. 2\n"), []string{"-diff", "-config", "/no/7777"}, "", exit.Differ, `\u001b]0;owned`},
		{"diff in JSON", file, says("[\"" + hostile + "\"]\n. 2\n"), []string{"-diff", "-json", "-config", "/no/7777"}, "", exit.Differ, `\u001b]0;owned`},
		{"no diff", file, says(hostile + "\n. 1\n"), []string{"-diff", "-config", "/no/7777"}, "", exit.DiffFailure, `\u001b]0;owned`},
		{"refusal", []byte(hostile + "\n. 1\n"), says(""), []string{"-c", "show", "7777"}, "", exit.NoRendezvous, `\u001b]0;owned`},
		{"no JSON", []byte(`{"version":` + hostile + "}\n. 0\n"), says(""), []string{"-c", "show"}, "", exit.NoRendezvous, "does not say"},
		{"endless line", good, endless("x"), []string{"-c", "show", "7777"}, "", exit.NoMaster, "the answer is too long"},
		{"endless lines", good, endless("\n"), []string{"-c", "show", "7777"}, "", exit.NoMaster, "the answer has more than"},
		{"endless in the shell", good, endless("\x1b[2J\n"), []string{"-i", "7777"}, "show\n", exit.NoMaster, "the answer"},
		{"endless identity", bytes.Repeat([]byte("["), 8<<20), says(""), []string{"-c", "show", "7777"}, "", exit.NoRendezvous, "the answer is too long"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			program := balanceIn(t, impostor(t, c.identity, c.answer), c.args...)
			program.Stdin = strings.NewReader(c.input)
			out, _ := program.CombinedOutput()
			if code := program.ProcessState.ExitCode(); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if !strings.Contains(string(out), c.want) {
				t.Errorf("%.1000q, want %q", out, c.want)
			}
			raw := func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' && r != '\t' }
			if !utf8.Valid(out) || bytes.ContainsFunc(out, raw) {
				t.Errorf("it prints raw: %.1000q", out)
			}
		})
	}
}

// The completion prints on a terminal, too.
func TestHostileCompletion(t *testing.T) {
	dir := impostor(t, hostileIdentity(t, "/"+hostile), func(w io.Writer) { io.WriteString(w, "s\x1b]0;owned\a\x9b\nt"+hostile+"\n. 0\n") })
	u := newTypist(t, balanceIn(t, dir, "-i", "7777"))
	u.sees(`balance\[0\] `)
	before := u.seen
	u.types("\t")
	u.sees(`(?s)owned.*owned`)
	screen := u.screen.String()[before:]
	if strings.Contains(screen, "\x1b]0") || strings.Contains(screen, "\a") || strings.Contains(screen, "\x9b") {
		t.Errorf("%q", screen)
	}
}
