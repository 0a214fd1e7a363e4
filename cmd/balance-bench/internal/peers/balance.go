//go:build linux

package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"balance/cmd/balance-bench/internal/process"
)

// planes are the data planes of this project's daemon, by their rows' names.
// The row "balance" does without the key, for a daemon that does not know it.
var planes = []struct{ name, key string }{
	{"balance-eventloop", "eventloop"},
	{"balance-portable", "portable"},
	{"balance", ""},
}

// modes are the ways to choose a channel, by their rows' names: keys of the group.
// The first is what the peers do, too.
var modes = []struct{ name, keys string }{
	{"balance leastconn", `mode = "leastconn"`},
	{"balance rr", `mode = "rr"`},
	{"balance random", `mode = "random"`},
	{"balance hash, load 125%", "mode = \"hash\"\n  hash_load = 125"},
}

// Balances returns a row for each data plane that each of the builds of this
// project's daemon accepts, checked with files in dir. The rows of several builds
// have their paths in their names.
func Balances(ctx context.Context, paths []string, dir string) ([]Proxy, error) {
	return ofEach(paths, func(program string) ([]Proxy, error) { return planesOf(ctx, program, dir) })
}

// Modes is Balances for the ways to choose a channel, each in the data plane that
// the daemon prefers. A way that a build does not know becomes a note.
func Modes(ctx context.Context, paths []string, dir string) (found []Proxy, notes []string, err error) {
	found, err = ofEach(paths, func(program string) ([]Proxy, error) {
		rows, unknown, err := modesOf(ctx, program, dir)
		notes = append(notes, unknown...)
		return rows, err
	})
	return found, notes, err
}

// ofEach collects the rows of each of the builds at the paths.
func ofEach(paths []string, of func(program string) ([]Proxy, error)) ([]Proxy, error) {
	var rows []Proxy
	for _, path := range paths {
		program, err := filepath.Abs(path)
		if err != nil {
			return nil, err
		}
		found, err := of(program)
		if err != nil {
			return nil, err
		}
		for _, x := range found {
			if len(paths) > 1 {
				x.Name += " of " + path
			}
			rows = append(rows, x)
		}
	}
	return rows, nil
}

// planesOf is Balances for one build.
func planesOf(ctx context.Context, program, dir string) ([]Proxy, error) {
	var found []Proxy
	var complaint error
	version := programVersion(ctx, "balance", program, "-version")
	for _, plane := range planes {
		if plane.key == "" && len(found) > 0 {
			continue
		}
		x := balance(plane.name, program, version, plane.key, "")
		if err := accepts(ctx, x, dir); err != nil {
			complaint = err
			continue
		}
		found = append(found, x)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s accepts no configuration: %w", program, complaint)
	}
	return found, nil
}

// modesOf is Modes for one build.
func modesOf(ctx context.Context, program, dir string) (found []Proxy, notes []string, err error) {
	var complaint error
	version := programVersion(ctx, "balance", program, "-version")
	for _, mode := range modes {
		x := balance(mode.name, program, version, "", mode.keys)
		if err := accepts(ctx, x, dir); err != nil {
			complaint = err
			notes = append(notes, fmt.Sprintf("%s is not measured, %s does not accept it: %v", mode.name, program, err))
			continue
		}
		found = append(found, x)
	}
	if len(found) == 0 {
		return nil, nil, fmt.Errorf("%s accepts no configuration: %w", program, complaint)
	}
	return found, notes, nil
}

func balance(name, program, version, plane, keys string) Proxy {
	return Proxy{Name: name, Version: version, Ours: true, program: program, death: syscall.SIGKILL,
		file: func(s Settings) string { return balanceConfig(s, plane, keys) },
		args: func(_ Settings, config string) []string { return []string{"-config", config} }}
}

// accepts returns what the daemon of x has against its configuration.
func accepts(ctx context.Context, x Proxy, dir string) error {
	config := filepath.Join(dir, "check.toml")
	example := Settings{listen: "127.0.0.1:1", Backends: []string{"127.0.0.1:2"}}
	if err := os.WriteFile(config, []byte(x.file(example)), 0o600); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, x.program, "-check", "-config", config).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %q", err, process.LastLine(out))
	}
	return nil
}

// balanceConfig has one group, with the lines of keys beside its channels.
func balanceConfig(s Settings, plane, keys string) string {
	defaults := ""
	if plane != "" {
		defaults = fmt.Sprintf("[defaults]\ndata_plane = %q\n\n", plane)
	}
	channels := make([]string, len(s.Backends))
	for i, b := range s.Backends {
		channels[i] = fmt.Sprintf("%q", b)
	}
	return fmt.Sprintf(`%s[[listener]]
name = "bench"
listen = [%q]

  [[listener.group]]
  channels = [%s]
  %s
`, defaults, s.listen, strings.Join(channels, ", "), keys)
}

// Build compiles this project's daemon into dir and returns its path. It works
// from within the module's source.
func Build(ctx context.Context, dir string) (string, error) {
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
