//go:build linux

// Package peers starts the proxies that are compared: this project's daemon and,
// where they are installed, its peers.
package peers

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"balance/cmd/balance-bench/internal/load"
	"balance/cmd/balance-bench/internal/process"
)

// startTimeout is how long a program may take to be ready, or to answer a
// question.
const startTimeout = 5 * time.Second

// quiet is longer than any run: no proxy closes what is idle.
const quiet = time.Hour

func seconds(d time.Duration) string { return fmt.Sprintf("%ds", d/time.Second) }

// Settings are what all proxies of a run are given alike.
type Settings struct {
	// Backends are the addresses that a proxy relays to.
	Backends []string
	// Threads is the number of event loops: threads, workers or GOMAXPROCS.
	Threads int
	// Descriptors is the limit of a process.
	Descriptors int

	listen string // where the proxy listens
}

// sessions is how many sessions a proxy must be ready for. Proxies that
// reserve descriptors for it take two a session and some for pipes.
func (s Settings) sessions() int { return s.Descriptors / 4 }

// Proxy is one row of the table: a program with its configuration.
type Proxy struct {
	Name    string
	Version string
	// Ours tells this project's daemon from its peers.
	Ours bool
	// Again marks the second instance of another row.
	Again bool

	program string
	// file is the text of its configuration file, nil if it has none.
	file func(Settings) string
	// args are its arguments; config is the path of its file.
	args func(s Settings, config string) []string
	// death is the signal that ends it, descendants included.
	death syscall.Signal
}

// Instance is a proxy that has been started. Its starter stops the process.
type Instance struct {
	Proxy
	Process *process.Process
	// Address is where it listens.
	Address string
	// Status is the command that tells how many sessions each of its loops
	// holds; empty if there is one loop, or it cannot tell.
	Status []string
}

// Start starts the proxy with its files in dir, in front of the backends, and
// returns once it relays. The caller is locked to its thread until the instance
// has been stopped.
func (x Proxy) Start(ctx context.Context, dir string, s Settings) (*Instance, error) {
	var err error
	// Another process may take the free port first.
	for range 3 {
		var in *Instance
		if in, err = x.startOnce(ctx, dir, s); err == nil {
			return in, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("start %s: %w", x.Name, err)
}

func (x Proxy) startOnce(ctx context.Context, dir string, s Settings) (*Instance, error) {
	var err error
	if s.listen, err = freeAddress(); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "proxy.conf")
	if x.file != nil {
		if err := os.WriteFile(config, []byte(x.file(s)), 0o600); err != nil {
			return nil, err
		}
	}
	logPath := filepath.Join(dir, "proxy.log")
	log, err := os.Create(logPath)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(x.program, x.args(s, config)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	in := &Instance{Proxy: x, Address: s.listen}
	if x.Ours {
		// It keeps its control socket among its files.
		runtime := "RUNTIME_DIRECTORY=" + dir
		cmd.Env = append(os.Environ(), fmt.Sprintf("GOMAXPROCS=%d", s.Threads), runtime)
		if s.Threads > 1 {
			in.Status = []string{"env", runtime, x.program, "-config", config, "-c", "status"}
		}
	}
	if in.Process, err = process.Start(cmd, x.death); err != nil {
		return nil, err
	}
	if err := checkRelay(ctx, in.Process, s.listen); err != nil {
		in.Process.Stop()
		if text, readErr := os.ReadFile(logPath); readErr == nil && len(text) > 0 {
			return nil, fmt.Errorf("%w; it says: %q", err, process.LastLine(text))
		}
		return nil, err
	}
	return in, nil
}

// freeAddress is a loopback address that nobody listens on now. Somebody may
// by the time it is used: callers try again.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// checkRelay waits until the proxy p relays at address, and proves it by
// round trips over several connections.
func checkRelay(ctx context.Context, p *process.Process, address string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := load.RoundTrip(ctx, address)
		switch {
		case err == nil:
			for range 3 {
				if err := load.RoundTrip(ctx, address); err != nil {
					return err
				}
			}
			return nil
		case p.Ended():
			return fmt.Errorf("it has ended: %v", p.State())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nothing relayed after %v: %w", startTimeout, err)
		case <-p.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}
