package main

import (
	"fmt"
	"io"
	"strings"

	"balance/cmd/balance/internal/exit"
	"balance/config"
)

// explainKey prints what there is to know of the keys that a word means.
func explainKey(word string, stdout, stderr io.Writer) int {
	entries, err := config.Explain(word)
	if err != nil {
		return exit.Because(err, exit.Usage, stderr)
	}
	for i, e := range entries {
		if i > 0 {
			fmt.Fprintln(stdout)
		}
		fmt.Fprintf(stdout, "%s, in %s\n", e.Key, strings.Join(e.Tables, ", "))
		for _, line := range wrap(e.Meaning, 72) {
			fmt.Fprintf(stdout, "    %s\n", line)
		}
		for _, fact := range []struct{ name, text string }{{"default", e.Default}, {"allowed", e.Allowed}, {"example", e.Example}} {
			if fact.text == "" {
				continue
			}
			if fact.name == "example" && e.Source != "" {
				fact.text += "   (" + e.Source + ")"
			}
			fmt.Fprintf(stdout, "  %s  %s\n", fact.name, fact.text)
		}
		if e.Live {
			fmt.Fprintln(stdout, "  a change holds for running sessions, too")
		}
	}
	return exit.OK
}

// wrap breaks text at blanks into lines of at most so many bytes, but for a word that
// is longer.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}
