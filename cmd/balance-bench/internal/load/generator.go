//go:build linux

package load

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"balance/cmd/balance-bench/internal/process"
)

// budget ends a stretch: at a time, or after an amount.
type budget struct {
	until   int64 // as now counts
	left    int64
	counted bool
}

// take reports whether anything may still be started at the time t, and
// takes n units off what is left.
func (b *budget) take(t, n int64) bool {
	if !b.counted {
		return t < b.until
	}
	ok := b.left > 0
	b.left -= n
	return ok
}

// loop makes load on one thread.
type loop interface {
	// open makes the lasting connections of the workload.
	open() error
	// run makes load until the budget is spent and all answers are in, adding
	// to what result gives.
	run(*budget) error
	// result gives the units done and, unless the workload has none, the
	// latency of each, in nanoseconds.
	result() (units int64, latencies []uint32)
	// reset forgets the results so far.
	reset()
	// close ends all connections.
	close()
}

// generate reads a job, does it and writes its sample.
func generate(in io.Reader, out io.Writer) error {
	var j Job
	if err := json.NewDecoder(in).Decode(&j); err != nil {
		return fmt.Errorf("read the job: %w", err)
	}
	quietRuntime(j.Threads)
	var s Sample
	var err error
	if j.Workload.Kind == Idle {
		s, err = measureIdle(j)
	} else {
		s, err = measureLoad(j)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(s)
}

func measureLoad(j Job) (s Sample, err error) {
	loops, err := openLoops(j)
	if err != nil {
		return s, err
	}
	defer closeLoops(loops)
	if err := each(loops, func(_ int, l loop) error {
		return l.run(&budget{until: now() + int64(j.Warm)})
	}); err != nil {
		return s, err
	}
	for _, l := range loops {
		l.reset()
	}
	m, err := process.StartMeter(j.Root)
	if err != nil {
		return s, err
	}
	if err := each(loops, func(i int, l loop) error {
		return l.run(measuredBudget(j, i, len(loops)))
	}); err != nil {
		return s, err
	}
	used, err := m.Stop()
	if err != nil {
		return s, err
	}
	s.Elapsed, s.Proxy, s.Machine = used.Elapsed, used.Tree, used.Machine
	if s.Loops, err = loopSessions(j.Status); err != nil {
		return s, err
	}
	var all []uint32
	for _, l := range loops {
		units, latencies := l.result()
		s.Units += units
		if a, ok := l.(*arrivals); ok {
			for i, n := range a.served {
				s.Served[i] += n
			}
		}
		all = append(all, latencies...)
	}
	if s.Units == 0 {
		return s, fmt.Errorf("nothing was done in %v", s.Elapsed)
	}
	slices.Sort(all)
	s.P50 = time.Duration(percentile(all, 0.5))
	s.P99 = time.Duration(percentile(all, 0.99))
	s.P999 = time.Duration(percentile(all, 0.999))
	return s, nil
}

// loopSessions asks how many sessions each loop of the proxy holds.
func loopSessions(status []string) ([]int, error) {
	if len(status) == 0 {
		return nil, nil
	}
	out, err := exec.Command(status[0], status[1:]...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("ask for the sessions of each loop: %w: %q", err, process.LastLine(out))
	}
	var held []int
	for line := range strings.Lines(string(out)) {
		word, rest, _ := strings.Cut(line, " ")
		if word != "loops" {
			continue
		}
		for _, field := range strings.Fields(rest) {
			n, err := strconv.Atoi(field)
			if err != nil {
				return nil, fmt.Errorf("read the sessions of each loop: %w", err)
			}
			held = append(held, n)
		}
	}
	return held, nil
}

// measuredBudget is the share of loop i of n.
func measuredBudget(j Job, i, n int) *budget {
	if j.Count == 0 {
		return &budget{until: now() + int64(j.Duration)}
	}
	count := j.Count
	if j.Workload.Kind == Down || j.Workload.Kind == Up {
		count <<= 20
	}
	return &budget{counted: true, left: share(count, int64(i), int64(n))}
}

// share is part i of n of a whole, all parts as equal as can be.
func share(whole, i, n int64) int64 { return whole*(i+1)/n - whole*i/n }

// openLoops makes the loops of the job, with their lasting connections. The
// caller closes them.
func openLoops(j Job) ([]loop, error) {
	loops, err := newLoops(j)
	if err != nil {
		return nil, err
	}
	if err := each(loops, func(_ int, l loop) error { return l.open() }); err != nil {
		closeLoops(loops)
		return nil, err
	}
	return loops, nil
}

func closeLoops(loops []loop) {
	for _, l := range loops {
		l.close()
	}
}

// newLoops spreads the connections of the job over its threads.
func newLoops(j Job) ([]loop, error) {
	n := min(j.Threads, max(1, j.Workload.Connections))
	loops := make([]loop, n)
	for i := range loops {
		// connect writes into it: each loop has its own.
		to, err := socketAddress(j.Target)
		if err != nil {
			return nil, err
		}
		ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		if err != nil {
			return nil, err
		}
		conns := int(share(int64(j.Workload.Connections), int64(i), int64(n)))
		switch j.Workload.Kind {
		case Short, Trip, Idle:
			loops[i] = newTrips(ep, to, j.Workload, conns)
		case Down, Up:
			loops[i] = newBulk(ep, to, j.Workload.Kind, conns)
		case Latency:
			loops[i] = newSchedule(ep, to, j.Workload, conns, j.Workload.Offered/float64(n))
		case Fair:
			loops[i] = newArrivals(ep, to, j.Workload, j.Workload.Offered/float64(n), j.Seed+uint64(i))
		default:
			return nil, fmt.Errorf("unknown kind of workload %q", j.Workload.Kind)
		}
	}
	return loops, nil
}

// each runs f for all loops at once, each on a thread of its own, and returns
// the first error once all have returned.
func each(loops []loop, f func(i int, l loop) error) error {
	errs := make([]error, len(loops))
	var wg sync.WaitGroup
	for i, l := range loops {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			errs[i] = f(i, l)
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// measureIdle opens the connections of the job, one round trip on each, lets
// them rest and measures by how much they made the proxy grow. A few are
// opened before, so that what a proxy allocates once is not counted.
func measureIdle(j Job) (s Sample, err error) {
	first := j
	first.Workload.Connections = min(16, j.Workload.Connections)
	var before, after process.Holdings
	for _, step := range []struct {
		job  Job
		into *process.Holdings
	}{{first, &before}, {j, &after}} {
		loops, err := openLoops(step.job)
		if err != nil {
			return s, err
		}
		defer closeLoops(loops)
		time.Sleep(j.Settle)
		if *step.into, err = process.TreeHoldings(j.Root); err != nil {
			return s, err
		}
	}
	if s.Loops, err = loopSessions(j.Status); err != nil {
		return s, err
	}
	s.Units = int64(j.Workload.Connections)
	s.Memory = after.Memory - before.Memory
	s.Descriptors = after.Descriptors - before.Descriptors
	return s, nil
}

// percentile is the smallest of the sorted values that at least the share p
// (0 to 1) of them do not exceed: the nearest rank, nothing interpolated.
// It is 0 of nothing.
func percentile[T int64 | uint32](sorted []T, p float64) T {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(p * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}
