//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"balance/cmd/balance-bench/internal/load"
	"balance/cmd/balance-bench/internal/process"
)

// startTimeout is how long a program may take to be ready, or to answer a
// question.
const startTimeout = 5 * time.Second

// settings are what all proxies of a run are given alike.
type settings struct {
	listen   string
	backends []string
	// threads is the number of event loops: threads, workers or GOMAXPROCS.
	threads int
	// descriptors is the limit of a process.
	descriptors int
}

// sessions is how many sessions a proxy must be ready for. Proxies that
// reserve descriptors for it take two a session and some for pipes.
func (s settings) sessions() int { return s.descriptors / 4 }

// proxy is one row of the table: a program with its configuration.
type proxy struct {
	name    string
	program string
	version string
	// ours tells this project's daemon from its peers.
	ours bool
	// again marks the second instance of another row.
	again bool
	// file is the text of its configuration file, nil if it has none.
	file func(settings) string
	// args are its arguments; config is the path of its file.
	args func(s settings, config string) []string
	// death is the signal that ends it, descendants included.
	death syscall.Signal
}

// start starts the proxy with its files in dir, in front of the backends, and
// returns once it relays.
func (x proxy) start(ctx context.Context, dir string, s settings) (*process.Process, string, error) {
	var err error
	// Another process may take the free port first.
	for range 3 {
		var p *process.Process
		if p, err = x.startOnce(ctx, dir, &s); err == nil {
			return p, s.listen, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, "", fmt.Errorf("start %s: %w", x.name, err)
}

func (x proxy) startOnce(ctx context.Context, dir string, s *settings) (*process.Process, error) {
	var err error
	if s.listen, err = freeAddress(); err != nil {
		return nil, err
	}
	config := configPath(dir)
	if x.file != nil {
		if err := os.WriteFile(config, []byte(x.file(*s)), 0o600); err != nil {
			return nil, err
		}
	}
	logPath := filepath.Join(dir, "proxy.log")
	log, err := os.Create(logPath)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(x.program, x.args(*s, config)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	if x.ours {
		cmd.Env = append(os.Environ(), fmt.Sprintf("GOMAXPROCS=%d", s.threads), runtimeDirectory(dir))
	}
	p, err := process.Start(cmd, x.death)
	if err != nil {
		return nil, err
	}
	if err := checkRelay(ctx, p, s.listen); err != nil {
		p.Stop()
		if text, readErr := os.ReadFile(logPath); readErr == nil && len(text) > 0 {
			return nil, fmt.Errorf("%w; it says: %q", err, process.LastLine(text))
		}
		return nil, err
	}
	return p, nil
}

func configPath(dir string) string { return filepath.Join(dir, "proxy.conf") }

// runtimeDirectory keeps the control socket of a balance among its files.
func runtimeDirectory(dir string) string { return "RUNTIME_DIRECTORY=" + dir }

// peers finds the named proxies on this machine. What is not installed
// becomes a note; what is not known, an error.
func peers(ctx context.Context, names []string) (found []proxy, notes []string, err error) {
	for _, name := range names {
		var rows []proxy
		versionFlag := "-v"
		switch name {
		case "haproxy":
			rows = haproxy()
		case "nginx":
			rows = nginx()
		case "pen":
			rows, versionFlag = pen(), "" // it tells nobody
		default:
			return nil, nil, fmt.Errorf("no proxy %q; there are haproxy, nginx, pen", name)
		}
		program, err := lookPath(name)
		if err != nil {
			notes = append(notes, name+" is not installed and not measured")
			continue
		}
		version := programVersion(ctx, name, program, versionFlag)
		for _, x := range rows {
			x.program, x.version = program, version
			found = append(found, x)
		}
	}
	return found, notes, nil
}

// lookPath also looks where system daemons are, which is not on everybody's
// PATH.
func lookPath(name string) (string, error) {
	for _, candidate := range []string{name, "/usr/sbin/" + name, "/usr/local/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", exec.ErrNotFound
}

// programVersion is the first line that the program says to flag, or its name
// if it says none.
func programVersion(ctx context.Context, name, program, flag string) string {
	if flag == "" {
		return name
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, flag).CombinedOutput()
	if err != nil {
		return name
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line[:min(len(line), 100)]
}

// quiet is longer than any run: no proxy closes what is idle.
const quiet = time.Hour

// haproxy: once copying, once splicing whatever it relays. Its splice-auto is
// not measured: it waits for streams faster than its buffer shows, and copies.
func haproxy() []proxy {
	variant := func(name string, splice bool) proxy {
		return proxy{name: name, death: syscall.SIGKILL,
			file: func(s settings) string { return haproxyConfig(s, splice) },
			args: func(_ settings, config string) []string { return []string{"-db", "-f", config} }}
	}
	return []proxy{variant("haproxy", false), variant("haproxy-splice", true)}
}

func haproxyConfig(s settings, splice bool) string {
	global, option := "    nosplice\n", ""
	if splice {
		global, option = "", "    option splice-request\n    option splice-response\n"
	}
	var servers strings.Builder
	for i, b := range s.backends {
		fmt.Fprintf(&servers, "    server s%d %s\n", i, b)
	}
	return fmt.Sprintf(`global
    nbthread %d
    maxconn %d
%sdefaults
    mode tcp
    timeout connect 5s
    timeout client %s
    timeout server %s
%slisten bench
    bind %s backlog %d
    balance roundrobin
%s`, s.threads, s.sessions(), global, seconds(quiet), seconds(quiet), option,
		s.listen, load.Backlog, servers.String())
}

func seconds(d time.Duration) string { return fmt.Sprintf("%ds", d/time.Second) }

// streamModules are where distributions put nginx's stream module; elsewhere
// it is taken to be built in.
var streamModules = []string{
	"/usr/lib/nginx/modules/ngx_stream_module.so",
	"/usr/lib64/nginx/modules/ngx_stream_module.so",
	"/usr/share/nginx/modules/ngx_stream_module.so",
}

func nginx() []proxy {
	module := ""
	for _, path := range streamModules {
		if _, err := os.Stat(path); err == nil {
			module = path
			break
		}
	}
	// The master ends its workers when it is asked to, not when it is killed.
	return []proxy{{name: "nginx", death: syscall.SIGTERM,
		file: func(s settings) string { return nginxConfig(s, module) },
		args: func(_ settings, config string) []string {
			return []string{"-p", filepath.Dir(config), "-e", "stderr", "-c", config}
		}}}
}

func nginxConfig(s settings, module string) string {
	loading := ""
	if module != "" {
		loading = "load_module " + module + ";\n"
	}
	var servers strings.Builder
	for _, b := range s.backends {
		fmt.Fprintf(&servers, "        server %s;\n", b)
	}
	return fmt.Sprintf(`%sdaemon off;
worker_processes %d;
worker_rlimit_nofile %d;
pid nginx.pid;
error_log stderr crit;
events {
    worker_connections %d;
}
stream {
    upstream bench {
%s    }
    server {
        listen %s backlog=%d;
        proxy_pass bench;
        proxy_connect_timeout 5s;
        proxy_timeout %s;
    }
}
`, loading, s.threads, s.descriptors, 2*s.sessions(), servers.String(), s.listen, load.Backlog, seconds(quiet))
}

// pen has one thread, whatever is asked for.
func pen() []proxy {
	return []proxy{{name: "pen", death: syscall.SIGKILL, args: func(s settings, _ string) []string { return penArgs(s) }}}
}

func penArgs(s settings) []string {
	return append([]string{"-f", "-r", "-t", "5", "-x", fmt.Sprint(s.sessions()), "-q", fmt.Sprint(load.Backlog),
		s.listen}, s.backends...)
}

// planes are the data planes of this project's daemon, by their rows' names.
// The row "balance" does without the key, for a daemon that does not know it.
var planes = []struct{ name, key string }{
	{"balance-eventloop", "eventloop"},
	{"balance-portable", "portable"},
	{"balance", ""},
}

// balances returns a row for each data plane that the program at path
// accepts, checked with files in dir.
func balances(ctx context.Context, path, dir string) ([]proxy, error) {
	var found []proxy
	var complaint error
	version := programVersion(ctx, "balance", path, "-version")
	for _, plane := range planes {
		if plane.key == "" && len(found) > 0 {
			continue
		}
		x := proxy{name: plane.name, program: path, version: version, ours: true, death: syscall.SIGKILL,
			file: func(s settings) string { return balanceConfig(s, plane.key) },
			args: func(_ settings, config string) []string { return []string{"-config", config} }}
		config := filepath.Join(dir, "check.toml")
		example := settings{listen: "127.0.0.1:1", backends: []string{"127.0.0.1:2"}}
		if err := os.WriteFile(config, []byte(x.file(example)), 0o600); err != nil {
			return nil, err
		}
		checkCtx, cancel := context.WithTimeout(ctx, startTimeout)
		out, err := exec.CommandContext(checkCtx, path, "-check", "-config", config).CombinedOutput()
		cancel()
		if err == nil {
			found = append(found, x)
			continue
		}
		complaint = fmt.Errorf("%w: %q", err, process.LastLine(out))
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s accepts no configuration: %w", path, complaint)
	}
	return found, nil
}

func balanceConfig(s settings, plane string) string {
	defaults := ""
	if plane != "" {
		defaults = fmt.Sprintf("[defaults]\ndata_plane = %q\n\n", plane)
	}
	channels := make([]string, len(s.backends))
	for i, b := range s.backends {
		channels[i] = fmt.Sprintf("%q", b)
	}
	return fmt.Sprintf(`%s[[listener]]
name = "bench"
listen = [%q]

  [[listener.group]]
  channels = [%s]
`, defaults, s.listen, strings.Join(channels, ", "))
}

// build compiles this project's daemon into dir. It works from within the
// module's source.
func build(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "balance")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "balance/cmd/balance")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", fmt.Errorf("build balance: %s", process.LastLine(out))
	}
	if err != nil {
		return "", fmt.Errorf("build balance: %w", err)
	}
	return path, nil
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
