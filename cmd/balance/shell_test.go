package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"

	"balance/cmd/balance/internal/exit"
)

// typist is a user at a terminal in which a program runs.
type typist struct {
	*testing.T
	terminal *os.File
	program  *exec.Cmd
	screen   strings.Builder // all output so far
	seen     int             // how much of it was expected already
}

// newTypist starts a program in a terminal, which has no deadlines for reading:
// the end of the program, which has to be bounded, ends that.
func newTypist(t *testing.T, program *exec.Cmd) *typist {
	return newTypistAt(t, &pty.Winsize{Rows: 24, Cols: 120}, program)
}

func newTypistAt(t *testing.T, size *pty.Winsize, program *exec.Cmd) *typist {
	u := &typist{T: t, program: program}
	var err error
	u.terminal, err = pty.StartWithSize(u.program, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		u.terminal.Close()
		u.program.Process.Kill()
		u.program.Wait()
	})
	return u
}

func (u *typist) types(keys string) {
	u.Helper()
	if _, err := u.terminal.WriteString(keys); err != nil {
		u.Fatal(err)
	}
}

// sees waits until the pattern stands on the screen, behind what was seen
// before.
func (u *typist) sees(pattern string) {
	u.Helper()
	expected := regexp.MustCompile(pattern)
	buffer := make([]byte, 4096)
	for {
		if at := expected.FindStringIndex(u.screen.String()[u.seen:]); at != nil {
			u.seen += at[1]
			return
		}
		n, err := u.terminal.Read(buffer)
		u.screen.Write(buffer[:n])
		if err != nil {
			u.Fatalf("%v while waiting for %s, after\n%q", err, pattern, u.screen.String())
		}
	}
}

// balanceIn is the program with a runtime directory, beside which it keeps its
// history, and a terminal that can be edited on, without colours. It is not waited
// for without end.
func balanceIn(t *testing.T, directory string, args ...string) *exec.Cmd {
	program := bounded(t, "balance", args...)
	program.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+directory, "XDG_STATE_HOME="+directory+"-state", "TERM=xterm", "NO_COLOR=1")
	return program
}

// launched is a daemon with a runtime directory of its own.
type launched struct {
	*exec.Cmd
	directory, port string
}

// beside is the program with the runtime directory of the daemon.
func (d *launched) beside(t *testing.T, args ...string) *exec.Cmd {
	return balanceIn(t, d.directory, args...)
}

// launch starts a daemon with two channels.
func launch(t *testing.T) *launched {
	t.Helper()
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	d := &launched{directory: filepath.Join(t.TempDir(), "run"), port: portOf(address)}
	d.Cmd = balanceIn(t, d.directory, "-f", "-b", "127.0.0.1", d.port, "127.0.0.1:1", "127.0.0.2:1")
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Process.Kill()
		d.Wait()
	})
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if d.beside(t, "-c", "version", d.port).Run() == nil {
			return d
		}
		if time.Now().After(end) {
			t.Fatal("the daemon does not answer")
		}
	}
}

