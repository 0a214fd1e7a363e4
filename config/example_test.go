package config

import (
	"balance/engine/spec"
	"cmp"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

const example = "../balance.toml.example"

// commented is a key that the example has as a comment.
var commented = regexp.MustCompile(`(?m)^# ([a-z0-9_]+ = )`)

// everyKey returns the example with the keys that it has as comments.
func everyKey(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	return commented.ReplaceAllString(string(data), "$1")
}

func TestExampleHoldsEveryKey(t *testing.T) {
	values := map[string]any{}
	if _, err := toml.Decode(everyKey(t), &values); err != nil {
		t.Fatal(err)
	}
	found := map[string]map[string]bool{}
	gather(found, "", values)
	tables := slices.Concat(spec.DaemonTables, spec.ListenerTables, []spec.Table{spec.RootTable, spec.ListenerTable, spec.GroupTable, spec.ChannelTable, spec.DefaultsCheckTable})
	for _, table := range tables {
		for _, key := range table.Keys() {
			if !found[string(table)][key] {
				t.Errorf("table %q lacks the key %q", table, key)
			}
		}
	}
}

// gather notes the keys of all tables in value, by the kind of the table.
func gather(found map[string]map[string]bool, kind string, value any) {
	switch value := value.(type) {
	case map[string]any:
		if found[kind] == nil {
			found[kind] = map[string]bool{}
		}
		for key := range maps.Keys(value) {
			found[kind][key] = true
			gather(found, strings.TrimPrefix(kind+"."+key, "."), value[key])
		}
	case []map[string]any:
		for _, element := range value {
			gather(found, kind, element)
		}
	case []any:
		for _, element := range value {
			gather(found, kind, element)
		}
	}
}

// As it stands and with the keys it has as comments, the example declares the
// defaults.
func TestExampleShowsDefaults(t *testing.T) {
	document, err := Load(example)
	if err != nil {
		t.Fatal(err)
	}
	plain := document.Config
	full, err := Decode("everything", []byte(everyKey(t)))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(plain, full) {
		t.Errorf("the commented keys change\n%+v\nto\n%+v", plain, full)
	}
	l := plain.Listeners[0]
	for _, group := range l.Groups {
		for _, channel := range group.Channels {
			if channel.Disabled {
				t.Errorf("channel %s is disabled", channel)
			}
		}
	}
	want := spec.DefaultConfig()
	settled := spec.Defaults()
	settled.Name, settled.Listen, settled.Groups = l.Name, l.Listen, l.Groups
	want.Listeners = []spec.Listener{settled}
	if !reflect.DeepEqual(plain, want) {
		t.Errorf("got\n%+v\nwant\n%+v", plain, want)
	}
}

// That the settings of the example equal the defaults says nothing if they
// were not read: each, changed in the example, must change the configuration.
func TestExampleIsRead(t *testing.T) {
	text := everyKey(t)
	setting := regexp.MustCompile(`(?m)^([a-z0-9_]+) = ("[^"]*"|true|false|\d+|\[\]|\{\})`)
	other := map[string]string{"true": "false", "false": "true", `"info"`: `"warn"`, `"text"`: `"json"`, `"auto"`: `"portable"`, "0": "3", "1": "3", "8110": "81", "2": "3", "3": "2", `"keep"`: `"close"`, `"rr"`: `"hash"`, `"hash"`: `"rr"`, `""`: `"::1"`, `"pop3"`: `"x"`, `"0600"`: `"0660"`, `"256MiB"`: `"1GiB"`, "32": "24", "128": "64",
		`"none"`: `"smtp"`, `"up"`: `"down"`, `"close"`: `"reset"`, `"reset"`: `"close"`, `"GET"`: `"HEAD"`, `"/"`: `"/x"`, `"200-399"`: `"204"`, "{}": `{ A = "b" }`, "[]": `["other"]`}
	special := map[string]string{"mode = \"0660\"": `"0600"`, "accept": `["192.0.2.0/24"]`, "allow": `["192.0.2.0/24"]`, "deny": `["2001:db8::/32"]`, "from": `["192.0.2.1"]`,
		"allow_file": `"/a"`, "deny_file": `"/d"`, "rate": `"20/s"`, "ipv6_bits": "56", "send_proxy": `"v2"`,
		"http_token_file": `"/t"`, "http": `":8404"`, "user_timeout": `"77s"`, "hold_off": `"7s"`, "hash_load": "150", "max_age_jitter": `20`, "rebalance": `"7%"`, "sessions": `"all"`,
		"send_hex": `"00"`, "host": `"h"`, "ca_file": `"/c"`, "cert_file": `"/c"`, "key_file": `"/c"`, "role": `"master"`}
	// The types between them use all keys of a check.
	types := map[string]string{"send": "tcp", "send_hex": "tcp", "command": "exec", "role": "redis"}
	check := strings.Index(text, "[defaults.check]")
	inDefaults := strings.Index(text, "[process]")
	tried := 0
	for _, at := range setting.FindAllStringSubmatchIndex(text, -1) {
		key, old := text[at[2]:at[3]], text[at[4]:at[5]]
		changed, ok := other[old]
		if !ok {
			changed = `"77s"`
		}
		for _, of := range []string{key, key + " = " + old} {
			if value, ok := special[of]; ok {
				changed = value
			}
		}
		plain := text
		document := text[:at[4]] + changed + text[at[5]:]
		if at[0] < inDefaults { // where the listener does not say otherwise
			listener := strings.Index(document, "# The keys of [defaults]")
			groups := listener + strings.Index(document[listener:], "# Groups are tried")
			document = document[:listener] + regexp.MustCompile(`(?m)^`+key+` = `).ReplaceAllString(document[listener:groups], "# ") + document[groups:]
		}
		if check < at[0] && at[0] < inDefaults && key != "type" {
			using := func(document string) string {
				document = regexp.MustCompile(`(?m)^type = "none"`).ReplaceAllString(document, "type = \""+cmp.Or(types[key], "http")+"\"")
				if types[key] == "exec" {
					document = strings.Replace(document, "command = []", `command = ["true"]`, 1)
				}
				document = strings.Replace(document, `  "unix:`, `  # "unix:`, 1) // which needs a server_name with tls
				if types[key] == "" && key != "tls" {
					document = strings.Replace(document, "\ntls = false", "\ntls = true", 1)
				}
				return document
			}
			plain, document = using(plain), using(document)
			if key == "cert_file" || key == "key_file" { // one needs the other
				pair := strings.NewReplacer(`cert_file = ""`, `cert_file = "/p"`, `key_file = ""`, `key_file = "/p"`)
				plain, document = pair.Replace(plain), pair.Replace(document)
			}
		}
		needs := map[string]*strings.Replacer{
			"burst": strings.NewReplacer(`rate = "0/s"`, `rate = "20/s"`), "timeout": strings.NewReplacer("accept = []", `accept = ["192.0.2.1"]`),
			"mode": strings.NewReplacer(`listen = [`, `listen = ["unix:/x", `),
		}
		needs["ipv4_bits"], needs["ipv6_bits"], needs["group"] = needs["burst"], needs["burst"], needs["mode"]
		if needed := needs[key]; needed != nil {
			plain, document = needed.Replace(plain), needed.Replace(document)
		}
		if key == "http_write" {
			token := strings.NewReplacer(`http_token_file = ""`, `http_token_file = "/t"`)
			plain, document = token.Replace(plain), token.Replace(document)
		}
		before, err := Decode("example", []byte(plain))
		if err != nil {
			t.Fatal(err)
		}
		c, err := Decode(key, []byte(document))
		if err != nil {
			t.Errorf("%s = %s: %v", key, changed, err)
		} else if reflect.DeepEqual(c, before) {
			t.Errorf("%s = %s changes nothing", key, changed)
		}
		tried++
	}
	least := len(spec.DaemonSettings) + len(spec.CheckSettings)
	for _, s := range spec.ListenerSettings {
		if s.Is(spec.Inherited) {
			least += 2
		} else if slices.Contains(spec.ListenerTables, s.Table()) {
			least++
		}
	}
	if tried < least {
		t.Errorf("tried %d settings of at least %d", tried, least)
	}
}

func TestExamples(t *testing.T) {
	paths, err := filepath.Glob("../examples/*.toml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			d, err := Load(path)
			if err != nil {
				t.Fatal(err)
			}
			roundTrip(t, d.Config)
			text := string(d.Data)
			if !strings.HasPrefix(text, "# ") || !strings.Contains(text, "Shows ") && !strings.Contains(text, "shows ") {
				t.Error("the header does not say what the file shows")
			}
		})
	}
}

