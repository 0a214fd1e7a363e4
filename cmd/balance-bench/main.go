//go:build linux

// Command balance-bench measures TCP proxies side by side on one machine:
// this project's daemon, each of its data planes, against haproxy, nginx and
// pen where they are installed.
//
//	go run ./cmd/balance-bench -against haproxy,nginx,pen
//
// It starts backends, every proxy in front of them, and a load generator
// for each cell of the table, all on loopback ports that the kernel picks. The
// workloads run one after the other, all proxies taking turns within each, in
// an order drawn anew each time; the table shows the medians of the rounds.
//
// Every proxy has its defaults but for the limits, queues and timeouts that
// would get in the way, and the number of threads, which is the same for all
// that can have it (-threads). haproxy runs twice, with and without splice.
//
// What the figures mean:
//
//   - proxy CPU is the CPU time of the proxy's process and all its descendants
//     for each connection, round trip or GB (10^9 bytes).
//   - machine CPU is the time that all CPUs of the machine together were not
//     idle. It holds the generator and the backends too, the same work in each
//     row, and whatever else the machine does meanwhile.
//   - p50, p99 and p99.9 are latencies as the client sees them. Those of the
//     workload "latency" count from the time a request was meant to be sent, so
//     that a stall is seen in full.
//   - private memory and descriptors are the growth of a fresh proxy over many
//     connections, each idle after one round trip.
//   - the workload "fairness" has rows and backends of its own: ways to choose a
//     channel, and channels that serve one request at a time, one of them four
//     times as fast as the others. Clients come at random, with a connection and
//     an address of their own for each request; its latencies, too, count from
//     the time a request was meant to be sent. "channel 1" to "channel 3" are how
//     many of the requests each has got. All rows of a round get the same
//     clients.
//   - quartiles are those of the rounds.
//   - × stands for the ratio to the best peer, which is the best figure among
//     the rows that are not this project's.
//   - A/A is a second instance of another row. Its ratios are to that row: what
//     differs from 1 is noise.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"balance/cmd/balance-bench/internal/load"
)

func main() {
	if ok, err := load.PlayRole(); ok {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// The children live as long as the thread that starts them.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := runCommandLine(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// options are the command line.
type options struct {
	against   string
	balance   string
	workloads string
	rounds    int
	threads   int
	duration  time.Duration
	count     int64
	offered   float64
	json      bool
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	var quick bool
	flags := flag.NewFlagSet("balance-bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.against, "against", "haproxy,nginx,pen", "proxies to compare with, a comma between `names`; \"\" for none")
	flags.StringVar(&o.balance, "balance", "", "`paths` of the builds of balance to measure, a comma between them, \"none\" to leave it out (default: built from the source around)")
	flags.StringVar(&o.workloads, "workloads", "", "`names` of the workloads, a comma between; short, rtt, bulk stand for all of theirs (default all)")
	flags.IntVar(&o.rounds, "rounds", 5, "`number` of rounds that medians are of")
	flags.IntVar(&o.threads, "threads", 1, "event loops of each proxy and of the generator")
	flags.DurationVar(&o.duration, "duration", time.Second, "length of one cell: one workload through one proxy, once")
	flags.Int64Var(&o.count, "count", 0, "end a cell after a `number` of connections, round trips or MiB, instead of -duration")
	flags.Float64Var(&o.offered, "offered", 20000, "requests per second of the workload latency")
	flags.BoolVar(&o.json, "json", false, "print JSON, with every round, instead of the table")
	flags.BoolVar(&quick, "quick", false, "a first look within a minute: -rounds 1 -duration 150ms")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if quick {
		set := make(map[string]bool)
		flags.Visit(func(f *flag.Flag) { set[f.Name] = true })
		if !set["rounds"] {
			o.rounds = 1
		}
		if !set["duration"] {
			o.duration = 150 * time.Millisecond
		}
	}
	fail := func(format string, args ...any) (options, error) {
		err := fmt.Errorf(format, args...)
		fmt.Fprintln(stderr, "balance-bench:", err)
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return fail("unexpected argument %q", flags.Arg(0))
	case o.rounds < 1 || o.rounds > 1000:
		return fail("rounds %d is not 1 to 1000", o.rounds)
	case o.threads < 1 || o.threads > 1024:
		return fail("threads %d is not 1 to 1024", o.threads)
	case o.duration < 10*time.Millisecond || o.duration > time.Minute:
		return fail("duration %v is not 10ms to 1m", o.duration)
	case o.count < 0 || o.count > 1e8:
		return fail("count %d is not 0 to 100000000", o.count)
	case !(o.offered >= 1 && o.offered <= 1e7):
		return fail("offered load %v is not 1 to 10000000", o.offered)
	}
	return o, nil
}

// runCommandLine is main without the process around it; it returns the exit
// code: 2 for a wrong command line, 1 for anything not measured that was asked
// for.
func runCommandLine(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2
	}
	report, err := compareProxies(ctx, o, stderr)
	if report != nil {
		var writeErr error
		if o.json {
			writeErr = report.writeJSON(stdout)
		} else {
			writeErr = report.writeTable(stdout)
		}
		if err == nil {
			err = writeErr
		}
	}
	if err != nil {
		fmt.Fprintln(stderr, "balance-bench:", err)
		return 1
	}
	return 0
}

// names splits a comma-separated list.
func names(list string) []string {
	var words []string
	for _, word := range strings.Split(list, ",") {
		if word = strings.TrimSpace(word); word != "" {
			words = append(words, word)
		}
	}
	return words
}