// freeze stops a process and waits until it has come to a stop.
func freeze(t *testing.T, process *exec.Cmd) {
	t.Helper()
	if err := process.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	for !status.Stopped() {
		if _, err := syscall.Wait4(process.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil && err != syscall.EINTR {
			t.Fatal(err)
		}
	}
}

func TestShellOnATerminal(t *testing.T) {
	d := launch(t)
	u := newTypist(t, d.beside(t, "-i", d.port))
	u.sees(`balance \S+ interactive command shell\r\n`)
	u.sees(fmt.Sprintf(`PID of master process is %d\r\n`, d.Process.Pid))
	u.sees(`balance\[0\] `)

	u.types("mr\t") // as far as it is certain
	u.sees(`mrtg-`)
	u.types("\t")
	u.sees(`mrtg-bytes  bytes received and sent, for MRTG\s+mrtg-conns  total sessions, for MRTG\r\n`)
	u.types("c\t0 \t") // one of two, then the channels of group 0
	u.sees(`0  untested, 127\.0\.0\.1:1 +1  untested, 127\.0\.0\.2:1\r\n`)
	u.types("1\r")
	u.sees(`group 0 channel 1\r\n`)

	u.types("why 127.0.0.9 ser\ta.example al\th2\r") // no blank behind the "="
	u.sees(`group 0 channel \d 127\.0\.0\.\d:\d+: chosen`)

	u.types("disable x\x7f0\r") // a typing mistake, wiped out
	u.sees(`channel 0 disabled`)
	u.types("\x1b[A\r") // the line before
	u.sees(`channel 0 already disabled`)

	u.types("group 1\r")
	u.sees(`balance\[1\] `)
	u.types("group 0; show\r")
	u.sees(`GRP Type  #   S`)
	u.sees(`dis        127\.0\.0\.1`)
	u.sees(`balance\[0\] `)

	u.types("watch 1 2\r")
	u.sees(`syntax error`)
	u.types("watch 0.1\r")
	for range 3 {
		u.sees(`\x1b\[H\x1b\[2J`)
		u.sees(`GRP Type`)
	}
	u.types("x")
	u.sees(`balance\[0\] `)
	u.types("version\r") // the key that ended watch is no part of it
	u.sees(`This is balance`)

	u.types("nonsense\r")
	u.sees(`syntax error`)
	u.types("quit\r")
	if err := u.program.Wait(); err != nil {
		t.Errorf("quit: %v", err)
	}
}

// Ctrl-C wipes a line out, and leaves the shell where it is.
func TestShellForgetsALine(t *testing.T) {
	t.Parallel()
	d := launch(t)
	u := newTypist(t, d.beside(t, "-i", d.port))
	u.sees(`balance\[0\] `)
	u.types("disable 0\x01") // to the begin of the line
	u.sees(`disable 0.*\x1b\[0K`)
	u.types("\x03")
	u.sees(`\^C`)
	u.sees(`balance\[0\] `)
	u.types("show\r")
	u.sees(`ENA        127\.0\.0\.1`)
}

// What was typed is found again, in the next shell too, but for what was no
// command, and what stands behind a blank.
func TestShellHistory(t *testing.T) {
	t.Parallel()
	d := launch(t)
	first := newTypist(t, d.beside(t, "-i", d.port))
	first.sees(`balance\[0\] `)
	for _, line := range []string{"disable 1", "enable 1", " disable 0", "hunter2", "version"} {
		first.types(line + "\r")
		first.sees(`(?s)\r\n.*balance\[0\] `)
	}
	first.types("\x1b[A\x1b[A\r") // kept for this shell, to be mended
	first.sees(`syntax error`)
	first.sees(`balance\[0\] `)
	first.types("quit\r")
	first.program.Wait()

	directory := filepath.Join(d.directory+"-state", "balance")
	kept, err := os.ReadFile(filepath.Join(directory, "shell_history"))
	if want := "disable 1\nenable 1\nversion\nquit\n"; err != nil || string(kept) != want {
		t.Errorf("kept %q, %v, want %q", kept, err, want)
	}
	for path, mode := range map[string]os.FileMode{directory: 0o700, filepath.Join(directory, "shell_history"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%q: %v, %v, want mode %o", path, info.Mode(), err, mode)
		}
	}

	second := newTypist(t, d.beside(t, "-i", d.port))
	second.sees(`balance\[0\] `)
	second.types("\x12dis\r") // Ctrl-R
	second.sees(`channel 1 disabled`)
	second.sees(`balance\[0\] `)
	second.types("\x1b[A\x1b[A\x1b[A\r") // of the first shell, behind the one just found
	second.sees(`This is balance`)
}

// A history that cannot be kept is told of, and does not keep the shell from
// working. One in another's place is not written to.
func TestShellWithoutHistory(t *testing.T) {
	t.Parallel()
	d := launch(t)
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.WriteFile(elsewhere, []byte("mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	directory := filepath.Join(d.directory+"-state", "balance")
	if err := os.MkdirAll(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, filepath.Join(directory, "shell_history")); err != nil {
		t.Fatal(err)
	}
	u := newTypist(t, d.beside(t, "-i", d.port))
	u.sees(`balance: read the history in .*\r\n`)
	u.sees(`balance\[0\] `)
	u.types("version\r")
	u.sees(`This is balance`)
	u.types("quit\r")
	if err := u.program.Wait(); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(elsewhere); err != nil || string(text) != "mine\n" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestColoursOfStates(t *testing.T) {
	t.Parallel()
	d := launch(t)
	u := newTypist(t, with(d.beside(t, "-i", d.port), "NO_COLOR="))
	u.sees(`balance\[0\] `)
	u.types("disable 1; show\r")
	u.sees(`S       ip-address`)
	u.sees(`\x1b\[32mENA\x1b\[m        127\.0\.0\.1`)
	u.sees(`\x1b\[33mdis\x1b\[m        127\.0\.0\.2`)
	u.types("health\r")
	u.sees(`\x1b\[33mdisabled\x1b\[m`)
	u.types("enable \t")
	u.sees(`0  \x1b\[32muntested\x1b\[m, 127.*1  \x1b\[33mdisabled\x1b\[m, 127`)
	once := newTypist(t, with(d.beside(t, "-c", "show", d.port), "NO_COLOR="))
	once.sees(`\x1b\[32mENA\x1b\[m `)
	for _, none := range []string{"NO_COLOR=1", "TERM=dumb"} {
		u := newTypist(t, with(d.beside(t, "-c", "show", d.port), "NO_COLOR=", none))
		u.sees(` ENA `)
	}
	out, err := with(d.beside(t, "-c", "show", d.port), "NO_COLOR=").Output()
	if err != nil || strings.Contains(string(out), "\x1b") {
		t.Errorf("into a pipe: %v: %q", err, out)
	}
}

func TestShellEndsWithItsInput(t *testing.T) {
	d := launch(t)
	u := newTypist(t, d.beside(t, "-i", d.port))
	u.sees(`balance\[0\] `)
	u.types("\x04")
	if err := u.program.Wait(); err != nil {
		t.Errorf("end of input: %v", err)
	}
}

func TestShellNoticesTheEndOfTheDaemon(t *testing.T) {
	d := launch(t)
	u := newTypist(t, d.beside(t, "-i", d.port))
	u.sees(`balance\[0\] `)
	d.Process.Signal(syscall.SIGKILL)
	d.Wait()
	u.types("show\r")
	u.sees(`no answer`)
	u.program.Wait()
	if code := u.program.ProcessState.ExitCode(); code != exit.NoMaster {
		t.Errorf("exit code %d, want %d", code, exit.NoMaster)
	}
}

func TestShellKills(t *testing.T) {
	d := launch(t)
	u := newTypist(t, d.beside(t, "-i", d.port))
	u.sees(`balance\[0\] `)
	for _, no := range []string{"", "n", "kill"} {
		u.types("kill\r")
		u.sees(`end process \d+ and all of its sessions\? \[y/N\] `)
		u.types(no + "\r")
		u.sees(`balance\[0\] `)
	}
	u.types("version\r")
	u.sees(`This is balance`)
	u.types("kill\r")
	u.sees(`\[y/N\] `)
	u.types("y\r")
	u.sees(`shutdown complete, exiting\.\r\n`)
	if err := u.program.Wait(); err != nil {
		t.Errorf("the shell after kill: %v", err)
	}
	if err := d.Wait(); err != nil {
		t.Errorf("the daemon after kill: %v", err)
	}
}

// A request that takes its time is ended like any program, and leaves the
// terminal as it was.
func TestShellIsInterrupted(t *testing.T) {
	d := launch(t)
	u := newTypist(t, d.beside(t, "-i", d.port))
	u.sees(`balance\[0\] `)
	freeze(t, d.Cmd)
	defer d.Process.Signal(syscall.SIGCONT)
	u.types("kill\r")
	u.sees(`\[y/N\] `)
	u.types("y\r")
	u.sees(`y\r\n`)
	ended := make(chan struct{})
	go func() { u.program.Wait(); close(ended) }()
	for waiting := true; waiting; { // until the terminal is not raw any more
		u.types("\x03")
		select {
		case <-ended:
			waiting = false
		case <-time.After(20 * time.Millisecond):
		}
	}
	if status := u.program.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGINT {
		t.Errorf("it ended with %v", u.program.ProcessState)
	}
}

// What a daemon says too late is not taken for the answer to something else.
func TestCompletionWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	d := launch(t)
	u := newTypist(t, d.beside(t, "-i", d.port))
	u.sees(`balance\[0\] `)
	freeze(t, d.Cmd)
	u.types("s\t")
	u.sees(`complete: process [0-9]+: the daemon does not answer`)
	d.Process.Signal(syscall.SIGCONT)
	u.types("how\r")
	u.sees(`show: no answer`)
	u.program.Wait()
	if code := u.program.ProcessState.ExitCode(); code != exit.NoMaster {
		t.Errorf("exit code %d, want %d", code, exit.NoMaster)
	}
}

// A signal ends the shell and watch even while they wait for keys, and they
// leave the terminal as it was.
func TestSignalRestoresTheTerminal(t *testing.T) {
	d := launch(t)
	for _, args := range [][]string{{"-i", d.port}, {"-c", "watch 3600", d.port}} {
		master, terminal, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer master.Close()
		defer terminal.Close()
		if err := pty.Setsize(master, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
			t.Fatal(err)
		}
		fd := int(terminal.Fd())
		before, err := term.GetState(fd)
		if err != nil {
			t.Fatal(err)
		}
		program := d.beside(t, args...)
		program.Stdin, program.Stdout = terminal, terminal
		if err := program.Start(); err != nil {
			t.Fatal(err)
		}
		defer program.Process.Kill()
		awaitMode(t, fd, func(now *term.State) bool { return *now != *before })
		program.Process.Signal(syscall.SIGTERM)
		program.Wait()
		if status := program.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGTERM {
			t.Errorf("%q ended with %v", args, program.ProcessState)
		}
		if after, err := term.GetState(fd); err != nil || *after != *before {
			t.Errorf("%q left the terminal as %+v, which was %+v (%v)", args, after, before, err)
		}
	}
}

// awaitMode waits until the mode of a terminal is as it should be.
func awaitMode(t *testing.T, fd int, good func(*term.State) bool) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		now, err := term.GetState(fd)
		if err != nil {
			t.Fatal(err)
		}
		if good(now) {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the terminal does not change its mode")
		}
	}
}

func TestWatchEndsAtAKey(t *testing.T) {
	d := launch(t)
	u := newTypist(t, d.beside(t, "-c", "watch 0.1; version", d.port))
	for range 2 {
		u.sees(`\x1b\[H\x1b\[2J`)
		u.sees(`GRP Type`)
	}
	u.types("q")
	u.sees(`This is balance`)
	if err := u.program.Wait(); err != nil {
		t.Errorf("watch: %v", err)
	}
}

// TestWatchIntoAPipe has a terminal on one side alone.
func TestWatchIntoAPipe(t *testing.T) {
	d := launch(t)
	master, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer terminal.Close()
	watch := d.beside(t, "-c", "watch", d.port)
	watch.Stdin = terminal
	out, err := watch.Output()
	if err != nil || strings.Count(string(out), "GRP Type") != 1 || strings.Contains(string(out), "\x1b") {
		t.Errorf("%v: %q", err, out)
	}
}

// On a terminal that cannot be edited on, the shell reads plain lines.
func TestPlainTerminals(t *testing.T) {
	t.Parallel()
	d := launch(t)
	sized := &pty.Winsize{Rows: 24, Cols: 120}
	for name, u := range map[string]*typist{
		"no size":  newTypistAt(t, &pty.Winsize{}, d.beside(t, "-i", d.port)),
		"dumb":     newTypistAt(t, sized, with(d.beside(t, "-i", d.port), "TERM=dumb", "NO_COLOR=")),
		"narrow":   newTypistAt(t, &pty.Winsize{Rows: 24, Cols: 15}, d.beside(t, "-i", d.port)),
		"no TERM ": newTypistAt(t, sized, with(d.beside(t, "-i", d.port), "TERM=", "NO_COLOR=")),
	} {
		u.sees(`balance\[0\] `)
		u.types("show\r")
		u.sees(`show\r\n`)
		u.sees(`ENA        127\.0\.0\.1`)
		u.types("\x03")
		u.program.Wait()
		if screen := u.screen.String(); strings.Contains(screen, "\x1b") {
			t.Errorf("%s: %q", name, screen)
		}
	}
}

// with sets variables of a program.
func with(program *exec.Cmd, variables ...string) *exec.Cmd {
	program.Env = append(program.Env, variables...)
	return program
}

func TestShellRefusesEndlessLines(t *testing.T) {
	d := launch(t)
	shell := d.beside(t, "-i", d.port)
	shell.Stdin = strings.NewReader("version\n" + strings.Repeat("x", 1<<20) + "\n")
	out, err := shell.CombinedOutput()
	if err == nil || shell.ProcessState.ExitCode() != exit.Failed || !strings.Contains(string(out), "too long") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestStoppedDaemon asks a daemon that does not answer, in every way there is.
func TestStoppedDaemon(t *testing.T) {
	t.Parallel()
	d := launch(t)
	u := newTypist(t, d.beside(t, "-i", d.port))
	u.sees(`balance\[0\] `)
	freeze(t, d.Cmd)
	defer d.Process.Signal(syscall.SIGCONT)
	u.types("show\r")
	want := fmt.Sprintf("process %d: the daemon does not answer", d.Process.Pid)
	var asking sync.WaitGroup
	for _, args := range [][]string{{"-c", "show", d.port}, {"-c", "kill", d.port}, {"-i", d.port}, {"-c", "show"}} {
		asking.Go(func() {
			out, err := d.beside(t, args...).CombinedOutput()
			if err == nil || !strings.Contains(string(out), "no master process") || !strings.Contains(string(out), want) {
				t.Errorf("%q: %v: %s", args, err, out)
			}
		})
	}
	asking.Wait()
	u.sees(want)
	u.program.Wait()
	if code := u.program.ProcessState.ExitCode(); code != exit.NoMaster {
		t.Errorf("exit code %d, want %d", code, exit.NoMaster)
	}
}

// A daemon that is stopped while it waits for its last session is waited for no
// longer.
func TestKillOfADaemonThatStops(t *testing.T) {
	t.Parallel()
	a, stop, err := startServer("A")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	listen, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	directory := filepath.Join(t.TempDir(), "run")
	file := filepath.Join(t.TempDir(), "balance.toml")
	content := fmt.Sprintf("[defaults]\nshutdown_timeout = \"1h\"\n[[listener]]\nlisten = %q\ngroup = [{ channels = [%q] }]\n", listen, a)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	daemon := balanceIn(t, directory, "-config", file)
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	defer daemon.Wait()
	defer daemon.Process.Kill()
	held := awaitSession(t, listen.String())
	defer held.Close()
	kill := balanceIn(t, directory, "-c", "kill", portOf(listen))
	var out strings.Builder
	kill.Stdout, kill.Stderr = &out, &out
	if err := kill.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", listen.String())
		if errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
		if err == nil {
			conn.Close()
		}
		if time.Now().After(end) {
			t.Fatal("kill does not end the listener")
		}
	}
	freeze(t, daemon)
	kill.Wait()
	if code := kill.ProcessState.ExitCode(); code != exit.NoMaster || !strings.Contains(out.String(), "the daemon does not answer") {
		t.Errorf("exit code %d: %s", code, out.String())
	}
}

// awaitSession returns a connection that a server greets, as soon as somebody
// listens.
func awaitSession(t *testing.T, address string) net.Conn {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			if _, err = conn.Read(make([]byte, 1)); err == nil {
				return conn
			}
			conn.Close()
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// bounded is a program that is not waited for without end.
func bounded(t *testing.T, name string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, name, args...)
}
