package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"balance/cmd/balance/internal/exit"
	"balance/control/counters"
	"balance/engine/plane/planetest"
)

const patience = 20 * time.Second

func TestMain(m *testing.M) {
	testscript.Main(privately{m}, map[string]func(){
		"balance": main,
	})
}

// privately runs tests with a runtime directory of their own: daemons that
// they start do not meet others of this machine. Those that may run beside
// others mostly wait, so more of them do than there are processors.
type privately struct{ *testing.M }

func (m privately) Run() int {
	flag.Set("test.parallel", "6") // which the command line may say otherwise
	dir, err := os.MkdirTemp("", "balance-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	os.Setenv("RUNTIME_DIRECTORY", filepath.Join(dir, "run"))
	os.Setenv("STATE_DIRECTORY", filepath.Join(dir, "state"))
	return m.M.Run()
}

// TestScripts runs the program as a user would. Each script finds servers,
// which greet with their name and then echo, at $A, $B and $C, and free
// addresses at $LISTEN1 to $LISTEN3.
func TestScripts(t *testing.T) {
	if err := adoptOrphans(); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{"A", "B", "C"} {
				addr, stop, err := startServer(name)
				if err != nil {
					return err
				}
				env.Defer(stop)
				setAddress(env, name, addr)
			}
			for _, name := range []string{"LISTEN1", "LISTEN2", "LISTEN3"} {
				addr, err := freeAddress()
				if err != nil {
					return err
				}
				setAddress(env, name, addr)
			}
			env.Setenv("GORACE", os.Getenv("GORACE"))
			env.Setenv("XDG_RUNTIME_DIR", filepath.Join(env.WorkDir, "run"))
			env.Setenv("RUNTIME_DIRECTORY", filepath.Join(env.WorkDir, "run"))
			env.Setenv("STATE_DIRECTORY", filepath.Join(env.WorkDir, "state"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":      exits,
			"start":      start,
			"signal":     signalProgram,
			"finish":     finish,
			"now":        now,
			"becomes":    becomes,
			"daemonized": daemonized,
			"replace":    replace,
			"served":     served,
			"refused":    refused,
			"session":    session,
			"await":      await,
			"append":     appendTo,
			"expand":     expand,
			"killed":     killed,
			"stale":      stale,
			"http":       askHTTP,
			"until":      until,
			"occupy":     occupy,
		},
	})
}

// stale FILE makes a counters file one that was written to an hour ago.
func stale(ts *testscript.TestScript, neg bool, args []string) {
	file, err := os.OpenFile(ts.MkAbs(args[0]), os.O_WRONLY, 0)
	ts.Check(err)
	defer file.Close()
	_, err = file.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(time.Now().Add(-time.Hour).UnixNano())), counters.AtUpdated)
	ts.Check(err)
}

// http STATUS ADDRESS PATH [TOKEN] asks over HTTP, at a host:port or unix:path,
// until the answer has the status.
func askHTTP(ts *testscript.TestScript, neg bool, args []string) {
	network, address := "tcp", args[1]
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	var dialer net.Dialer
	client := http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, address)
		},
	}}
	request, err := http.NewRequest(http.MethodGet, "http://localhost"+args[2], nil)
	ts.Check(err)
	if len(args) > 3 {
		request.Header.Set("Authorization", "Bearer "+args[3])
	}
	got := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		answer, err := client.Do(request)
		if err != nil {
			got = err.Error()
			continue
		}
		answer.Body.Close()
		if got = fmt.Sprint(answer.StatusCode); got == args[0] {
			return
		}
	}
	ts.Fatalf("%s of %s: %s, want %s", args[2], args[1], got, args[0])
}

// occupy ADDRESS binds an address as soon as it is free, until the script ends.
func occupy(ts *testscript.TestScript, neg bool, args []string) {
	var listener net.Listener
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if listener, err = net.Listen("tcp4", args[0]); err == nil {
			ts.Defer(func() { listener.Close() })
			return
		}
	}
	ts.Fatalf("%v", err)
}

// until REGEXP PROGRAM ARG... runs a program until its standard output matches.
func until(ts *testscript.TestScript, neg bool, args []string) {
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ts.Exec(args[1], args[2:]...); pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
	}
	ts.Fatalf("it never printed %s", args[0])
}

