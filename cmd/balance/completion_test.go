package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/spf13/pflag"
)

func TestUsageTellsEveryOption(t *testing.T) {
	flags := new(options).flags()
	text := usage(flags)
	flags.VisitAll(func(f *pflag.Flag) {
		if arg, about := takes(f); !f.Hidden && about == "" || f.NoOptDefVal == "" && !f.Hidden && arg == strings.ToLower(arg) {
			t.Errorf("%s %s is not explained", dashed(f), arg)
		}
		if strings.Contains(text, "\n  "+dashed(f)) == f.Hidden {
			t.Errorf("hidden %v: %s", f.Hidden, dashed(f))
		}
		if f.Shorthand == "" && !slices.Contains(longOptions, f.Name) {
			t.Errorf("%s has to have two dashes", f.Name)
		}
	})
	for _, line := range strings.Split(text, "\n") {
		if len(line) > usageWidth {
			t.Errorf("too long: %q", line)
		}
	}
}

func TestWords(t *testing.T) {
	for line, want := range map[string][]string{
		"":                           {""},
		"balance":                    {"balance"},
		"balance  -c ":               {"balance", "-c", ""},
		`balance -c 'drain w`:        {"balance", "-c", "drain w"},
		`balance -c "a \"b"c\ d`:     {"balance", "-c", `a "bc d`},
		`balance -c '' x`:            {"balance", "-c", "", "x"},
		"balance -c 'drain ' 8080\t": {"balance", "-c", "drain ", "8080", ""},
	} {
		if got := words(line); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

// completed is what the program answers the script of a shell; the cursor stands
// at the bar.
func completed(t *testing.T, d *launched, line string) []string {
	t.Helper()
	before, after, _ := strings.Cut(line, "|")
	out, err := d.beside(t, "-complete", "--", before, after).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

func TestCompletionOfTheCommandLine(t *testing.T) {
	t.Parallel()
	d := launch(t)
	for line, want := range map[string][]string{
		"balance -conf|":                      {"-config"},
		"balance --conf|":                     {"--config"},
		"balance -pr|":                        {"-print-config", "-probe"},
		"balance -T|":                         {"-T"},
		"balance -completion |":               {"bash", "zsh", "fish"},
		"balance -completion b|":              {"bash"},
		"balance -config |":                   {fileNames},
		"balance -fconfig |":                  {""},
		"balance -diff a|":                    {fileNames},
		"balance 80 h|":                       {hostNames},
		"balance -t |":                        {""},
		"balance |":                           {""},
		"balance -b 127.0.0.1|":               {"127.0.0.1"},
		"balance -ib 127.0.0.1|":              {"127.0.0.1"},
		"balance -c mr|":                      {"mrtg-bytes", "mrtg-conns"},
		"balance -c 'show; mr|'":              {"show; mrtg-bytes", "show; mrtg-conns"},
		"balance -dc mr|":                     {"mrtg-bytes", "mrtg-conns"},
		"balance -i |":                        {d.port},
		"balance -c show |":                   {"all", "127.0.0.1:" + d.port, d.port},
		"balance -c show " + d.port[:2] + "|": {d.port},
		"balance -c drain |":                  {"0", "1"},
		"balance -c 'drain |":                 {"drain 0", "drain 1"},
		"balance -c 'drain |' " + d.port:      {"drain 0", "drain 1"},
		"balance -c \"show; drain 1|":         {"show; drain 1"},
		"balance -c 'drain |' 1":              {""}, // where nobody listens
		"balance -c dra| 1":                   {"drain"},
		"balance -c drain 0 |":                {d.port},
	} {
		var got []string
		for _, answer := range completed(t, d, line) {
			word, about, _ := strings.Cut(answer, "\t")
			got = append(got, word)
			if about == "" && (strings.HasPrefix(word, "-") || strings.Contains(word, "drain")) && !strings.HasSuffix(line, " 1") {
				t.Errorf("%s: %q is not explained", line, answer)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

// The words behind -c go to the command, but for a port.
func TestCommandWithoutQuotes(t *testing.T) {
	t.Parallel()
	d := launch(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"disable", "0", d.port}, "channel 0 disabled\n"},
		{[]string{"enable 0; disable", "1", d.port}, "channel 0 enabled\nchannel 1 disabled\n"},
		{[]string{"show", d.port}, "GRP"},
		{[]string{"create", "127.0.0.3", "http", d.port}, "channel created\n"},
	} {
		out, err := d.beside(t, append([]string{"-c"}, c.args...)...).CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), c.want) {
			t.Errorf("%q: %v: %s", c.args, err, out)
		}
	}
}

// TestShellsComplete types in the real shells.
func TestShellsComplete(t *testing.T) {
	for name, args := range map[string][]string{
		"bash": {"--norc", "--noprofile", "-i"},
		"zsh":  {"-f", "-i"},
		"fish": {"--private"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, err := exec.LookPath(name)
			if err != nil {
				t.Skipf("skipped: there is no %s", name)
			}
			d := launch(t)
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "web.toml"), []byte("nonsense = 1\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			script := filepath.Join(dir, "script")
			if err := os.WriteFile(script, []byte(shells[name]), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(path, "-n", script).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
			shell := bounded(t, path, args...)
			shell.Dir = dir
			shell.Env = append(d.beside(t).Env, "HOME="+dir, "PS1=READY ", "fish_greeting=", "XDG_CONFIG_HOME="+dir, "LC_ALL=C.UTF-8")
			u := newTypistAt(t, &pty.Winsize{Rows: 40, Cols: 100}, shell)
			begin := map[string]string{"zsh": "autoload -Uz compinit && compinit -u -D; PROMPT='READY '; ", "fish": "function fish_prompt; echo 'READY '; end; "}[name]
			u.types(begin + "source ./script; echo so''urced\r")
			u.sees(`sourced\r\n`)
			for _, c := range []struct{ typed, want string }{
				{"balance -print-c\t80 h1\r", `listen = ":80"`},
				{"balance -check -config we\t\r", `web\.toml: .*\r\n`},
				{"balance -c mrtg-conns 0 1 " + d.port[:4] + "\t\r", `group 0 channel 1\r\n`},
				{"balance -c 'mrtg-conns 0 1\t" + d.port + "\r", `group 0 channel 1\r\n`},
				{"balance -c disa\t0 " + d.port + "\r", `channel 0 disabled`},
				{"balance -c drain \t\t", map[string]string{"bash": `0\s+1\s`}[name] + map[string]string{"zsh": `untested, 127\.0\.0\.2`, "fish": `untested, 127\.0\.0\.2`}[name]},
			} {
				u.sees(`READY`)
				u.types(c.typed)
				u.sees(c.want)
			}
		})
	}
}
