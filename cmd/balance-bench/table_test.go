//go:build linux

package main

import (
	"strings"
	"testing"
	"time"

	"balance/cmd/balance-bench/internal/load"
	"balance/cmd/balance-bench/internal/peers"
)

func TestSelectWorkloads(t *testing.T) {
	all, _ := allWorkloads(1<<20, 1)
	for _, c := range []struct{ list, want string }{
		{"", "short-1 short-8 short-64 rtt-1 rtt-64 rtt-1000 rtt-64-4k bulk-down-1 bulk-down-4 bulk-up-1 bulk-up-4 idle latency fairness"},
		{"idle", "idle"},
		{"rtt-64", "rtt-64"},
		{"bulk", "bulk-down-1 bulk-down-4 bulk-up-1 bulk-up-4"},
		{"latency, bulk-up,short-8", "short-8 bulk-up-1 bulk-up-4 latency"},
	} {
		ws, err := selectWorkloads(all, names(c.list))
		var got []string
		for _, w := range ws {
			got = append(got, w.Name)
		}
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%q selects %q, %v; want %q", c.list, got, err, c.want)
		}
	}
	for _, bad := range []string{"shor", "idle,x", "rtt-6"} {
		if _, err := selectWorkloads(all, names(bad)); err == nil {
			t.Errorf("no error of %q", bad)
		}
	}
}

func TestWorkloadsShrinkToTheLimit(t *testing.T) {
	for _, limit := range []int{leastDescriptors, 4096, 20000} {
		ws, notes := allWorkloads(limit, 1)
		noted := strings.Join(notes, "\n")
		for _, w := range ws {
			if (w.Name == "rtt-1000" && w.Connections < 1000 || w.Name == "idle" && w.Connections < 2000) != strings.Contains(noted, w.Name+":") {
				t.Errorf("limit %d: %d connections of %s; notes %q", limit, w.Connections, w.Name, notes)
			}
			if w.Connections < 1 && w.Kind != load.Fair || w.Connections*descriptorsPerSession > limit {
				t.Errorf("limit %d: %d connections of %s", limit, w.Connections, w.Name)
			}
		}
	}
}

// exampleReport has one row of ours, two peers and a second instance of ours,
// in two rounds of two workloads; the second peer failed in the idle one.
func exampleReport() *report {
	all, _ := allWorkloads(1<<20, 1)
	ws, _ := selectWorkloads(all, []string{"short-1", "idle"})
	r := newReport(options{rounds: 2, duration: time.Second, threads: 1}, ws, []string{"a note"})
	r.Machine = "a machine"
	r.add(peers.Proxy{Name: "ours", Version: "v", Ours: true}, ws)
	r.add(peers.Proxy{Name: "first", Version: "w"}, ws)
	r.add(peers.Proxy{Name: "second", Version: "w"}, ws)
	r.add(peers.Proxy{Name: "A/A ours", Version: "v", Ours: true, Again: true}, ws)
	for name, micros := range map[string][2]int{"ours": {30, 34}, "first": {40, 40}, "second": {50, 10}, "A/A ours": {24, 24}} {
		for _, m := range micros {
			r.sample(ws[0], name, load.Sample{Units: 1000, Elapsed: time.Duration(m) * time.Millisecond, Proxy: time.Duration(m) * time.Millisecond,
				Machine: 100 * time.Millisecond, P50: time.Millisecond, P99: 2 * time.Millisecond})
		}
	}
	for name, memory := range map[string]int64{"ours": 160, "first": 3200, "A/A ours": 160} {
		s := load.Sample{Units: 10, Memory: 10 * memory, Descriptors: 20}
		if name != "first" {
			s.Loops = []int{6, 4}
		}
		r.sample(ws[1], name, s)
	}
	return r
}

func TestTable(t *testing.T) {
	var text strings.Builder
	if err := exampleReport().writeTable(&text); err != nil {
		t.Fatal(err)
	}
	const want = `a machine
v; w
medians, rounds: 2, 1s a cell, threads of a proxy: 1; × is the ratio to the best peer

short-1: connect, 64 B request, 64 B answer, close; 1 at a time
            proxy CPU µs     ×  machine CPU µs     ×  rate 1/s     ×  p50 µs     ×  p99 µs     ×
      ours          32.0  1.07             100  1.00     31373  0.52    1000  1.00    2000  1.00
     first          40.0  1.33             100  1.00     25000  0.42    1000  1.00    2000  1.00
    second          30.0  1.00             100  1.00     60000  1.00    1000  1.00    2000  1.00
  A/A ours          24.0  0.75             100  1.00     41667  1.33    1000  1.00    2000  1.00

idle: idle after one round trip of 64 B, 2000 connections
            private memory B     ×  descriptors each     ×  skew of loops most/mean     ×
      ours               160  0.05              2.00  1.00                     1.20     –
     first              3200  1.00              2.00  1.00                        –     –
    second                 –     –                 –     –                        –     –
  A/A ours               160  1.00              2.00  1.00                     1.20  1.00

note: a note
`
	if text.String() != want {
		t.Errorf("got\n%s\nwant\n%s", text.String(), want)
	}
}

