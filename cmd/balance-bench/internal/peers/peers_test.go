//go:build linux

package peers

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var exampleSettings = Settings{
	listen:   "127.0.0.1:1000",
	Backends: []string{"127.0.0.1:2001", "127.0.0.1:2002"},
	Threads:  3, Descriptors: 8000,
}

func TestConfigurations(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want, not  []string
	}{
		{"haproxy", haproxyConfig(exampleSettings, false, "roundrobin"),
			[]string{"nbthread 3\n", "maxconn 2000\n", "nosplice\n", "bind 127.0.0.1:1000 backlog 4096\n", "server s0 127.0.0.1:2001\n", "balance roundrobin\n", "server s1 127.0.0.1:2002\n"},
			[]string{"option splice"}},
		{"haproxy-splice", haproxyConfig(exampleSettings, true, "roundrobin"),
			[]string{"nbthread 3\n", "option splice-request\n", "option splice-response\n", "server s1 127.0.0.1:2002\n"},
			[]string{"nosplice"}},
		{"haproxy leastconn", haproxyLeastConn()[0].file(exampleSettings),
			[]string{"nosplice\n", "balance leastconn\n", "server s1 127.0.0.1:2002\n"}, []string{"roundrobin"}},
		{"nginx with a module", nginxConfig(exampleSettings, "/m/stream.so", ""),
			[]string{"load_module /m/stream.so;\n", "daemon off;", "worker_processes 3;", "worker_connections 4000;", "worker_rlimit_nofile 8000;",
				"server 127.0.0.1:2001;", "server 127.0.0.1:2002;", "listen 127.0.0.1:1000 backlog=4096;"},
			[]string{"least_conn"}},
		{"nginx least_conn", nginxLeastConn()[0].file(exampleSettings),
			[]string{"zone bench 64k;\n        least_conn;\n        server 127.0.0.1:2001;\n        server 127.0.0.1:2002;\n    }"}, nil},
		{"nginx built in", nginxConfig(exampleSettings, "", ""), []string{"worker_processes 3;"}, []string{"load_module"}},
		{"pen", strings.Join(penArgs(exampleSettings), " "),
			[]string{"-f ", "-r ", "-x 2000 ", "-q 4096 ", " 127.0.0.1:1000 127.0.0.1:2001 127.0.0.1:2002"}, nil},
		{"balance with a plane", balanceConfig(exampleSettings, "eventloop", ""),
			[]string{"[defaults]\ndata_plane = \"eventloop\"\n", "[[listener]]\nname = \"bench\"\nlisten = [\"127.0.0.1:1000\"]\n",
				"[[listener.group]]\n", "channels = [\"127.0.0.1:2001\", \"127.0.0.1:2002\"]\n"},
			nil},
		{"balance without", balanceConfig(exampleSettings, "", ""), []string{"[[listener]]"}, []string{"defaults", "data_plane", "mode"}},
		{"balance with a mode", balanceConfig(exampleSettings, "", modes[3].keys),
			[]string{"[[listener.group]]\n", "127.0.0.1:2002\"]\n  mode = \"hash\"\n  hash_load = 125\n"}, nil},
	} {
		for _, want := range c.want {
			if !strings.Contains(c.text, want) {
				t.Errorf("%s: no %q in\n%s", c.name, want, c.text)
			}
		}
		for _, not := range c.not {
			if strings.Contains(c.text, not) {
				t.Errorf("%s: %q in\n%s", c.name, not, c.text)
			}
		}
	}
}

