//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"balance/cmd/balance-bench/internal/load"
	"balance/cmd/balance-bench/internal/peers"
	"balance/cmd/balance-bench/internal/process"
)

// The backends and generators of a test are copies of the test program.
func TestMain(m *testing.M) {
	if ok, err := load.PlayRole(); ok {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// Under the race detector each copy would sleep for a second as it ends.
	os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0"))
	os.Exit(m.Run())
}

// installed lists the peers of this machine.
func installed(t *testing.T) []string {
	var found []string
	for _, name := range []string{"haproxy", "nginx", "pen"} {
		if rows, _, err := peers.Find(t.Context(), []string{name}); err == nil && len(rows) > 0 {
			found = append(found, name)
		}
	}
	if len(found) == 0 {
		t.Skip("none of haproxy, nginx and pen is installed: nothing to measure")
	}
	return found
}

// bencher runs the tool in a directory for temporary files of its own, and
// fails the test if it leaves a file or a process behind.
func bencher(t *testing.T, ctx context.Context, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	// Children live as long as the thread that starts them.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var out, complaint bytes.Buffer
	code = runCommandLine(ctx, args, &out, &complaint)
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if tree, err := process.Tree(os.Getpid()); err != nil || len(tree) != 1 {
		t.Errorf("processes left behind: %v, %v", tree, err)
	}
	return code, out.String(), complaint.String()
}

func TestQuick(t *testing.T) {
	against := installed(t)
	code, stdout, stderr := bencher(t, t.Context(), "-quick", "-duration", "20ms", "-balance", "none",
		"-against", strings.Join(against, ","), "-json")
	if code != 0 {
		t.Fatalf("exit code %d: %s\n%s", code, stderr, stdout)
	}
	var r report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatal(err)
	}
	all, _ := allWorkloads(1<<20, 1)
	if len(r.Workloads) != len(all) {
		t.Fatalf("%d workloads, want %d", len(r.Workloads), len(all))
	}
	for i, b := range r.Workloads {
		if b.Name != all[i].Name {
			t.Errorf("workload %d is %s, want %s", i, b.Name, all[i].Name)
		}
		var rows []string
		for _, row := range b.Rows {
			rows = append(rows, row.Proxy)
			if want := len(figures(all[i], load.Sample{})); len(row.Figures) != want {
				t.Errorf("%s, %s: %d figures, want %d", b.Name, row.Proxy, len(row.Figures), want)
			}
			for _, c := range row.Figures {
				if len(c.Rounds) != 1 || c.Median != c.Rounds[0] {
					t.Errorf("%s, %s, %s: median %v of %v", b.Name, row.Proxy, c.Name, c.Median, c.Rounds)
				}
				// A proxy that allocates ahead grows by nothing.
				if c.Median <= 0 && c.Name != "private memory" && c.Unit != "%" {
					t.Errorf("%s, %s: %s is %v", b.Name, row.Proxy, c.Name, c.Median)
				}
				if c.Name == "descriptors" && (c.Median < 2 || c.Median > 2.005) {
					t.Errorf("%s takes %v descriptors for an idle connection", row.Proxy, c.Median)
				}
			}
		}
		for _, name := range against {
			if all[i].Kind == load.Fair {
				name = map[string]string{"haproxy": "haproxy leastconn", "nginx": "nginx least_conn"}[name]
			}
			if name != "" && !slices.Contains(rows, name) {
				t.Errorf("%s: no %s among %q", b.Name, name, rows)
			}
		}
		if len(rows) > 0 && rows[len(rows)-1] != "A/A "+rows[0] {
			t.Errorf("%s: no second instance of %s among %q", b.Name, rows[0], rows)
		}
	}
}

// Each data plane that the daemon of this source has gets a row, and its
// event loops tell how they share the sessions.
func TestBalanceOfThisSource(t *testing.T) {
	code, stdout, stderr := bencher(t, t.Context(), "-quick", "-duration", "20ms", "-threads", "2", "-against", "", "-workloads", "rtt-1,idle", "-json")
	if code != 0 {
		t.Fatalf("exit code %d: %s\n%s", code, stderr, stdout)
	}
	var r report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatal(err)
	}
	for _, b := range r.Workloads {
		for _, row := range b.Rows {
			if !strings.Contains(row.Proxy, "balance") || len(row.Figures) == 0 {
				t.Errorf("%s: row %s with %d figures", b.Name, row.Proxy, len(row.Figures))
				continue
			}
			last := row.Figures[len(row.Figures)-1]
			if !strings.Contains(row.Proxy, "eventloop") {
				continue
			}
			// The one session of rtt-1 is on one of two loops.
			if want := map[string]float64{"rtt-1": 2, "idle": 1.3}[b.Name]; last.Name != "skew of loops" || last.Median < 1 || last.Median > want {
				t.Errorf("%s, %s: %s is %v", b.Name, row.Proxy, last.Name, last.Median)
			}
		}
		if len(b.Rows) < 2 {
			t.Errorf("%s: %d rows", b.Name, len(b.Rows))
		}
	}
	for _, note := range r.Notes {
		if !strings.Contains(note, "busy") {
			t.Errorf("note: %s", note)
		}
	}
}