// The rows of a workload are its own.
func TestTableOfFairness(t *testing.T) {
	all, _ := allWorkloads(1<<20, 1)
	ws, _ := selectWorkloads(all, []string{"short-1", "fairness"})
	r := newReport(options{rounds: 3, duration: time.Second, threads: 1}, ws, nil)
	r.Machine = "a machine"
	r.add(peers.Proxy{Name: "plane", Version: "v", Ours: true}, ws[:1])
	r.add(peers.Proxy{Name: "leastconn", Version: "v", Ours: true}, ws[1:])
	r.add(peers.Proxy{Name: "peer", Version: "w"}, ws[1:])
	r.add(peers.Proxy{Name: "A/A leastconn", Version: "v", Ours: true, Again: true}, ws[1:])
	for name, millis := range map[string][3]int{"leastconn": {9, 5, 3}, "peer": {10, 10, 10}, "A/A leastconn": {4, 4, 4}} {
		for _, m := range millis {
			r.sample(ws[1], name, load.Sample{Units: 1200, P50: time.Duration(m) * time.Millisecond / 4, P99: time.Duration(m) * time.Millisecond,
				Served: [3]int64{240, 180, 780}})
		}
	}
	r.note("once", "twice")
	r.note("twice")
	var text strings.Builder
	if err := r.writeTable(&text); err != nil {
		t.Fatal(err)
	}
	const want = `a machine
v; w
medians, rounds: 3, 1s a cell, threads of a proxy: 1; × is the ratio to the best peer

short-1: connect, 64 B request, 64 B answer, close; 1 at a time
         proxy CPU µs  ×  machine CPU µs  ×  rate 1/s  ×  p50 µs  ×  p99 µs  ×
  plane             –  –               –  –         –  –       –  –       –  –

fairness: 1200 new connections/s at random, 80 % of what the channels can do: they serve one at a time, for 4ms, 4ms, 1ms
                 p50 ms  quartiles     ×  p99 ms  quartiles     ×  channel 1 %  channel 2 %  channel 3 %
      leastconn    1.25  1.00–1.75  0.50    5.00  4.00–7.00  0.50         20.0         15.0         65.0
           peer    2.50  2.50–2.50  1.00    10.0  10.0–10.0  1.00         20.0         15.0         65.0
  A/A leastconn    1.00  1.00–1.00  0.80    4.00  4.00–4.00  0.80         20.0         15.0         65.0

note: once
note: twice
`
	if text.String() != want {
		t.Errorf("got\n%s\nwant\n%s", text.String(), want)
	}
}

func TestTableWithoutPeers(t *testing.T) {
	all, _ := allWorkloads(1<<20, 1)
	r := newReport(options{}, all[:1], nil)
	r.add(peers.Proxy{Name: "ours", Ours: true}, all[:1])
	r.add(peers.Proxy{Name: "A/A ours", Ours: true, Again: true}, all[:1])
	for _, name := range []string{"ours", "A/A ours"} {
		r.sample(all[0], name, load.Sample{Units: 1, Elapsed: 1, Proxy: 1, Machine: 1, P50: 1, P99: 1})
	}
	r.finish()
	rows := r.Workloads[0].Rows
	if rows[0].Figures[0].Ratio != nil {
		t.Errorf("a ratio of %v without a peer", *rows[0].Figures[0].Ratio)
	}
	if x := rows[1].Figures[0].Ratio; x == nil || *x != 1 {
		t.Errorf("A/A ratio %v", x)
	}
}

func TestFigures(t *testing.T) {
	s := load.Sample{Units: 2e9, Elapsed: 2 * time.Second, Proxy: time.Second, Machine: 3 * time.Second,
		P50: 1500, P99: 2500, P999: 3500, Memory: 4e9, Descriptors: 4e9, Loops: []int{3, 5}, Served: [3]int64{2e8, 4e8, 14e8}}
	for _, c := range []struct {
		kind load.Kind
		want map[string]float64
	}{
		{load.Up, map[string]float64{"proxy CPU ms/GB": 500, "machine CPU ms/GB": 1500, "rate GB/s": 1, "skew of loops most/mean": 1.25}},
		{load.Idle, map[string]float64{"private memory B": 2, "descriptors each": 2, "skew of loops most/mean": 1.25}},
		{load.Trip, map[string]float64{"proxy CPU µs": 0.0005, "machine CPU µs": 0.0015, "rate 1/s": 1e9, "p50 µs": 1.5, "p99 µs": 2.5, "skew of loops most/mean": 1.25}},
		{load.Latency, map[string]float64{"proxy CPU µs": 0.0005, "machine CPU µs": 0.0015, "rate 1/s": 1e9, "p50 µs": 1.5, "p99 µs": 2.5, "p99.9 µs": 3.5, "skew of loops most/mean": 1.25}},
		{load.Fair, map[string]float64{"p50 ms": 0.0015, "p99 ms": 0.0025, "channel 1 %": 10, "channel 2 %": 20, "channel 3 %": 70}},
	} {
		fs := figures(load.Workload{Kind: c.kind}, s)
		if len(fs) != len(c.want) {
			t.Errorf("%s: %d figures, want %d", c.kind, len(fs), len(c.want))
		}
		for _, f := range fs {
			if want, ok := c.want[f.Name+" "+f.Unit]; !ok || f.Value != want {
				t.Errorf("%s: %s is %v %s, want %v", c.kind, f.Name, f.Value, f.Unit, want)
			}
			if f.Most != (f.Name == "rate") {
				t.Errorf("%s: %s is better when larger: %v", c.kind, f.Name, f.Most)
			}
		}
	}
}

func TestNumber(t *testing.T) {
	for x, want := range map[float64]string{0: "0.00", 0.0312: "0.031", 0.00049: "0.00049", 0.5: "0.50", 1: "1.00", 9.996: "10.00", 31.66: "31.7", 186.2: "186", 12168: "12168", -3: "-3.00"} {
		if got := number(x); got != want {
			t.Errorf("number(%v) = %s, want %s", x, got, want)
		}
	}
}
