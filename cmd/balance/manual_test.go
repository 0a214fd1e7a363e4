package main

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"balance/control"
)

const manual = "balance.1"

func TestManualIsWellFormed(t *testing.T) {
	mandoc, err := exec.LookPath("mandoc")
	if err != nil {
		t.Skip("skipped: there is no mandoc to check the manual page")
	}
	out, err := exec.Command(mandoc, "-Tlint", manual).CombinedOutput()
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(string(out)) {
		if !strings.Contains(line, "outdated mandoc.db") { // which pages this machine has is no matter
			t.Error(line)
		}
	}
}

// TestManualIsComplete looks for every option and every command.
func TestManualIsComplete(t *testing.T) {
	data, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	text := "\n" + string(data)
	new(options).flags().VisitAll(func(f *pflag.Flag) {
		if item := `(?m)^\.It Fl (\w , )?(Fl )?` + dashed(f)[1:] + `\b`; !f.Hidden && !regexp.MustCompile(item).MatchString(text) {
			t.Errorf("the option %s is missing", dashed(f))
		}
	})
	for _, word := range control.Words() {
		if item := "\n.It Cm " + word; word != "rr" && !strings.Contains(text, item+"\n") && !strings.Contains(text, item+" ") {
			t.Errorf("the command %s is missing", word)
		}
	}
}