// The way to choose that every daemon of this source knows has its row beside
// the peers; those that it does not know are notes.
func TestFairness(t *testing.T) {
	code, stdout, stderr := bencher(t, t.Context(), "-rounds", "1", "-count", "60", "-against", strings.Join(installed(t), ","), "-workloads", "fairness", "-json")
	if code != 0 {
		t.Fatalf("exit code %d: %s\n%s", code, stderr, stdout)
	}
	var r report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Workloads) != 1 || r.Workloads[0].Name != "fairness" {
		t.Fatalf("workloads %+v", r.Workloads)
	}
	shares := make(map[string][]float64)
	for _, row := range r.Workloads[0].Rows {
		sum := 0.0
		for _, c := range row.Figures {
			if c.Unit == "%" {
				shares[row.Proxy] = append(shares[row.Proxy], c.Median)
				sum += c.Median
			} else if c.Median < 1 {
				t.Errorf("%s: %s is %v ms, less than any channel takes", row.Proxy, c.Name, c.Median)
			}
		}
		if sum < 99.999 || sum > 100.001 {
			t.Errorf("%s: shares %v", row.Proxy, shares[row.Proxy])
		}
	}
	for _, share := range shares["balance rr"] {
		if share < 32 || share > 35 {
			t.Errorf("round robin gives the channels %v", shares["balance rr"])
		}
	}
	if len(shares["balance rr"]) != len(load.ServiceTimes) {
		t.Errorf("shares %v", shares)
	}
}

func TestTableOfCountedWork(t *testing.T) {
	against := installed(t)[0]
	code, stdout, stderr := bencher(t, t.Context(), "-rounds", "2", "-count", "30", "-threads", "2", "-balance", "none",
		"-against", against, "-workloads", "short-8,bulk-up")
	if code != 0 {
		t.Fatalf("exit code %d: %s\n%s", code, stderr, stdout)
	}
	for _, want := range []string{"\nshort-8: ", "\nbulk-up-1: ", "\nbulk-up-4: ", "proxy CPU µs", "proxy CPU ms/GB", against, "A/A "} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	if strings.Contains(stdout, "rtt") || strings.Contains(stdout, "not measured") {
		t.Errorf("unexpected:\n%s", stdout)
	}
}

// cancelAt cancels when what is written to it holds a text.
type cancelAt struct {
	text   string
	cancel context.CancelFunc
}

func (c cancelAt) Write(b []byte) (int, error) {
	if strings.Contains(string(b), c.text) {
		c.cancel()
	}
	return len(b), nil
}

func TestInterruptEndsEverything(t *testing.T) {
	against := installed(t)
	for _, c := range []struct {
		text     string // what is printed when it happens
		duration time.Duration
	}{{"about", time.Minute}, {"round 1", time.Minute}, {"round 2", 50 * time.Millisecond}} {
		text := c.text
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		dir := t.TempDir()
		t.Setenv("TMPDIR", dir)
		runtime.LockOSThread()
		r, err := compareProxies(ctx, options{against: strings.Join(against, ","), balance: "none", workloads: "rtt-64",
			rounds: 3, threads: 1, duration: c.duration, offered: 1}, cancelAt{text, cancel})
		runtime.UnlockOSThread()
		if err == nil {
			t.Errorf("cancelled at %q: no error", text)
		}
		if text == "round 2" && (r == nil || !slices.Contains(r.Notes, "ended in round 2 of 3")) {
			t.Errorf("cancelled at %q: report %+v", text, r)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("cancelled at %q: left behind: %v, %v", text, left, err)
		}
		if tree, err := process.Tree(os.Getpid()); err != nil || len(tree) != 1 {
			t.Errorf("cancelled at %q: processes left behind: %v, %v", text, tree, err)
		}
	}
}

func TestWrongCommandLines(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-rounds", "0"}, 2, "rounds 0"},
		{[]string{"-threads", "-1"}, 2, "threads -1"},
		{[]string{"-duration", "1us"}, 2, "duration 1µs"},
		{[]string{"-count", "-5"}, 2, "count -5"},
		{[]string{"-offered", "NaN"}, 2, "offered load NaN"},
		{[]string{"haproxy"}, 2, `unexpected argument "haproxy"`},
		{[]string{"-nonsense"}, 2, "nonsense"},
		{[]string{"-workloads", "short,dance"}, 1, `no workload "dance"`},
		{[]string{"-balance", "none", "-against", "squid"}, 1, `no proxy "squid"`},
		{[]string{"-balance", "none", "-against", ""}, 1, "nothing to measure"},
		{[]string{"-balance", "/bin/false", "-against", ""}, 1, "accepts no configuration"},
		{[]string{"-balance", "/nonexistent/balance"}, 1, "/nonexistent/balance"},
	} {
		code, stdout, stderr := bencher(t, t.Context(), c.args...)
		if code != c.code || !strings.Contains(stderr, c.want) || stdout != "" {
			t.Errorf("%q: exit code %d, want %d; %q does not say %q; output %q", c.args, code, c.code, stderr, c.want, stdout)
		}
	}
	if code, _, stderr := bencher(t, t.Context(), "-h"); code != 0 || !strings.Contains(stderr, "-against") {
		t.Errorf("-h: exit code %d, %q", code, stderr)
	}
}
