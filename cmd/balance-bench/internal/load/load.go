//go:build linux

// Package load makes the load that proxies are measured under. Both of its
// ends, the backends behind a proxy and the generators before it, are copies of
// the running program in processes of their own: PlayRole is what main does
// first.
package load

import "time"

// Kind is what a generator does with its connections.
type Kind string

const (
	Short   Kind = "short"   // connect, request, answer, close, again
	Trip    Kind = "rtt"     // request, answer, again, on lasting connections
	Down    Kind = "down"    // backend to client, as fast as it goes
	Up      Kind = "up"      // client to backend, as fast as it goes
	Idle    Kind = "idle"    // connections that do nothing
	Latency Kind = "latency" // requests at fixed times, ready or not
	Fair    Kind = "fair"    // connections at random times, ready or not, to servers of unequal speed
)

// Workload is one kind of work, in one size.
type Workload struct {
	Name  string
	Title string
	Kind  Kind
	// Connections are open at the same time; 0 for Fair, which has as many as it
	// takes.
	Connections int
	// Size is the bytes of a request, and of its answer. Fair has its own.
	Size int
	// Offered is the requests per second of Latency and, on average, of Fair.
	Offered float64
}

// Job is what one generator process has to do. It goes there as JSON on its
// standard input; the sample comes back as JSON on its standard output.
type Job struct {
	Workload Workload
	// Target is the address of the proxy, Root its process.
	Target string
	Root   int
	// Status is the command that tells how many sessions each loop of the
	// proxy holds; empty if it cannot.
	Status []string
	// Threads is the number of loops that make the load.
	Threads int
	// Warm runs unmeasured before Duration does.
	Warm, Duration time.Duration
	// Count, unless 0, ends the measured stretch after so many units
	// (connections, round trips, or MiB of a bulk workload).
	Count int64
	// Settle is how long idle connections rest before they are measured.
	Settle time.Duration
	// Seed decides all that Fair draws at random: proxies that are given the same
	// seed get the same clients at the same times.
	Seed uint64
}

// Sample is what a job measured: one workload through one proxy, once.
// Durations are nanoseconds.
type Sample struct {
	// Units is how many connections or round trips were made, or bytes moved.
	Units   int64
	Elapsed time.Duration
	// Proxy is the CPU time of the proxy and its descendants.
	Proxy time.Duration
	// Machine is the time the CPUs of the machine were not idle.
	Machine        time.Duration
	P50, P99, P999 time.Duration
	// Memory, in bytes, and Descriptors are the growth of the proxy over
	// Units idle connections.
	Memory, Descriptors int64
	// Loops is how many sessions each loop of the proxy held at the end;
	// empty if it does not tell.
	Loops []int
	// Served is how many units each of the servers of Fair has answered.
	Served [len(ServiceTimes)]int64
}

// Backlog is the queue that the listening sockets of backends and proxies need,
// so that no workload overflows one.
const Backlog = 4096