// setAddress sets $NAME to the address and $NAMEPORT to its port.
func setAddress(env *testscript.Env, name string, addr net.Addr) {
	env.Setenv(name, addr.String())
	env.Setenv(name+"PORT", fmt.Sprint(addr.(*net.TCPAddr).Port))
}

func freeAddress() (net.Addr, error) { return planetest.FreeAddress("127.0.0.1") }

// startServer starts a server that greets with its name and then echoes.
func startServer(name string) (addr net.Addr, stop func(), err error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
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
				conn.SetDeadline(time.Now().Add(10 * time.Minute))
				fmt.Fprintln(conn, name)
				// Without splicing: package net leaves the pipes to the
				// collector, too many for short connections.
				io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{conn})
			})
		}
	})
	return listener.Addr(), func() { listener.Close(); handlers.Wait() }, nil
}

func serverAndAddress(t *testing.T) (server, listen net.Addr) {
	t.Helper()
	server, stop, err := startServer("A")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	if listen, err = freeAddress(); err != nil {
		t.Fatal(err)
	}
	return server, listen
}

func portOf(addr net.Addr) string {
	_, port, _ := strings.Cut(addr.String(), ":")
	return port
}

// exits CODE PROGRAM ARG... runs a program that has to end with the code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// start LOG PROGRAM ARG... starts a program in the background; its standard
// output and error go to the file LOG.
func start(ts *testscript.TestScript, neg bool, args []string) {
	log, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	program := exec.Command(path, args[2:]...)
	program.Dir, program.Stdout, program.Stderr = ts.MkAbs("."), log, log
	for _, name := range []string{"GORACE", "XDG_RUNTIME_DIR", "RUNTIME_DIRECTORY", "STATE_DIRECTORY", "PATH", "TMPDIR", "HOME"} {
		program.Env = append(program.Env, name+"="+ts.Getenv(name))
	}
	ts.Check(program.Start())
	log.Close()
	programs.Store(ts.Name(), program)
	ts.Defer(func() {
		if program.ProcessState == nil {
			program.Process.Kill()
			program.Wait()
		}
		if content, err := os.ReadFile(log.Name()); err == nil {
			ts.Logf("%s:\n%s", args[0], content)
		}
	})
}

var programs sync.Map // of *exec.Cmd, by the name of the script

func program(ts *testscript.TestScript) *exec.Cmd {
	found, ok := programs.Load(ts.Name())
	if !ok {
		ts.Fatalf("no program was started")
	}
	return found.(*exec.Cmd)
}

// signal NAME sends a signal to the program.
func signalProgram(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]os.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM, "INT": syscall.SIGINT}
	ts.Check(program(ts).Process.Signal(signals[args[0]]))
}

// finish CODE waits for the end of the program.
func finish(ts *testscript.TestScript, neg bool, args []string) {
	started := program(ts)
	timer := time.AfterFunc(2*patience, func() { started.Process.Kill() })
	defer timer.Stop()
	started.Wait()
	if code := started.ProcessState.ExitCode(); fmt.Sprint(code) != args[0] {
		ts.Fatalf("%s, want code %s", started.ProcessState, args[0])
	}
}

// replace FILE SOURCE replaces FILE by what SOURCE holds, with the variables
// of the script in it, by a rename.
func replace(ts *testscript.TestScript, neg bool, args []string) {
	content := os.Expand(ts.ReadFile(args[1]), ts.Getenv)
	temporary := ts.MkAbs(args[0] + ".new")
	ts.Check(os.WriteFile(temporary, []byte(content), 0o644))
	ts.Check(os.Rename(temporary, ts.MkAbs(args[0])))
}

// served ADDRESS NAME... connects once for each name and expects to be served
// by the servers of these names, in this order. The first connection waits
// until somebody listens.
func served(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: served address name...")
	}
	var got []string
	for range args[1:] {
		var by string
		var err error
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if by, err = greeting(args[0]); err == nil || !errors.Is(err, syscall.ECONNREFUSED) {
				break
			}
		}
		ts.Check(err)
		got = append(got, by)
	}
	if want := args[1:]; strings.Join(got, " ") != strings.Join(want, " ") {
		ts.Fatalf("served by %v, want %v", got, want)
	}
}

