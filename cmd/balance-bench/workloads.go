//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"balance/cmd/balance-bench/internal/load"
)

const (
	messageSize = 64
	// latencyConnections share the offered load.
	latencyConnections = 64
	// fairLoad is the share of what the servers of unequal speed can do that is
	// asked of them. A third of it is more than one of the slow ones can do.
	fairLoad = 0.8
	// descriptorsPerSession is what the hungriest relay known takes for one
	// session: two sockets and two pipes.
	descriptorsPerSession = 6
	// leastDescriptors leaves every workload but the two that shrink whole.
	leastDescriptors = 1024
)

// allWorkloads lists every workload in the order of the table. limit is the
// number of descriptors a process may have, at least leastDescriptors; the
// large workloads shrink to it, and notes says so.
func allWorkloads(limit int, offered float64) (ws []load.Workload, notes []string) {
	most := (limit - 200) / descriptorsPerSession
	shrink := func(what string, want int) int {
		if want <= most {
			return want
		}
		notes = append(notes, fmt.Sprintf("%s: %d connections instead of %d, for a limit of %d descriptors a process", what, most, want, limit))
		return most
	}
	for _, n := range []int{1, 8, 64} {
		ws = append(ws, load.Workload{Name: fmt.Sprintf("short-%d", n), Kind: load.Short, Connections: n, Size: messageSize,
			Title: fmt.Sprintf("connect, 64 B request, 64 B answer, close; %d at a time", n)})
	}
	for _, n := range []int{1, 64, 1000} {
		name := fmt.Sprintf("rtt-%d", n)
		n = shrink(name, n)
		ws = append(ws, load.Workload{Name: name, Kind: load.Trip, Connections: n, Size: messageSize,
			Title: fmt.Sprintf("round trip of 64 B, %s", connections(n))})
	}
	ws = append(ws, load.Workload{Name: "rtt-64-4k", Kind: load.Trip, Connections: 64, Size: 4096,
		Title: "round trip of 4 KiB, 64 connections"})
	for _, n := range []int{1, 4} {
		ws = append(ws, load.Workload{Name: fmt.Sprintf("bulk-down-%d", n), Kind: load.Down, Connections: n,
			Title: fmt.Sprintf("bulk from backend to client, %s", connections(n))})
	}
	for _, n := range []int{1, 4} {
		ws = append(ws, load.Workload{Name: fmt.Sprintf("bulk-up-%d", n), Kind: load.Up, Connections: n,
			Title: fmt.Sprintf("bulk from client to backend, %s", connections(n))})
	}
	idle := shrink("idle", 2000)
	ws = append(ws,
		load.Workload{Name: "idle", Kind: load.Idle, Connections: idle, Size: messageSize,
			Title: fmt.Sprintf("idle after one round trip of 64 B, %s", connections(idle))},
		load.Workload{Name: "latency", Kind: load.Latency, Connections: latencyConnections, Size: messageSize, Offered: offered,
			Title: fmt.Sprintf("latency at %.0f requests/s of 64 B over %d connections", offered, latencyConnections)},
		load.Workload{Name: "fairness", Kind: load.Fair, Offered: fairLoad * load.Capacity(),
			Title: fmt.Sprintf("%.0f new connections/s at random, %.0f %% of what the channels can do: they serve one at a time, for %v",
				fairLoad*load.Capacity(), 100*fairLoad, list(load.ServiceTimes[:]))})
	return ws, notes
}

func connections(n int) string {
	if n == 1 {
		return "1 connection"
	}
	return fmt.Sprintf("%d connections", n)
}

// list shows durations with a comma between.
func list(ds []time.Duration) string {
	words := make([]string, len(ds))
	for i, d := range ds {
		words[i] = d.String()
	}
	return strings.Join(words, ", ")
}

