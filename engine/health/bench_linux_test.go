package health

import (
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"balance/engine/balancer"
	"balance/engine/spec"
)

// BenchmarkTenThousand checks 10 000 targets by TCP every 2 s, for as long as b.N
// checks take at that rate, and prints which share of a core the process takes
// for it (getrusage, user and system). The targets are addresses of the loopback,
// so the kernel's work for the servers' half of each handshake is in it, too: over
// a network it would not be. The port is below
// those that connect picks, as those of servers are: others cost one call more.
func BenchmarkTenThousand(b *testing.B) {
	const targets, interval = 10_000, 2 * time.Second
	var every net.Listener
	for low := 20_000; every == nil; low++ {
		every, _ = net.Listen("tcp4", ":"+strconv.Itoa(low))
	}
	defer every.Close()
	port := uint16(every.Addr().(*net.TCPAddr).Port)
	set := map[*balancer.Channel]Target{}
	check := spec.DefaultCheck()
	check.Type = spec.CheckTCP
	check.Interval = interval
	for i := range targets {
		host := "127.1." + strconv.Itoa(i/200) + "." + strconv.Itoa(i%200+1)
		key := balancer.Key{Host: host, Port: port}
		set[balancer.NewChannel(key)] = Target{Host: host, Port: port, Check: check}
	}
	var passed, failed atomic.Int64
	c := New(Options{
		Addresses: func(host string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(host)} },
		Report: func(_ *balancer.Channel, _ balancer.Health, _ bool, r Result) {
			if r.Outcome == Passed {
				passed.Add(1)
			} else {
				failed.Add(1)
			}
		},
	})
	defer c.Close()
	c.Set(set)
	await := func(n int64) {
		for passed.Load() < n {
			if failed.Load() > 0 {
				b.Fatal("a check failed")
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	await(targets) // each once
	clear(set)
	var before, after unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &before)
	b.ResetTimer()
	n := passed.Load()
	await(n + int64(max(b.N, targets)))
	n = passed.Load() - n
	took := b.Elapsed()
	b.StopTimer()
	unix.Getrusage(unix.RUSAGE_SELF, &after)
	used := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	b.ReportMetric(100*float64(used)/float64(took), "%core")
	b.ReportMetric(float64(used.Microseconds())/float64(n), "µs/check")
	b.ReportMetric(float64(n)/took.Seconds(), "checks/s")
}