// now ADDRESS NAME connects once and does not wait for anything. Negated, without
// a name, the client is to be turned away.
func now(ts *testscript.TestScript, neg bool, args []string) {
	by, err := greeting(args[0])
	if neg {
		if err == nil {
			ts.Fatalf("served by %q", by)
		}
		return
	}
	ts.Check(err)
	if by != args[1] {
		ts.Fatalf("served by %q, want %s", by, args[1])
	}
}

// becomes ADDRESS NAME waits until a client is served by the server of that
// name.
func becomes(ts *testscript.TestScript, neg bool, args []string) {
	var by string
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if by, err = greeting(args[0]); by == args[1] {
			return
		}
	}
	ts.Fatalf("served by %q, %v, want %s", by, err, args[1])
}

// greeting returns the name of the server that the address leads to. Its session
// has ended then, and all of it is counted.
func greeting(address string) (string, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	reader := bufio.NewReader(conn)
	line, err := reader.ReadString('\n')
	if err == nil {
		err = conn.(*net.TCPConn).CloseWrite()
	}
	if err == nil {
		_, err = io.Copy(io.Discard, reader)
	}
	return strings.TrimSpace(line), err
}

// refused ADDRESS waits until nobody listens.
func refused(ts *testscript.TestScript, neg bool, args []string) {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", args[0])
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if err == nil {
			conn.Close()
		}
	}
	ts.Fatalf("somebody listens on %s", args[0])
}

type sessionKey string

// session open|use|close NAME [ADDRESS] holds a connection over several lines
// of the script. Used, it must still echo. Negated, it is one that nobody serves.
func session(ts *testscript.TestScript, neg bool, args []string) {
	key := sessionKey(args[1])
	if args[0] == "open" {
		conn, err := net.Dial("tcp", args[2])
		ts.Check(err)
		ts.Defer(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(patience))
		_, err = bufio.NewReader(conn).ReadString('\n')
		if neg && err != nil {
			return
		}
		ts.Check(err)
		sessions.Store(ts.Name()+args[1], conn)
		return
	}
	found, ok := sessions.Load(ts.Name() + args[1])
	if !ok {
		ts.Fatalf("no session %s", key)
	}
	conn := found.(net.Conn)
	if args[0] == "close" {
		conn.Close()
		return
	}
	message := []byte("echo\n")
	_, err := conn.Write(message)
	if err == nil {
		_, err = io.ReadFull(conn, message)
	}
	if neg == (err == nil) {
		ts.Fatalf("session %s: %v", args[1], err)
	}
}

var sessions sync.Map // of net.Conn, by the name of the script and the session

// await FILE REGEXP waits until the file matches.
func await(ts *testscript.TestScript, neg bool, args []string) {
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	var data []byte
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		data, _ = os.ReadFile(ts.MkAbs(args[0]))
		if pattern.Match(data) {
			return
		}
	}
	ts.Fatalf("%s does not match %s:\n%s", args[0], args[1], data)
}

// expand FILE replaces the variables of the script in the file, as replace
// does.
func expand(ts *testscript.TestScript, neg bool, args []string) {
	content := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(content), 0o644))
}

// killed kills the program that was started last, with SIGKILL.
func killed(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(program(ts).Process.Kill())
	program(ts).Wait()
}

// append FILE LINE appends a line to the file, in place.
func appendTo(ts *testscript.TestScript, neg bool, args []string) {
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_APPEND|os.O_WRONLY, 0)
	ts.Check(err)
	_, err = fmt.Fprintln(f, args[1])
	ts.Check(errors.Join(err, f.Close()))
}

func TestRunEndsWithItsContext(t *testing.T) {
	addr, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	a, stop, err := startServer("A")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int)
	go func() {
		_, port, _ := net.SplitHostPort(addr.String())
		ended <- run(ctx, []string{"-f", "-b", "127.0.0.1", port, a.String()}, strings.NewReader(""), io.Discard, io.Discard)
	}()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if by, err := greeting(addr.String()); err == nil && by == "A" {
			break
		}
		if time.Now().After(end) {
			t.Fatal("balance does not serve")
		}
	}
	cancel()
	if code := <-ended; code != exit.OK {
		t.Errorf("exit code %d", code)
	}
}