// selectWorkloads keeps those that the list names, by their name or, where
// none has it, by the part before a "-". An empty list keeps all.
func selectWorkloads(all []load.Workload, list []string) ([]load.Workload, error) {
	if len(list) == 0 {
		return all, nil
	}
	known := make([]string, len(all))
	for i, w := range all {
		known[i] = w.Name
	}
	keep := make([]bool, len(all))
	for _, word := range list {
		if i := slices.Index(known, word); i >= 0 {
			keep[i] = true
			continue
		}
		found := false
		for i, name := range known {
			if strings.HasPrefix(name, word+"-") {
				keep[i], found = true, true
			}
		}
		if !found {
			return nil, fmt.Errorf("no workload %q; there are %s", word, strings.Join(known, ", "))
		}
	}
	var ws []load.Workload
	for i, w := range all {
		if keep[i] {
			ws = append(ws, w)
		}
	}
	return ws, nil
}

// figure is one number of the table.
type figure struct {
	Name  string  `json:"figure"`
	Unit  string  `json:"unit"`
	Value float64 `json:"-"`
	// Most says that larger is better.
	Most bool `json:"larger_is_better"`
	// Spread has the table show the quartiles of the rounds, too.
	Spread bool `json:"-"`
	// Alone says that no value is better than another: there is no ratio.
	Alone bool `json:"-"`
}

// figures turns a sample into the numbers shown for its workload. Those that
// not every proxy tells come last.
func figures(w load.Workload, s load.Sample) []figure {
	fs := commonFigures(w, s)
	if slices.ContainsFunc(s.Loops, func(n int) bool { return n > 0 }) && len(s.Loops) > 1 && w.Kind != load.Short && w.Kind != load.Fair {
		total := 0
		for _, n := range s.Loops {
			total += n
		}
		mean := float64(total) / float64(len(s.Loops))
		fs = append(fs, figure{Name: "skew of loops", Unit: "most/mean", Value: float64(slices.Max(s.Loops)) / mean})
	}
	return fs
}

// commonFigures are those that every proxy has of such a workload.
func commonFigures(w load.Workload, s load.Sample) []figure {
	units := float64(s.Units)
	micros := func(d time.Duration) float64 { return float64(d) / 1e3 }
	switch w.Kind {
	case load.Idle:
		return []figure{
			{Name: "private memory", Unit: "B", Value: float64(s.Memory) / units},
			{Name: "descriptors", Unit: "each", Value: float64(s.Descriptors) / units},
		}
	case load.Fair:
		fs := []figure{
			{Name: "p50", Unit: "ms", Value: micros(s.P50) / 1e3, Spread: true},
			{Name: "p99", Unit: "ms", Value: micros(s.P99) / 1e3, Spread: true},
		}
		for i, n := range s.Served {
			fs = append(fs, figure{Name: fmt.Sprintf("channel %d", i+1), Unit: "%", Value: 100 * float64(n) / units, Alone: true})
		}
		return fs
	case load.Down, load.Up:
		gigabytes := units / 1e9
		return []figure{
			{Name: "proxy CPU", Unit: "ms/GB", Value: float64(s.Proxy) / 1e6 / gigabytes},
			{Name: "machine CPU", Unit: "ms/GB", Value: float64(s.Machine) / 1e6 / gigabytes},
			{Name: "rate", Unit: "GB/s", Value: gigabytes / s.Elapsed.Seconds(), Most: true},
		}
	}
	fs := []figure{
		{Name: "proxy CPU", Unit: "µs", Value: micros(s.Proxy) / units},
		{Name: "machine CPU", Unit: "µs", Value: micros(s.Machine) / units},
		{Name: "rate", Unit: "1/s", Value: units / s.Elapsed.Seconds(), Most: true},
		{Name: "p50", Unit: "µs", Value: micros(s.P50)},
		{Name: "p99", Unit: "µs", Value: micros(s.P99)},
	}
	if w.Kind == load.Latency {
		fs = append(fs, figure{Name: "p99.9", Unit: "µs", Value: micros(s.P999)})
	}
	return fs
}
