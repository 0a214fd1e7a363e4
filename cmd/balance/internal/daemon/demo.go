package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"balance/cmd/balance/internal/exit"
	"balance/config"
	"balance/engine/spec"
)

const (
	demoAddress  = "127.0.0.1"
	demoPort     = 8080
	demoHTTPPort = 8404
	demoBackends = 3
)

// Demo balances over a few small web servers of its own, declared by a file that
// the user can play with. It stands in the place of the document of the options.
func Demo(ctx context.Context, o Options, stdout, stderr io.Writer) int {
	fail := func(err error) int {
		return exit.Because(fmt.Errorf("demo: %w", err), exit.System, stderr)
	}
	dir, err := os.MkdirTemp("", "balance-demo-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(dir)
	var backends []*backend
	defer func() {
		for _, b := range backends {
			b.stop()
		}
	}()
	for i := range demoBackends {
		b, err := startBackend(string(rune('A' + i)))
		if err != nil {
			return fail(err)
		}
		backends = append(backends, b)
	}
	port, err := freePort(ctx, demoPort)
	if err != nil {
		return fail(err)
	}
	httpPort, err := freePort(ctx, demoHTTPPort)
	if err != nil {
		return fail(err)
	}
	o.Forgetful = true
	o.File = filepath.Join(dir, "balance.toml")
	if err := os.WriteFile(o.File, demoConfig(port, httpPort, backends), 0o644); err != nil {
		return fail(err)
	}
	if o.Document, err = Load(ctx, o.File, o.Debug); err != nil {
		return fail(err)
	}
	fmt.Fprint(stdout, demoText(o.File, port, httpPort, backends))
	return serve(ctx, o, stdout, stderr)
}

// freePort returns the first port from start on that can be bound.
func freePort(ctx context.Context, start int) (int, error) {
	var err error
	for port := start; port < start+100; port++ {
		var l net.Listener
		l, err = new(net.ListenConfig).Listen(ctx, "tcp4", net.JoinHostPort(demoAddress, strconv.Itoa(port)))
		if err == nil {
			return port, l.Close()
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return 0, err
}

func demoConfig(port, httpPort int, backends []*backend) []byte {
	c := spec.DefaultConfig()
	l := spec.Defaults()
	l.Name = "demo"
	l.Listen = []string{net.JoinHostPort(demoAddress, strconv.Itoa(port))}
	var group spec.Group
	for _, b := range backends {
		group.Channels = append(group.Channels, spec.Channel{Host: demoAddress, Port: b.port})
	}
	l.Groups = []spec.Group{group}
	c.Listeners = []spec.Listener{l}
	c.Control.HTTP = net.JoinHostPort(demoAddress, strconv.Itoa(httpPort))
	return config.Marshal(c)
}

func demoText(path string, port, httpPort int, backends []*backend) string {
	var b strings.Builder
	fmt.Fprintf(&b, "balance listens on http://%s:%d/ and gives its clients to three web servers in turn:\n", demoAddress, port)
	for _, backend := range backends {
		fmt.Fprintf(&b, "  %s  %s:%d  process %d\n", backend.name, demoAddress, backend.port, backend.process.Process.Pid)
	}
	fmt.Fprintf(&b, `The configuration is %s
The status page is http://%s:%d/

Try, in another terminal:
  for i in 1 2 3 4; do curl http://%s:%d/; done
  kill %d                 # a server goes away: nobody notices
  $EDITOR %s

Ctrl-C ends it all.

`, path, demoAddress, httpPort, demoAddress, port, backends[0].process.Process.Pid, path)
	return b.String()
}

// backend is a web server of the demonstration: a process of its own, so that
// it can be killed. It ends when its standard input does, so it cannot outlive
// this one.
type backend struct {
	name     string
	port     uint16
	process  *exec.Cmd
	lifeline io.Closer
}

func startBackend(name string) (*backend, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	process := exec.Command(self, "-demo-backend", name)
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the parent
	lifeline, err := process.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := process.Start(); err != nil {
		return nil, err
	}
	b := &backend{name: name, process: process, lifeline: lifeline}
	if _, err := fmt.Fscanln(out, &b.port); err != nil {
		b.stop()
		return nil, fmt.Errorf("start server %s: %w", name, err)
	}
	return b, nil
}

func (b *backend) stop() {
	b.lifeline.Close()
	b.process.Wait()
}

// DemoBackend is the process behind a backend. It prints its port.
func DemoBackend(name string, stdin io.Reader, stdout io.Writer) int {
	listener, err := net.Listen("tcp4", net.JoinHostPort(demoAddress, "0"))
	if err != nil {
		return exit.System
	}
	fmt.Fprintln(stdout, listener.Addr().(*net.TCPAddr).Port)
	server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello from server %s on %s\n", name, listener.Addr())
	})}
	go server.Serve(listener)
	io.Copy(io.Discard, stdin)
	server.Close()
	return exit.OK
}
