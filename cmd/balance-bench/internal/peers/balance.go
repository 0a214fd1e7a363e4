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

// Balances returns a row for each data plane that each of the builds of this
// project's daemon accepts, checked with files in dir. The rows of several builds
// have their paths in their names.
func Balances(ctx context.Context, paths []string, dir string) ([]Proxy, error) {
	var rows []Proxy
	for _, path := range paths {
		program, err := filepath.Abs(path)
		if err != nil {
			return nil, err
		}
		found, err := planesOf(ctx, program, dir)
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

// planesOf is Balances for one build, at path.
func planesOf(ctx context.Context, path, dir string) ([]Proxy, error) {
	var found []Proxy
	var complaint error
	version := programVersion(ctx, "balance", path, "-version")
	for _, plane := range planes {
		if plane.key == "" && len(found) > 0 {
			continue
		}
		x := Proxy{Name: plane.name, Version: version, Ours: true, program: path, death: syscall.SIGKILL,
			file: func(s Settings) string { return balanceConfig(s, plane.key) },
			args: func(_ Settings, config string) []string { return []string{"-config", config} }}
		config := filepath.Join(dir, "check.toml")
		example := Settings{listen: "127.0.0.1:1", Backends: []string{"127.0.0.1:2"}}
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

func balanceConfig(s Settings, plane string) string {
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
`, defaults, s.listen, strings.Join(channels, ", "))
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
