package client

import (
	"slices"
	"strings"
	"unicode"
)

// colors are those of the words that show and health have for the state of a
// channel: green serves, red does not though it should, yellow is for less than
// all or not meant to (SGR, ECMA-48, 8.3.117).
var colors = map[string]string{
	"ENA": "32", "dis": "33", "drn": "33", "dwn": "31", "hld": "31",
	"up": "32", "untested": "32", "full": "33", "weight 0": "33", "slow": "33", "failing": "31",
	"held off": "31", "down": "31", "unresolved": "31", "disabled": "33", "autodisabled": "31",
	"draining": "33", "removed": "33",
}

// palette colours states, if it is one for a terminal that has colours.
type palette bool

// paletteOf returns the palette for what is written to: a terminal that is not
// dumb, unless the user wants none (no-color.org).
func paletteOf(stdout any, getenv func(string) string) palette {
	name := getenv("TERM")
	return palette(terminal(stdout) != nil && getenv("NO_COLOR") == "" && name != "" && name != "dumb")
}

// paint colours a word if it is a state.
func (p palette) paint(word string) string {
	color := colors[word]
	if !p || color == "" {
		return word
	}
	return "\x1b[" + color + "m" + word + "\x1b[m"
}

// table colours the states in the lines of an answer: what stands in the column
// of states, below a head that names it.
func (p palette) table(lines []string) []string {
	if !p {
		return lines
	}
	var from, to int // where the column is, in runes; it is right-aligned
	painted := make([]string, len(lines))
	for i, line := range lines {
		painted[i] = line
		if start, end, ok := stateColumn(line); ok {
			from, to = start, end
			continue
		}
		runes := []rune(line)
		if to == 0 || len(runes) < to || len(runes) > to && runes[to] != ' ' {
			continue
		}
		word := strings.TrimSpace(string(runes[from:to]))
		start := to - len([]rune(word))
		painted[i] = string(runes[:start]) + p.paint(word) + string(runes[to:])
	}
	return painted
}

// stateColumn returns where a head has the column of states: from the end of the
// column before it to its own.
func stateColumn(line string) (start, end int, ok bool) {
	if !slices.Contains(strings.Fields(line), "GRP") {
		return 0, 0, false
	}
	runes := []rune(line)
	for i := 0; i < len(runes); {
		for i < len(runes) && unicode.IsSpace(runes[i]) {
			i++
		}
		begin := i
		for i < len(runes) && !unicode.IsSpace(runes[i]) {
			i++
		}
		if name := string(runes[begin:i]); name == "S" || name == "state" {
			return start, i, true
		}
		start = i
	}
	return 0, 0, false
}
