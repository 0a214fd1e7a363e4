package balancer

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// BenchmarkFairness plays what the workload fairness of cmd/balance-bench does, without
// a machine to be slow: three channels that serve one request at a time, clients that
// come at random, nothing that takes time but the service. So it tells what the rule of
// each mode comes to by itself. It reports the median and the 99th percentile of the
// latency, and which part of the requests the fast channel got.
func BenchmarkFairness(b *testing.B) {
	for _, test := range []struct {
		mode    Mode
		load    int
		weights []int
	}{
		{LeastConn, 0, []int{1, 1, 1}},
		{LeastConn, 0, []int{1, 1, 4}},
		{RoundRobin, 0, []int{1, 1, 4}},
		{Random, 0, []int{1, 1, 1}},
		{Hash, 125, []int{1, 1, 1}},
	} {
		b.Run(fmt.Sprintf("%s/%v", test.mode, test.weights), func(b *testing.B) {
			for b.Loop() {
				latencies, fast := playFairness(Group{Mode: test.mode, HashLoad: test.load, Channels: weighing(test.weights...)})
				for name, at := range map[string]int{"p50-ms": 50, "p99-ms": 99} {
					b.ReportMetric(latencies[len(latencies)*at/100].Seconds()*1000, name)
				}
				b.ReportMetric(100*fast, "%fast")
			}
		})
	}
}

// playFairness returns the latencies in order, and which part of the requests the last
// channel got.
func playFairness(group Group) (latencies []time.Duration, fast float64) {
	const clients = 200_000
	service := []time.Duration{4 * time.Millisecond, 4 * time.Millisecond, time.Millisecond}
	r := NewRouter([]Group{group}, Options{}, nil)
	random := rand.New(rand.NewPCG(1, 1))
	var now time.Duration
	var served endings
	idle := make([]time.Duration, len(service)) // when a channel has served all that came
	for i := range clients {
		now += time.Duration(random.ExpFloat64() * float64(time.Second) / 1200)
		for len(served) > 0 && served[0].at <= now {
			heap.Pop(&served).(ending).channel.Leave(int64(now))
		}
		route := r.Route(Client{Addr: address(i)}, int64(now))
		route.Next(int64(now))
		k := slices.Index(group.Channels, route.Channel())
		if k == len(service)-1 {
			fast++
		}
		idle[k] = max(idle[k], now) + service[k]
		heap.Push(&served, ending{idle[k], route.Channel()})
		latencies = append(latencies, idle[k]-now)
	}
	slices.Sort(latencies)
	return latencies, fast / clients
}

// endings are the sessions that run, the next to end first.
type endings []ending

type ending struct {
	at      time.Duration
	channel *Channel
}

func (e endings) Len() int           { return len(e) }
func (e endings) Less(i, j int) bool { return e[i].at < e[j].at }
func (e endings) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *endings) Push(x any)        { *e = append(*e, x.(ending)) }
func (e *endings) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}
