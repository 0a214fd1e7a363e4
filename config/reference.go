package config

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"balance"
	"balance/engine/spec"
	"balance/spelling"
)

// Entry is what there is to know of a key of the file.
type Entry struct {
	// Tables are where it may stand, as in the file: "[defaults]", "[[listener]]".
	Tables  []string
	Key     string
	Meaning string
	Allowed string // in words; empty where the meaning says it
	Default string // as in the file; empty if there is none
	// Example is a line that sets it, and Source the file of examples that it is
	// from, empty for balance.toml.example.
	Example, Source string
	// Live is whether a change holds for sessions that run, too.
	Live bool

	table spec.Table
}

// heading is how a table begins in the file.
func heading(table spec.Table) string {
	switch table {
	case spec.ListenerTable, spec.GroupTable:
		return "[[" + string(table) + "]]"
	case spec.ChannelTable:
		return "a channel"
	}
	return "[" + string(table) + "]"
}

// Reference returns all keys that have a value, in the order of balance.toml.example,
// which is where their meanings come from.
var Reference = sync.OnceValue(func() []Entry {
	notes := notesOf(balance.Example)
	var list []Entry
	for _, table := range spec.DaemonTables {
		if table == spec.DefaultsTable {
			list = append(list, entries(spec.ListenerTable, spec.ListenerSettings, true, notes)...)
		}
		list = append(list, entries(table, spec.DaemonSettings, false, notes)...)
	}
	list = append(list, entries(spec.ListenerTable, spec.ListenerSettings, false, notes)...)
	for _, table := range spec.ListenerTables {
		list = append(list, entries(table, spec.ListenerSettings, false, notes)...)
	}
	list = append(list, entries(spec.GroupTable, spec.GroupSettings, false, notes)...)
	list = append(list, entries(spec.ChannelTable, spec.ChannelSettings, false, notes)...)
	return append(list, entries(spec.GroupCheckTable, spec.CheckSettings, false, notes)...)
})

// entries are those of the settings of a table, either of those that are inherited or
// of those that are not.
func entries[T any](table spec.Table, settings []spec.Setting[T], inherited bool, notes map[place]note) []Entry {
	var list []Entry
	for _, s := range settings {
		if s.Table() != table || s.Is(spec.Inherited) != inherited {
			continue
		}
		e := Entry{Tables: []string{heading(table)}, Key: s.Name(), Allowed: s.Allowed(), Live: s.Is(spec.Live), table: table}
		from := table
		switch {
		case inherited:
			from = spec.DefaultsTable
			e.Tables = []string{heading(from), heading(table)}
		case table == spec.GroupCheckTable:
			from = spec.DefaultsCheckTable
			e.Tables = nil
			for _, table := range spec.CheckTables {
				e.Tables = append(e.Tables, heading(table))
			}
		}
		note := notes[place{from, s.Name()}]
		e.Meaning, e.Example = note.meaning, s.Name()+" = "+note.value
		if !s.Is(spec.Identity) && s.Key != spec.KeyName && s.Key != spec.KeyChannelName {
			e.Default = note.value
		}
		if line, source := inExamples(e); line != "" {
			e.Example, e.Source = line, source
		}
		list = append(list, e)
	}
	return list
}

// place is where a key stands.
type place struct {
	table spec.Table
	key   string
}

// note is what the example says of a key.
type note struct{ value, meaning string }

var (
	header     = regexp.MustCompile(`^\[+([a-z0-9_.]+)\]+$`)
	assignment = regexp.MustCompile(`^([a-z0-9_]+) = ("[^"]*"|\[(?:"[^"]*"|[^"\]])*\]|\{(?:"[^"]*"|[^"}])*\}|[^ "\[{]+)(?: +# (.*))?$`)
	goesOn     = regexp.MustCompile(`^ +# (.*)$`)
)

