//go:build linux

package peers

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// Find finds the named peers on this machine: haproxy, which is two rows, nginx
// and pen. What is not installed becomes a note; what is not known, an error.
func Find(ctx context.Context, names []string) (found []Proxy, notes []string, err error) {
	return find(ctx, names, map[string]func() []Proxy{"haproxy": haproxy, "nginx": nginx, "pen": pen})
}

// FindLeastConn is Find for those of the peers that can prefer the channel with
// the fewest sessions; they do.
func FindLeastConn(ctx context.Context, names []string) (found []Proxy, notes []string, err error) {
	none := func() []Proxy { return nil }
	return find(ctx, names, map[string]func() []Proxy{"haproxy": haproxyLeastConn, "nginx": nginxLeastConn, "pen": none})
}

// find finds the rows of the named programs.
func find(ctx context.Context, names []string, known map[string]func() []Proxy) (found []Proxy, notes []string, err error) {
	for _, name := range names {
		rows := known[name]
		if rows == nil {
			return nil, nil, fmt.Errorf("no proxy %q; there are haproxy, nginx, pen", name)
		}
		versionFlag := "-v"
		if name == "pen" {
			versionFlag = "" // it tells nobody
		}
		program, err := lookPath(name)
		if err != nil {
			notes = append(notes, name+" is not installed and not measured")
			continue
		}
		version := programVersion(ctx, name, program, versionFlag)
		for _, x := range rows() {
			x.program, x.Version = program, version
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
