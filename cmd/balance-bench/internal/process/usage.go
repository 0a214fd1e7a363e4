//go:build linux

package process

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of times in /proc/PID/stat and /proc/stat: USER_HZ, 100 a
// second on every architecture that Go runs on.
const tick = 10 * time.Millisecond

// processStat is what is used of /proc/PID/stat, proc_pid_stat(5).
type processStat struct {
	parent int
	// reaped is the CPU time of children that ended and were waited for.
	reaped time.Duration
}

func parseProcessStat(data []byte) (processStat, error) {
	// The name stands in parentheses and may hold spaces and parentheses.
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return processStat{}, fmt.Errorf("no name in %.80q", data)
	}
	// fields[0] is the third of the manual page.
	fields := bytes.Fields(data[end+1:])
	if len(fields) < 15 {
		return processStat{}, fmt.Errorf("%d fields after the name in %.80q", len(fields), data)
	}
	var numbers [3]int64
	for i, at := range []int{4 - 3, 16 - 3, 17 - 3} { // ppid, cutime, cstime
		n, err := strconv.ParseInt(string(fields[at]), 10, 64)
		if err != nil {
			return processStat{}, err
		}
		numbers[i] = n
	}
	return processStat{parent: int(numbers[0]), reaped: time.Duration(numbers[1]+numbers[2]) * tick}, nil
}

// Tree lists root and all its descendants.
func Tree(root int) ([]int, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := make(map[int][]int)
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it ended meanwhile
		}
		stat, err := parseProcessStat(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		pid, err := strconv.Atoi(strings.Split(path, "/")[2])
		if err != nil {
			return nil, err
		}
		children[stat.parent] = append(children[stat.parent], pid)
	}
	tree := []int{root}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, children[tree[i]]...)
	}
	return tree, nil
}

// treeCPU is the CPU time that root and its descendants, the ended ones
// included, have used so far. It reads each process's CPU clock
// (clock_getcpuclockid(3)): nanoseconds, over all threads, also those that
// have ended. That is the counter behind utime and stime of /proc/PID/stat,
// which show it in ticks. Where the kernel accounts for interrupts apart
// (CONFIG_IRQ_TIME_ACCOUNTING) it leaves out what soft interrupts do on the
// process's behalf; that shows in the busy time of the machine alone.
func treeCPU(root int) (time.Duration, error) {
	tree, err := Tree(root)
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, pid := range tree {
		var ts unix.Timespec
		// MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of the kernel.
		err := unix.ClockGettime(int32(^pid<<3|2), &ts)
		data, statErr := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || statErr != nil {
			if pid == root {
				return 0, fmt.Errorf("read the CPU time of process %d: it has ended", pid)
			}
			continue // a child that ended meanwhile: it is among the reaped
		}
		stat, err := parseProcessStat(data)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(ts.Nano()) + stat.reaped
	}
	return sum, nil
}

// parseSystemStat takes the number of CPUs and the time that they, together,
// did nothing from /proc/stat: idle, waiting for a disk, or taken by the host.
func parseSystemStat(data string) (cpus int, unused time.Duration, err error) {
	for line := range strings.Lines(data) {
		fields := strings.Fields(line)
		if len(fields) == 0 || !strings.HasPrefix(fields[0], "cpu") {
			continue
		}
		if fields[0] != "cpu" {
			cpus++
			continue
		}
		if len(fields) < 9 {
			return 0, 0, fmt.Errorf("%d fields in %.80q", len(fields), line)
		}
		for _, at := range []int{4, 5, 8} { // idle, iowait, steal
			n, err := strconv.ParseInt(fields[at], 10, 64)
			if err != nil {
				return 0, 0, err
			}
			unused += time.Duration(n) * tick
		}
	}
	if cpus == 0 {
		return 0, 0, fmt.Errorf("no CPU in %.80q", data)
	}
	return cpus, unused, nil
}

// parsePrivate sums the lines Private_* of /proc/PID/smaps_rollup, in bytes.
func parsePrivate(data string) (int64, error) {
	var sum int64
	found := false
	for line := range strings.Lines(data) {
		if !strings.HasPrefix(line, "Private_") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[2] != "kB" {
			return 0, fmt.Errorf("unexpected %.80q", line)
		}
		n, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += n << 10
		found = true
	}
	if !found {
		return 0, fmt.Errorf("no Private_ line in %.80q", data)
	}
	return sum, nil
}

// Holdings is what a process tree has: private memory in bytes and open
// descriptors.
type Holdings struct{ Memory, Descriptors int64 }

// TreeHoldings is what root and its descendants have now. It needs the right to
// trace them (proc_pid_smaps(5), proc_pid_fd(5)).
func TreeHoldings(root int) (Holdings, error) {
	tree, err := Tree(root)
	if err != nil {
		return Holdings{}, err
	}
	var h Holdings
	for _, pid := range tree {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return Holdings{}, err
		}
		memory, err := parsePrivate(string(data))
		if err != nil {
			return Holdings{}, fmt.Errorf("smaps_rollup of process %d: %w", pid, err)
		}
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			return Holdings{}, err
		}
		h.Memory += memory
		h.Descriptors += int64(len(entries))
	}
	return h, nil
}

// Usage is what was used over a stretch of time.
type Usage struct {
	Elapsed time.Duration
	// Tree is the CPU time of a process and its descendants.
	Tree time.Duration
	// Machine is the time the CPUs of the machine were not idle.
	Machine time.Duration
}

// Meter stands at the start of a measured stretch.
type Meter struct {
	root   int
	tree   time.Duration
	cpus   int
	unused time.Duration
	began  time.Time
}

// StartMeter notes where the process tree of root and the machine stand.
func StartMeter(root int) (Meter, error) {
	tree, err := treeCPU(root)
	if err != nil {
		return Meter{}, err
	}
	cpus, unused, err := readSystemStat()
	if err != nil {
		return Meter{}, err
	}
	return Meter{root, tree, cpus, unused, time.Now()}, nil
}

// Stop returns what was used since StartMeter.
func (m Meter) Stop() (Usage, error) {
	used := Usage{Elapsed: time.Since(m.began)}
	_, unused, err := readSystemStat()
	if err != nil {
		return Usage{}, err
	}
	// The idle time is exact where the clock ticks stop when idle; the busy
	// fields are sampled at ticks and miss what falls between.
	used.Machine = max(0, used.Elapsed*time.Duration(m.cpus)-(unused-m.unused))
	tree, err := treeCPU(m.root)
	if err != nil {
		return Usage{}, err
	}
	used.Tree = tree - m.tree
	return used, nil
}

// BusyCPUs is how many CPUs of the machine are busy now, over the time d.
func BusyCPUs(d time.Duration) (float64, error) {
	_, before, err := readSystemStat()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	time.Sleep(d)
	cpus, after, err := readSystemStat()
	if err != nil {
		return 0, err
	}
	return max(0, float64(cpus)-float64(after-before)/float64(time.Since(began))), nil
}

func readSystemStat() (cpus int, unused time.Duration, err error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	cpus, unused, err = parseSystemStat(string(data))
	if err != nil {
		return 0, 0, fmt.Errorf("/proc/stat: %w", err)
	}
	return cpus, unused, nil
}
