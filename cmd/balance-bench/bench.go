//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"balance/cmd/balance-bench/internal/load"
	"balance/cmd/balance-bench/internal/peers"
	"balance/cmd/balance-bench/internal/process"
)

const (
	// rest lets a proxy finish with the connections of one cell before the
	// next begins.
	rest = 50 * time.Millisecond
	// cellOverhead is what a cell costs beside its load, about.
	cellOverhead = 100 * time.Millisecond
	// quietLook is how long the machine is looked at before the run, and
	// quietEnough the number of its CPUs that may be busy without a note.
	quietLook   = 500 * time.Millisecond
	quietEnough = 0.1
)

// bench is one run: what is measured, and everything that must be ended.
type bench struct {
	options
	dir       string
	settings  peers.Settings
	backends  []*process.Process
	instances []*peers.Instance
	progress  io.Writer
	report    *report
	failed    int
}

// compareProxies does everything that the options ask for. It returns what was
// measured also when it returns an error. The caller is locked to its thread.
func compareProxies(ctx context.Context, o options, progress io.Writer) (_ *report, err error) {
	limit, err := raiseDescriptorLimit()
	if err != nil {
		return nil, err
	}
	if limit < leastDescriptors {
		return nil, fmt.Errorf("a limit of %d descriptors a process is too low, it takes %d", limit, leastDescriptors)
	}
	all, notes := allWorkloads(limit, o.offered)
	ws, err := selectWorkloads(all, names(o.workloads))
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "balance-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, dir: dir, progress: progress, settings: peers.Settings{Threads: o.threads, Descriptors: limit}}
	defer func() { err = errors.Join(err, b.close()) }()

	rows, more, err := b.rows(ctx)
	if err != nil {
		return nil, err
	}
	b.report = newReport(o, ws, append(notes, more...))
	estimate := time.Duration(o.rounds*len(ws)*(len(rows)+1)) * (o.duration + b.warm() + rest + cellOverhead)
	fmt.Fprintf(progress, "balance-bench: %d workloads, %d rows, %d rounds: about %v\n",
		len(ws), len(rows)+1, o.rounds, estimate.Round(time.Second))
	ctx, cancel := context.WithTimeoutCause(ctx, 3*estimate+time.Minute,
		errors.New("it takes three times as long as it should"))
	defer cancel()

	if err := b.startAll(ctx, rows); err != nil {
		return nil, err
	}
	busy, err := process.BusyCPUs(quietLook)
	if err != nil {
		return nil, err
	}
	if busy > quietEnough {
		b.report.note(fmt.Sprintf("before the run, %.1f CPUs of the machine were busy with something else: the figures are disturbed", busy))
	}
	for round := range o.rounds {
		fmt.Fprintf(progress, "balance-bench: round %d of %d\n", round+1, o.rounds)
		for _, w := range ws {
			// A new order each time: what one row leaves behind, such as
			// sockets in TIME_WAIT, falls to another.
			for _, k := range rand.Perm(len(b.instances)) {
				b.cell(ctx, w, b.instances[k])
				if ctx.Err() != nil {
					b.report.note(fmt.Sprintf("ended in round %d of %d", round+1, o.rounds))
					return b.report, context.Cause(ctx)
				}
			}
		}
	}
	if b.failed > 0 {
		return b.report, fmt.Errorf("%d cells were not measured, see the notes", b.failed)
	}
	return b.report, nil
}

// warm is the unmeasured start of a cell.
func (b *bench) warm() time.Duration { return b.duration / 10 }

// rows finds what there is to measure: balance and its peers.
func (b *bench) rows(ctx context.Context) (rows []peers.Proxy, notes []string, err error) {
	paths := names(b.balance)
	switch {
	case b.balance == "none":
		paths = nil
	case b.balance == "":
		path, err := peers.Build(ctx, b.dir)
		if err != nil {
			notes = append(notes, fmt.Sprintf("balance is not measured: %v", err))
		} else {
			paths = []string{path}
		}
	}
	ours, err := peers.Balances(ctx, paths, b.dir)
	if err != nil {
		return nil, nil, err
	}
	theirs, missing, err := peers.Find(ctx, names(b.against))
	if err != nil {
		return nil, nil, err
	}
	return append(ours, theirs...), append(notes, missing...), nil
}

// startAll starts the backends and every row, and the first row once more. A
// peer that does not start becomes a note.
func (b *bench) startAll(ctx context.Context, rows []peers.Proxy) error {
	for range max(2, b.threads) {
		p, address, err := load.StartBackend()
		if err != nil {
			return err
		}
		b.backends = append(b.backends, p)
		b.settings.Backends = append(b.settings.Backends, address)
	}
	for _, x := range rows {
		in, err := b.start(ctx, x)
		if err != nil && (x.Ours || ctx.Err() != nil) {
			return err
		}
		if err != nil {
			b.failed++
			b.report.note(err.Error())
			continue
		}
		b.instances = append(b.instances, in)
		b.report.add(x)
	}
	if len(b.instances) == 0 {
		return errors.New("nothing to measure: " + strings.Join(b.report.Notes, "; "))
	}
	x := b.instances[0].Proxy
	x.Name, x.Again = "A/A "+x.Name, true
	in, err := b.start(ctx, x)
	if err != nil {
		return err
	}
	b.instances = append(b.instances, in)
	b.report.add(x)
	return nil
}

// start starts a row in a directory of its own.
func (b *bench) start(ctx context.Context, x peers.Proxy) (*peers.Instance, error) {
	dir, err := os.MkdirTemp(b.dir, "proxy-")
	if err != nil {
		return nil, err
	}
	return x.Start(ctx, dir, b.settings)
}

// cell measures one workload through one proxy, once. What goes wrong becomes
// a note.
func (b *bench) cell(ctx context.Context, w load.Workload, in *peers.Instance) {
	fail := func(err error) {
		if ctx.Err() == nil {
			b.failed++
			b.report.note(fmt.Sprintf("%s, %s: %v", in.Name, w.Name, err))
		}
	}
	if w.Kind == load.Idle {
		// What earlier cells made it allocate would be used again unseen.
		fresh, err := b.start(ctx, in.Proxy)
		if err != nil {
			fail(err)
			return
		}
		defer fresh.Process.Stop()
		in = fresh
	}
	if in.Process.Ended() {
		fail(fmt.Errorf("the proxy has ended: %v", in.Process.State()))
		return
	}
	j := load.Job{
		Workload: w, Target: in.Address, Root: in.Process.PID(), Status: in.Status, Threads: b.threads,
		Warm: b.warm(), Duration: b.duration, Count: b.count, Settle: min(b.duration, 300*time.Millisecond),
	}
	s, err := j.Run(ctx)
	if err != nil {
		fail(err)
		return
	}
	b.report.sample(w, in.Name, s)
	select {
	case <-time.After(rest):
	case <-ctx.Done():
	}
}

// close ends everything that was started and removes what was written.
func (b *bench) close() error {
	for _, in := range b.instances {
		in.Process.Stop()
	}
	for _, p := range b.backends {
		p.Stop()
	}
	return os.RemoveAll(b.dir)
}
