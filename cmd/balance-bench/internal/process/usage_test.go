//go:build linux

package process

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestParseProcessStat(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       processStat
		fails      bool
	}{
		{name: "plain",
			text: "4242 (haproxy) S 17 4242 4242 0 -1 4194560 700 90 0 0 123 456 7 8 20 0 1 0 99 1000 200 18446744073709551615\n",
			want: processStat{parent: 17, reaped: 150 * time.Millisecond}},
		{name: "name with parentheses and spaces",
			text: "5 (a) S 9 (b)) R 3 5 5 0 -1 0 0 0 0 0 1 2 0 0 20 0 1 0 99\n",
			want: processStat{parent: 3}},
		{name: "no name", text: "5 S 3", fails: true},
		{name: "cut short", text: "5 (x) S 3 5 5", fails: true},
		{name: "not a number", text: "5 (x) S three 5 5 0 -1 0 0 0 0 0 1 2 0 0 20", fails: true},
		{name: "empty", text: "", fails: true},
	} {
		got, err := parseProcessStat([]byte(c.text))
		if (err != nil) != c.fails || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v, fails %v", c.name, got, err, c.want, c.fails)
		}
	}
}

func TestParseSystemStat(t *testing.T) {
	const text = `cpu  100 2 30 4000 50 6 7 80 9 0
cpu0 50 1 15 2000 25 3 3 40 4 0
cpu1 50 1 15 2000 25 3 4 40 5 0
intr 12345 0 0
ctxt 999
`
	cpus, unused, err := parseSystemStat(text)
	if want := (4000 + 50 + 80) * 10 * time.Millisecond; err != nil || cpus != 2 || unused != want {
		t.Errorf("%d CPUs, unused %v, %v; want 2, %v", cpus, unused, err, want)
	}
	for _, bad := range []string{"", "intr 5\n", "cpu 1 2 3\ncpu0 1 2 3\n", "cpu 1 2 3 x 5 6 7 8\ncpu0 1\n"} {
		if _, _, err := parseSystemStat(bad); err == nil {
			t.Errorf("no error of %q", bad)
		}
	}
}

func TestParsePrivate(t *testing.T) {
	const text = `55735be1b000-7ffdd0421000 ---p 00000000 00:00 0                          [rollup]
Rss:                1652 kB
Pss:                 446 kB
Shared_Clean:       1472 kB
Private_Clean:        68 kB
Private_Dirty:       112 kB
Private_Hugetlb:       4 kB
Swap:                  9 kB
`
	if got, err := parsePrivate(text); err != nil || got != 184<<10 {
		t.Errorf("%d, %v; want %d", got, err, 184<<10)
	}
	for _, bad := range []string{"", "Rss: 5 kB\n", "Private_Dirty: many kB\n", "Private_Dirty: 5 MB\n", "Private_Dirty: 5\n"} {
		if _, err := parsePrivate(bad); err == nil {
			t.Errorf("no error of %q", bad)
		}
	}
}

// A shell that works itself, has a child that works, and has waited for others.
const busyTree = `
burn() { i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; }
burn
for k in 1 2 3 4 5 6 7 8; do (burn); done
(burn; echo ready; exec sleep 60) &
wait`

func TestTreeCPU(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("sh", "-c", busyTree)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Start(cmd, syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	if _, err := out.Read(make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	tree, err := Tree(p.PID())
	if err != nil || len(tree) != 2 || tree[0] != p.PID() {
		t.Fatalf("tree %v, %v; want %d and one child", tree, err, p.PID())
	}
	sum, err := treeCPU(p.PID())
	if err != nil {
		t.Fatal(err)
	}
	alone, err := treeCPU(tree[1])
	if err != nil {
		t.Fatal(err)
	}
	// Burns of equal length: one the child's, one the shell's own, eight reaped.
	if alone <= 0 || sum < 4*alone {
		t.Errorf("the tree used %v, one of ten equal parts of it %v", sum, alone)
	}
	h, err := TreeHoldings(p.PID())
	if err != nil || h.Memory <= 0 || h.Descriptors < 6 {
		t.Errorf("holdings of two processes: %+v, %v", h, err)
	}

	p.Stop()
	if _, err := treeCPU(p.PID()); err == nil {
		t.Error("an ended process has CPU time")
	}
	awaitEnd(t, tree[1])
}

// awaitEnd fails the test unless the process ends soon, waited for or not.
func awaitEnd(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return
		}
		if _, state, _ := strings.Cut(string(data), ") "); strings.HasPrefix(state, "Z") || strings.HasPrefix(state, "X") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still there: %s", data)
		}
	}
}

func TestMeterCountsThisProcess(t *testing.T) {
	m, err := StartMeter(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	var spent time.Duration
	for began := time.Now(); spent < 30*time.Millisecond; spent = time.Since(began) {
		_ = strings.Repeat("x", 1000)
	}
	used, err := m.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if used.Tree <= 0 || used.Elapsed < spent {
		t.Errorf("after %v of work: %+v", spent, used)
	}
}
