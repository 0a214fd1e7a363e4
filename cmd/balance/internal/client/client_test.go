package client

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"balance/engine/balancer"
)

func TestEveryStateHasAColour(t *testing.T) {
	for state := balancer.StateUp; state <= balancer.StateRemoved; state++ {
		if colors[state.String()] == "" {
			t.Errorf("%s has none", state)
		}
	}
}

// A word is coloured where it is a state, not where it is a name.
func TestColoursOfATable(t *testing.T) {
	lines := []string{
		"down", // before any head
		"listener GRP # channel    state for",
		"      up   0 0    down       up   -  up",
		"     ENA   0 1      up held off   -",
		"      up   0 2      up     up!!   -",
		"",
		"up",
	}
	want := slices.Clone(lines)
	want[2] = "      up   0 0    down       \x1b[32mup\x1b[m   -  up"
	want[3] = "     ENA   0 1      up \x1b[31mheld off\x1b[m   -"
	if got := palette(true).table(lines); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := palette(false).table(lines); !slices.Equal(got, lines) {
		t.Errorf("without colours: %q", got)
	}
}

func TestListing(t *testing.T) {
	offers := func(n int) (list []offer) {
		for i := range n {
			list = append(list, offer{fmt.Sprintf("w%d", i), "up, 10.0.0.1:80"})
		}
		return list
	}
	cases := map[string]struct {
		offers        []offer
		columns, rows int
		want          []string
	}{
		"what they stand for": {offers(3), 45, 24, []string{"w0  up, 10.0.0.1:80  w2  up, 10.0.0.1:80", "w1  up, 10.0.0.1:80"}},
		"too many":            {offers(6), 40, 4, []string{"w0  w1  w2  w3  w4  w5"}},
		"too long":            {[]offer{{"w0", "up, " + strings.Repeat("x", 100)}}, 40, 24, []string{"w0  up, " + strings.Repeat("x", 31)}},
		"long words":          {[]offer{{strings.Repeat("w", 50), "up"}, {"x", "up"}}, 40, 24, []string{strings.Repeat("w", 50), "x"}},
	}
	for name, c := range cases {
		if got := palette(false).listing(c.offers, c.columns, c.rows); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestStateDirectory(t *testing.T) {
	home := t.TempDir()
	uid := os.Geteuid()
	cases := []struct {
		name, state, home string
		uid               int
		want              string
	}{
		{"said", home + "/s", "/", uid, home + "/s/balance"},
		{"not absolute", "s", home, uid, home + "/.local/state/balance"},
		{"home", "", home, uid, home + "/.local/state/balance"},
		{"no home", "", "", uid, ""},
		{"another's home", "", home, uid + 1, ""},
		{"another's state", home + "/s", "", uid + 1, ""},
	}
	for _, c := range cases {
		variables := map[string]string{"XDG_STATE_HOME": c.state, "HOME": c.home}
		if got := stateDirectory(c.uid, func(name string) string { return variables[name] }); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// The file is bounded, and holds nothing that cannot be printed, whoever wrote
// it.
func TestHistoryIsBounded(t *testing.T) {
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	var text strings.Builder
	for i := 0; text.Len() <= maxHistoryBytes; i++ {
		fmt.Fprintf(&text, "disable %d\nevil\x1b[2J\n\xff\n", i)
	}
	path := filepath.Join(state, "balance", historyName)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	h, err := openHistory()
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	if len(h.lines) != maxHistory || slices.ContainsFunc(h.lines, func(line string) bool { return !strings.HasPrefix(line, "disable ") }) {
		t.Errorf("%d lines", len(h.lines))
	}
	if err := h.add("enable 1"); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(path)
	if want := strings.Join(h.lines, "\n") + "\nenable 1\n"; err != nil || string(kept) != want {
		t.Errorf("%d bytes are kept of %d, %v", len(kept), text.Len(), err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// A directory for state may stand in one that everybody may write to.
func TestPlantedHistory(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("skipped: only root can make files of another user")
	}
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	planted := filepath.Join(state, "balance")
	for _, err := range []error{os.Mkdir(planted, 0o755), os.Lchown(planted, 54321, 54321)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	h, err := openHistory()
	if err == nil || !strings.Contains(err.Error(), "it belongs to user 54321") {
		t.Errorf("%v", err)
	}
	if err := h.add("enable 1"); err != nil {
		t.Error(err)
	}
	if names, _ := os.ReadDir(planted); len(names) > 0 {
		t.Errorf("%v was written there", names)
	}
}