// fakeBalance is a program that accepts only the configurations that the
// shell condition holds for; $3 is the path of the file.
func fakeBalance(t *testing.T, condition string) string {
	path := filepath.Join(t.TempDir(), "fake")
	script := "#!/bin/sh\n[ \"$1\" = -version ] && echo fake 1.2 && exit\n[ \"$1 $2\" = '-check -config' ] || exit 3\nif " + condition + "; then exit 0; fi\necho refused >&2\nexit 1\n"
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBalancesAreWhatTheProgramAccepts(t *testing.T) {
	for _, c := range []struct {
		name, condition string
		want            []string
	}{
		{"both planes", "true", []string{"balance-eventloop", "balance-portable"}},
		{"one plane", `! grep -q eventloop "$3"`, []string{"balance-portable"}},
		{"no such key", `! grep -q data_plane "$3"`, []string{"balance"}},
		{"nothing", "false", nil},
	} {
		found, err := Balances(t.Context(), []string{fakeBalance(t, c.condition)}, t.TempDir())
		var rows []string
		for _, x := range found {
			rows = append(rows, x.Name)
			if !x.Ours || x.Version != "fake 1.2" {
				t.Errorf("%s: row %+v", c.name, x)
			}
		}
		if !slices.Equal(rows, c.want) || (err != nil) != (c.want == nil) {
			t.Errorf("%s: rows %q, %v; want %q", c.name, rows, err, c.want)
		}
		if c.want == nil && (err == nil || !strings.Contains(err.Error(), "refused")) {
			t.Errorf("%s: error %v does not say what the program said", c.name, err)
		}
	}
}

func TestSeveralBuildsAreRowsOfTheirOwn(t *testing.T) {
	old, young := fakeBalance(t, "true"), fakeBalance(t, `! grep -q eventloop "$3"`)
	found, err := Balances(t.Context(), []string{old, young}, t.TempDir())
	var rows []string
	for _, x := range found {
		rows = append(rows, x.Name+" runs "+x.program)
	}
	want := []string{
		"balance-eventloop of " + old + " runs " + old,
		"balance-portable of " + old + " runs " + old,
		"balance-portable of " + young + " runs " + young,
	}
	if err != nil || !slices.Equal(rows, want) {
		t.Errorf("rows %q, %v; want %q", rows, err, want)
	}
}

func TestModesAreWhatTheProgramAccepts(t *testing.T) {
	old, young := fakeBalance(t, `! grep -q 'leastconn\|random\|hash_load' "$3"`), fakeBalance(t, "true")
	for _, c := range []struct {
		paths       []string
		want, notes []string
	}{
		{[]string{young}, []string{"balance leastconn", "balance rr", "balance random", "balance hash, load 125%"}, nil},
		{[]string{old}, []string{"balance rr"}, []string{"balance leastconn is not", "balance random is not", "balance hash, load 125% is not"}},
		{[]string{fakeBalance(t, "false")}, nil, nil},
		{[]string{old, young}, []string{"balance rr of " + old, "balance leastconn of " + young, "balance rr of " + young,
			"balance random of " + young, "balance hash, load 125% of " + young},
			[]string{"balance leastconn is not", "balance random is not", "balance hash, load 125% is not"}},
	} {
		found, notes, err := Modes(t.Context(), c.paths, t.TempDir())
		var rows []string
		for _, x := range found {
			rows = append(rows, x.Name)
			if !x.Ours {
				t.Errorf("row %+v", x)
			}
		}
		same := slices.EqualFunc(notes, c.notes, func(note, want string) bool {
			return strings.HasPrefix(note, want) && strings.Contains(note, "refused")
		})
		if !slices.Equal(rows, c.want) || !same || (err != nil) != (c.want == nil) {
			t.Errorf("rows %q, notes %q, %v; want %q, %q", rows, notes, err, c.want, c.notes)
		}
	}
}

func TestPeersWithFewestSessions(t *testing.T) {
	all, _, err := Find(t.Context(), []string{"haproxy", "nginx", "pen"})
	if err != nil {
		t.Fatal(err)
	}
	found, _, err := FindLeastConn(t.Context(), []string{"haproxy", "nginx", "pen"})
	if err != nil {
		t.Fatal(err)
	}
	var rows, want []string
	for _, x := range all {
		switch x.Name {
		case "haproxy":
			want = append(want, "haproxy leastconn")
		case "nginx":
			want = append(want, "nginx least_conn")
		}
	}
	for _, x := range found {
		rows = append(rows, x.Name)
		if x.program == "" || x.Version == "" || x.Ours {
			t.Errorf("row %+v", x)
		}
	}
	if !slices.Equal(rows, want) {
		t.Errorf("rows %q, want %q", rows, want)
	}
}

func TestUnknownPeer(t *testing.T) {
	if _, _, err := Find(t.Context(), []string{"squid"}); err == nil || !strings.Contains(err.Error(), `"squid"`) {
		t.Errorf("error %v does not name the proxy", err)
	}
}

func TestMissingPeerBecomesANote(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for _, name := range []string{"/usr/sbin/pen", "/usr/local/sbin/pen"} {
		if _, err := os.Stat(name); err == nil {
			t.Skipf("%s is installed where it is always found", name)
		}
	}
	found, notes, err := Find(t.Context(), []string{"pen"})
	if err != nil || len(found) != 0 || len(notes) != 1 || !strings.Contains(notes[0], "pen is not installed") {
		t.Errorf("found %v, notes %q, %v", found, notes, err)
	}
}
