package config

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"balance/engine/spec"
)

func TestEveryKeyIsExplained(t *testing.T) {
	count := len(spec.DaemonSettings) + len(spec.ListenerSettings) + len(spec.GroupSettings) + len(spec.ChannelSettings) + len(spec.CheckSettings)
	if got := len(Reference()); got != count {
		t.Errorf("%d keys of %d", got, count)
	}
	for _, e := range Reference() {
		if e.Meaning == "" || e.Allowed == "" || !strings.HasPrefix(e.Example, e.Key+" = ") || strings.HasSuffix(e.Example, "= ") {
			t.Errorf("%v %s: meaning %q, allowed %q, example %q", e.Tables, e.Key, e.Meaning, e.Allowed, e.Example)
		}
	}
}

func TestExplain(t *testing.T) {
	for _, test := range []struct {
		word  string
		first string // table
		count int
	}{
		{"queue", "[defaults]", 1},
		{"listener.queue", "[defaults]", 1},
		{"host", "a channel", 2},
		{"check.host", "[defaults.check]", 1},
		{"listener.check.host", "[defaults.check]", 1},
		{"channels.host", "a channel", 1},
		{"channel.weight", "a channel", 1},
		{"control.http", "[control]", 1},
		{"log", "[log]", len(spec.LogTable.Keys())},
		{"admit", "[listener.admit]", len(spec.AdmitTable.Keys())},
		{"max_sessions", "[defaults]", 3},
		{"admit.max_sessions", "[listener.admit]", 1},
		{"listener.unix.mode", "[listener.unix]", 1},
		{"send_proxy", "[[listener.group]]", 2},
	} {
		entries, err := Explain(test.word)
		if err != nil || len(entries) != test.count || entries[0].Tables[0] != test.first {
			t.Errorf("%s: %v, %v", test.word, entries, err)
		}
	}
	entries, err := Explain("weight")
	if err != nil || entries[0].Default != "1" || entries[0].Allowed != "0 (no new clients) to 1000" {
		t.Errorf("%+v, %v", entries, err)
	}
	for word, want := range map[string]string{
		"idle_timout":    `unknown key "idle_timout": did you mean "idle_timeout"?`,
		"":               `unknown key ""`,
		"log.queue":      `unknown key "log.queue"`,
		"\x1b[2J\x00xxx": `unknown key "\x1b[2J\x00xxx"`,
	} {
		if _, err := Explain(word); err == nil || err.Error() != want {
			t.Errorf("%q: %v", word, err)
		}
	}
}

// The schema knows the tables and keys that the decoder knows, and no others.
func TestSchemaHasEveryKey(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	at := func(of map[string]any, path ...string) map[string]any {
		for _, key := range path {
			of, _ = of[key].(map[string]any)
		}
		return of
	}
	listener := at(schema, "properties", "listener", "items")
	group := at(listener, "properties", "group", "items")
	channels := at(group, "properties", "channels", "items")["anyOf"].([]any)
	tables := map[spec.Table]map[string]any{
		spec.RootTable: schema, spec.ListenerTable: listener, spec.GroupTable: group, spec.ChannelTable: channels[1].(map[string]any),
		spec.DefaultsCheckTable: at(schema, "properties", "defaults", "properties", "check"),
		spec.ListenerCheckTable: at(listener, "properties", "check"),
		spec.GroupCheckTable:    at(group, "properties", "check"),
	}
	for _, table := range spec.DaemonTables {
		tables[table] = at(schema, "properties", string(table))
	}
	for _, table := range spec.ListenerTables {
		tables[table] = at(listener, "properties", table.Name())
	}
	for table, schema := range tables {
		properties := at(schema, "properties")
		for _, key := range table.Keys() {
			if properties[key] == nil {
				t.Errorf("%q lacks %s", table, key)
			}
		}
		if len(properties) != len(table.Keys()) || schema["additionalProperties"] != false {
			t.Errorf("%q takes more than %v", table, table.Keys())
		}
	}
}

// What editors make of the schema: taplo, which is @taplo/cli in npm, lets all
// examples pass, and sees what is wrong.
func TestSchemaInAnEditor(t *testing.T) {
	taplo, err := exec.LookPath("taplo")
	if err != nil {
		t.Skip("there is no taplo")
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	schema := "file://" + write("schema.json", string(Schema()))
	files, err := filepath.Glob("../examples/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	files = append(files, write("every.toml", everyKey(t)))
	wrong := []string{
		write("unknown.toml", strings.Replace(everyKey(t), "\nidle_timeout", "\nidle_timeot", 1)),
		write("word.toml", strings.Replace(everyKey(t), `mode = "rr"`, `mode = "rrr"`, 1)),
		write("refuse.toml", strings.Replace(everyKey(t), `refuse = "reset"`, `refuse = "drop"`, 1)),
		write("admit.toml", strings.Replace(everyKey(t), "\nipv4_bits = 32", "\nipv4_bit = 32", 1)),
		write("range.toml", strings.Replace(everyKey(t), `weight = 1 `, `weight = 1001 `, 1)),
		write("unit.toml", strings.Replace(everyKey(t), `hold_off = "1s"`, `hold_off = "1"`, 1)),
	}
	output, _ := exec.CommandContext(t.Context(), taplo, append([]string{"lint", "--no-auto-config", "--schema", schema}, append(files, wrong...)...)...).CombinedOutput()
	for _, file := range files {
		if strings.Contains(string(output), file+":") || strings.Contains(string(output), `path="`+file) {
			t.Errorf("%s is refused", file)
		}
	}
	for _, file := range wrong {
		if !strings.Contains(string(output), file+":") {
			t.Errorf("%s passes", file)
		}
	}
	if t.Failed() {
		t.Logf("%.2000s", output)
	}
}