// notesOf reads the example: "key = value  # meaning", which may go on in further
// lines of comment alone.
func notesOf(text string) map[place]note {
	notes := map[place]note{}
	table, last := spec.RootTable, place{}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if found := header.FindStringSubmatch(line); found != nil {
			table, last = spec.Table(found[1]), place{}
		} else if found := assignment.FindStringSubmatch(line); found != nil {
			last = place{table, found[1]}
			if _, known := notes[last]; !known {
				notes[last] = note{found[2], found[3]}
			} else {
				last = place{}
			}
		} else if found := goesOn.FindStringSubmatch(line); found != nil && last.key != "" {
			n := notes[last]
			n.meaning += " " + found[1]
			notes[last] = n
		} else {
			last = place{}
		}
	}
	return notes
}

// inExamples returns the first line of examples that sets the key to another value
// than the default, and the name of the file.
func inExamples(e Entry) (line, source string) {
	paths, err := balance.Examples.ReadDir("examples")
	if err != nil {
		panic(err) // the name is a constant
	}
	for _, entry := range paths {
		name := path.Join("examples", entry.Name())
		text, err := balance.Examples.ReadFile(name)
		if err != nil {
			panic(err) // it was listed
		}
		table := spec.RootTable
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if found := header.FindStringSubmatch(line); found != nil {
				table = spec.Table(found[1])
			}
			line = blanks.ReplaceAllString(line, "$1 = ")
			found := assignment.FindStringSubmatch(line)
			if found != nil && found[1] == e.Key && slices.Contains(e.Tables, heading(table)) && found[2] != e.Default {
				return found[1] + " = " + found[2], name
			}
		}
	}
	return "", ""
}

// blanks are those that line up keys.
var blanks = regexp.MustCompile(`^([a-z0-9_]+) +=\s*`)

// Explain returns what there is to know of the keys that a word means: a key, one
// with its table before it, as in "check.interval" and "listener.queue", or the last
// part of a table for all keys in it. What means none is an error that names one that
// is near.
func Explain(word string) ([]Entry, error) {
	var found []Entry
	var known []string
	for _, e := range Reference() {
		if e.is(word) {
			found = append(found, e)
		}
		known = append(known, e.Key)
	}
	if len(found) > 0 {
		return found, nil
	}
	for _, e := range Reference() {
		if e.in(word) {
			found = append(found, e)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	if near, ok := spelling.Nearest(word, known); ok {
		return nil, fmt.Errorf("unknown key %.60q: did you mean %q?", word, near)
	}
	return nil, fmt.Errorf("unknown key %.60q", word)
}

func (e Entry) is(word string) bool {
	dot := strings.LastIndex(word, ".")
	return word[dot+1:] == e.Key && (dot < 0 || e.in(word[:dot]))
}

// in reports whether the key may stand in a table of that name, whole or its last
// part; a channel is called so, too.
func (e Entry) in(table string) bool {
	if table == "channel" {
		table = string(spec.ChannelTable)
	}
	return table != "" && (strings.HasSuffix("."+string(e.table), "."+table) || slices.ContainsFunc(e.Tables, func(heading string) bool {
		return strings.HasSuffix("."+strings.Trim(heading, "[]"), "."+table)
	}))
}

// Markdown returns the reference as a table.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| key | stands in | default | allowed | meaning |\n| --- | --- | --- | --- | --- |\n")
	for _, e := range Reference() {
		preset := ""
		if e.Default != "" {
			preset = "`" + e.Default + "`"
		}
		where := "`" + strings.Join(e.Tables, "`, `") + "`"
		if e.table == spec.ChannelTable {
			where = e.Tables[0]
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", e.Key, where, preset, cell(e.Allowed), cell(e.Meaning))
	}
	return b.String()
}

// cell returns text that means nothing else in a cell of a table.
var cell = strings.NewReplacer("|", `\|`, "*", `\*`, "_", `\_`, "<", "&lt;").Replace
