package main

import (
	"strings"
	"testing"
)

// What was forgotten is named, and what is proposed does no more than was asked for.
func TestMistakes(t *testing.T) {
	for line, want := range map[string]string{
		"-check":             "-check goes with -config FILE",
		"-probe":             "-probe goes with -config FILE",
		"":                   "a port and a host are needed, or -config FILE, or -demo",
		"new.toml":           `"new.toml" is no port: did you mean balance -config new.toml?`,
		"-check new.toml":    `"new.toml" is no port: did you mean balance -check -config new.toml?`,
		"-probe new.toml":    `"new.toml" is no port: did you mean balance -probe -config new.toml?`,
		"show 8080":          `"show" is no port: did you mean balance -c show 8080?`,
		"8080 host1 host2 !": "",
	} {
		got := ""
		if _, err := parseOptions(strings.Fields(line)); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("balance %s: %s, want %s", line, got, want)
		}
	}
}