// The example says that it declares what the classic command line in its
// header does.
func TestCascadeIsClassic(t *testing.T) {
	file, err := Load("../examples/cascade.toml")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^#   balance (.*)$`).FindSubmatch(file.Data)
	if line == nil {
		t.Fatal("no command line in the header")
	}
	classic, err := Parse(args(string(line[1])))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(file.Config, classic.Config) {
		t.Errorf("the file declares\n%+v\nthe command line\n%+v", file.Config, classic.Config)
	}
}

// The files that a package and a ConfigMap bring are valid as they stand.
func TestInstalledFiles(t *testing.T) {
	read := func(path string) string {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	packaged, err := Decode("balance.toml", []byte(read("../packaging/balance.toml")))
	if err != nil || len(packaged.Listeners) != 1 || packaged.Listeners[0].Listen[0] != "127.0.0.1:18080" {
		t.Errorf("the package has %v, not one listener that only the machine itself reaches: %v", packaged.Listeners, err)
	}
	_, block, _ := strings.Cut(read("../examples/kubernetes.yml"), "balance.toml: |\n")
	block, _, _ = strings.Cut(block, "\n---\n")
	if c, err := Decode("balance.toml", []byte(block)); err != nil || len(c.Listeners) != 1 {
		t.Errorf("the ConfigMap: %v\n%s", err, block)
	}
}
