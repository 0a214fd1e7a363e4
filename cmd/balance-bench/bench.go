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
	dir      string
	lineups  []*lineup
	backends []*process.Process
	progress io.Writer
	report   *report
	failed   int
}

// lineup is what is measured in some of the workloads, all in front of the same
// backends.
type lineup struct {
	workloads []load.Workload
	rows      []peers.Proxy
	settings  peers.Settings
	instances []*peers.Instance
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
	b := &bench{options: o, dir: dir, progress: progress, report: newReport(o, ws, notes)}
	defer func() { err = errors.Join(err, b.close()) }()

	if err := b.lineUp(ctx, ws, peers.Settings{Threads: o.threads, Descriptors: limit}); err != nil {
		return nil, err
	}
	cells := 0
	for _, l := range b.lineups {
		cells += len(l.workloads) * (len(l.rows) + 1)
	}
	estimate := time.Duration(o.rounds*cells) * (o.duration + b.warm() + rest + cellOverhead)
	fmt.Fprintf(progress, "balance-bench: %d workloads, %d cells, %d rounds: about %v\n",
		len(ws), cells, o.rounds, estimate.Round(time.Second))
	ctx, cancel := context.WithTimeoutCause(ctx, 3*estimate+time.Minute,
		errors.New("it takes three times as long as it should"))
	defer cancel()

	if err := b.startAll(ctx); err != nil {
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
		for _, l := range b.lineups {
			for _, w := range l.workloads {
				// A new order each time: what one row leaves behind, such as
				// sockets in TIME_WAIT, falls to another.
				for _, k := range rand.Perm(len(l.instances)) {
					b.cell(ctx, w, l.instances[k], l.settings, round)
					if ctx.Err() != nil {
						b.report.note(fmt.Sprintf("ended in round %d of %d", round+1, o.rounds))
						return b.report, context.Cause(ctx)
					}
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

// lineUp finds what there is to measure, balance and its peers, in the workloads.
func (b *bench) lineUp(ctx context.Context, ws []load.Workload, settings peers.Settings) error {
	paths := names(b.balance)
	switch {
	case b.balance == "none":
		paths = nil
	case b.balance == "":
		path, err := peers.Build(ctx, b.dir)
		if err != nil {
			b.report.note(fmt.Sprintf("balance is not measured: %v", err))
		} else {
			paths = []string{path}
		}
	}
	var relaying, choosing []load.Workload
	for _, w := range ws {
		if w.Kind == load.Fair {
			choosing = append(choosing, w)
		} else {
			relaying = append(relaying, w)
		}
	}
	if len(relaying) > 0 {
		ours, err := peers.Balances(ctx, paths, b.dir)
		if err != nil {
			return err
		}
		theirs, missing, err := peers.Find(ctx, names(b.against))
		if err != nil {
			return err
		}
		b.report.note(missing...)
		b.lineups = append(b.lineups, &lineup{workloads: relaying, rows: append(ours, theirs...), settings: settings})
	}
	if len(choosing) > 0 {
		ours, unknown, err := peers.Modes(ctx, paths, b.dir)
		if err != nil {
			return err
		}
		theirs, missing, err := peers.FindLeastConn(ctx, names(b.against))
		if err != nil {
			return err
		}
		b.report.note(append(unknown, missing...)...)
		b.lineups = append(b.lineups, &lineup{workloads: choosing, rows: append(ours, theirs...), settings: settings})
	}
	return nil
}

// startAll starts the backends and the rows of every lineup.
func (b *bench) startAll(ctx context.Context) error {
	started := 0
	for _, l := range b.lineups {
		if err := b.startBackends(l); err != nil {
			return err
		}
		if err := b.startRows(ctx, l); err != nil {
			return err
		}
		if len(l.instances) == 0 {
			b.report.note(fmt.Sprintf("%s and what belongs to it: nothing to measure", l.workloads[0].Name))
		}
		started += len(l.instances)
	}
	if started == 0 {
		return errors.New("nothing to measure: " + strings.Join(b.report.Notes, "; "))
	}
	return nil
}

func (b *bench) startBackends(l *lineup) error {
	if l.workloads[0].Kind == load.Fair {
		p, addresses, err := load.StartServers()
		if err != nil {
			return err
		}
		b.backends = append(b.backends, p)
		l.settings.Backends = addresses
		return nil
	}
	for range max(2, b.threads) {
		p, address, err := load.StartBackend()
		if err != nil {
			return err
		}
		b.backends = append(b.backends, p)
		l.settings.Backends = append(l.settings.Backends, address)
	}
	return nil
}

// startRows starts every row, and the first that starts once more. A peer that
// does not start becomes a note.
func (b *bench) startRows(ctx context.Context, l *lineup) error {
	for _, x := range l.rows {
		in, err := b.start(ctx, x, l.settings)
		if err != nil && (x.Ours || ctx.Err() != nil) {
			return err
		}
		if err != nil {
			b.failed++
			b.report.note(err.Error())
			continue
		}
		l.instances = append(l.instances, in)
		b.report.add(x, l.workloads)
	}
	if len(l.instances) == 0 {
		return nil
	}
	x := l.instances[0].Proxy
	x.Name, x.Again = "A/A "+x.Name, true
	in, err := b.start(ctx, x, l.settings)
	if err != nil {
		return err
	}
	l.instances = append(l.instances, in)
	b.report.add(x, l.workloads)
	return nil
}

// start starts a row in a directory of its own.
func (b *bench) start(ctx context.Context, x peers.Proxy, s peers.Settings) (*peers.Instance, error) {
	dir, err := os.MkdirTemp(b.dir, "proxy-")
	if err != nil {
		return nil, err
	}
	return x.Start(ctx, dir, s)
}

// cell measures one workload through one proxy, with such settings, once. What
// goes wrong becomes a note.
func (b *bench) cell(ctx context.Context, w load.Workload, in *peers.Instance, s peers.Settings, round int) {
	fail := func(err error) {
		if ctx.Err() == nil {
			b.failed++
			b.report.note(fmt.Sprintf("%s, %s: %v", in.Name, w.Name, err))
		}
	}
	if w.Kind == load.Idle {
		// What earlier cells made it allocate would be used again unseen.
		fresh, err := b.start(ctx, in.Proxy, s)
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
		Seed: uint64(round),
	}
	sample, err := j.Run(ctx)
	if err != nil {
		fail(err)
		return
	}
	b.report.sample(w, in.Name, sample)
	select {
	case <-time.After(rest):
	case <-ctx.Done():
	}
}

// close ends everything that was started and removes what was written.
func (b *bench) close() error {
	for _, l := range b.lineups {
		for _, in := range l.instances {
			in.Process.Stop()
		}
	}
	for _, p := range b.backends {
		p.Stop()
	}
	return os.RemoveAll(b.dir)
}
