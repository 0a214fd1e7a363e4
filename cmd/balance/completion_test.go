package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestUsageTellsEveryOption(t *testing.T) {
	var told []string
	for _, f := range flagsOfUsage() {
		for _, name := range f.names {
			told = append(told, strings.TrimPrefix(name, "-"))
		}
		if f.text == "" {
			t.Errorf("%v is not explained", f.names)
		}
	}
	var known []string
	new(options).flags().VisitAll(func(f *pflag.Flag) {
		switch {
		case f.Shorthand != "":
			known = append(known, f.Shorthand)
		case f.Name != "demo-backend":
			known = append(known, f.Name)
		}
	})
	slices.Sort(told)
	slices.Sort(known)
	if !slices.Equal(told, known) {
		t.Errorf("usage tells about\n%q\nthe options are\n%q", told, known)
	}
}

func TestCompletionScripts(t *testing.T) {
	for name, write := range shells {
		t.Run(name, func(t *testing.T) {
			var script bytes.Buffer
			write(&script)
			for _, f := range flagsOfUsage() {
				for _, option := range f.names {
					if !regexp.MustCompile(`\B` + option + `\b|-[so] ` + option[1:] + `\b`).MatchString(script.String()) {
						t.Errorf("%s is missing", option)
					}
				}
			}
			if !strings.Contains(script.String(), "mrtg-bytes") {
				t.Error("the commands are missing")
			}
			path := filepath.Join(t.TempDir(), "script")
			if err := os.WriteFile(path, script.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			shell, err := exec.LookPath(name)
			if err != nil {
				t.Skipf("skipped: there is no %s to read the script", name)
			}
			if out, err := exec.Command(shell, "-n", path).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

func TestBashCompletes(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("skipped: there is no bash")
	}
	for words, want := range map[string]string{
		"balance -conf":           "-config",
		"balance -pr":             "-probe -print-config",
		"balance -c mr":           "mrtg-bytes mrtg-conns",
		"balance -c":              "-c -config -check -completion",
		"balance -completion b":   "bash",
		"balance --completion z":  "zsh",
		"balance -b 127.0.0.1 -i": "-i",
	} {
		var script bytes.Buffer
		bashCompletion(&script)
		script.WriteString("\nCOMP_WORDS=(" + words + "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _balance; echo ${COMPREPLY[@]}\n")
		process := exec.Command(bash)
		process.Stdin = &script
		out, err := process.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", words, got, err, want)
		}
	}
}
