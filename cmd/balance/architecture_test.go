package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// arrows are the imports that the architecture allows, within the module and,
// for the engine and what is below it, outside of it. Tests are free.
var arrows = map[string][]string{
	"cmd/balance":                        {"cmd/balance/internal/client", "cmd/balance/internal/daemon", "cmd/balance/internal/exit", "config", "config/foreign", "control", "engine", "engine/balancer", "engine/health", "engine/spec", "spelling"},
	"cmd/balance/internal/client":        {"cmd/balance/internal/exit", "config", "control"},
	"cmd/balance/internal/daemon":        {"cmd/balance/internal/exit", "config", "config/history", "control", "control/counters", "control/web", "engine", "engine/balancer", "engine/plane", "engine/spec", "patience"},
	"cmd/balance/internal/exit":          {"config"},
	"cmd/balance-bench":                  {"cmd/balance-bench/internal/load", "cmd/balance-bench/internal/peers", "cmd/balance-bench/internal/process"},
	".":                                  {},
	"config":                             {"patience", "spelling", "engine/spec", "engine/balancer"},
	"config/history":                     {"patience"},
	"config/foreign":                     {"config", "engine/spec", "engine/balancer"},
	"patience":                           {},
	"spelling":                           {},
	"control":                            {"patience", "spelling", "control/counters", "engine", "engine/admit", "engine/health", "engine/spec", "engine/plane", "engine/preface", "engine/socket", "engine/balancer"},
	"control/web":                        {"control", "engine", "engine/admit", "engine/health", "engine/spec", "engine/plane", "engine/socket", "engine/balancer"},
	"control/counters":                   {"patience", "engine", "engine/balancer", "engine/socket"},
	"engine":                             {"patience", "engine/admit", "engine/spec", "engine/health", "engine/plane", "engine/socket", "engine/balancer", "engine/portable", "engine/eventloop"},
	"engine/spec":                        {"engine/admit", "engine/balancer"},
	"engine/health":                      {"patience", "engine/preface", "engine/spec", "engine/plane", "engine/socket", "engine/balancer"},
	"engine/portable":                    {"engine/plane", "engine/socket", "engine/balancer"},
	"engine/eventloop":                   {"engine/plane", "engine/socket", "engine/balancer"},
	"engine/plane":                       {"engine/admit", "engine/preface", "engine/socket", "engine/balancer"},
	"engine/plane/planetest":             {"engine/admit", "engine/preface", "engine/plane", "engine/socket", "engine/balancer"},
	"engine/balancer":                    {},
	"engine/preface":                     {},
	"engine/admit":                       {},
	"cmd/balance-bench/internal/load":    {"cmd/balance-bench/internal/process"},
	"cmd/balance-bench/internal/peers":   {"cmd/balance-bench/internal/load", "cmd/balance-bench/internal/process"},
	"cmd/balance-bench/internal/process": {},
	"engine/socket":                      {"patience"},
}

// TestArrows reads the imports of every package.
func TestArrows(t *testing.T) {
	const root = "../.."
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && path != root {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		allowed, known := arrows[dir]
		if !known {
			t.Errorf("package %s is not in the architecture", dir)
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			name, _ := strconv.Unquote(spec.Path.Value)
			if inner, ok := strings.CutPrefix(name, "balance/"); ok {
				if !slices.Contains(allowed, inner) {
					t.Errorf("%s imports %s", path, name)
				}
				continue
			}
			lean := dir == "engine" || strings.HasPrefix(dir, "engine/") && dir != "engine/plane/planetest"
			first, _, _ := strings.Cut(name, "/")
			if lean && strings.Contains(first, ".") && !strings.HasPrefix(name, "golang.org/x/sys/") {
				t.Errorf("%s imports %s: the engine needs the standard library and x/sys alone", path, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
