// Command balance is a TCP load balancer: it accepts clients, gives each a
// channel of the first group that can serve it, and relays.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"

	"balance/cmd/balance/internal/client"
	"balance/cmd/balance/internal/daemon"
	"balance/cmd/balance/internal/exit"
	"balance/config"
	"balance/control"
)

// The first thread is for main, which waits for nothing that may hang in the
// kernel. A signal to the process goes to the first thread, if that has no other
// to take (complete_signal in kernel/signal.c); to one whose system call does not
// come back it would be lost until another signal comes.
func init() { runtime.LockOSThread() }

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the program: it returns the exit code. When ctx ends it stops as on
// a signal.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	o, err := parseOptions(args)
	if err != nil {
		fmt.Fprintf(stderr, "balance: %v\nTry: balance -help\n", err)
		return exit.Usage
	}
	switch {
	case o.demoBackend != "":
		return daemon.DemoBackend(o.demoBackend, stdin, stdout)
	case o.help:
		fmt.Fprint(stdout, usage(new(options).flags()))
		return exit.OK
	case o.version:
		fmt.Fprintf(stdout, "balance %s\n", version())
		return exit.OK
	case o.completion != "":
		io.WriteString(stdout, shells[o.completion])
		return exit.OK
	case o.complete:
		for _, line := range completeLine(o.classic.Args) {
			fmt.Fprintln(stdout, line)
		}
		return exit.OK
	case o.explain != "":
		return explainKey(o.explain, stdout, stderr)
	case o.foreign != "":
		return importFile(o.foreign, o.classic.Args[0], stdin, stdout, stderr)
	case o.schema:
		stdout.Write(config.Schema())
		return exit.OK
	case o.diff && o.config != "":
		return client.Diff(o.forClient(nil), o.json, stdout, stderr)
	case o.diff:
		return diff(o, stdout, stderr)
	case o.demo:
		return daemon.Demo(ctx, o.forDaemon(config.Document{}), stdout, stderr)
	case o.driven:
		address, err := o.address()
		if err != nil {
			return exit.Because(err, exit.Usage, stderr)
		}
		code := client.Run(o.forClient(address), stdin, stdout, stderr)
		if code == exit.NoMaster {
			fmt.Fprint(stderr, o.meantCommand())
		}
		return code
	}
	document, err := o.load(ctx)
	switch {
	case errors.Is(err, config.ErrAddress):
		return exit.Because(err, exit.Address, stderr)
	case err != nil && o.config != "":
		return exit.Because(err, exit.Config, stderr)
	case err != nil:
		return exit.Because(err, exit.Usage, stderr)
	case o.check:
		return check(ctx, document, stdout, stderr)
	case o.probe:
		return probe(ctx, document.Config, stdout, stderr)
	case o.printConfig:
		c := document.Config
		if o.mapped {
			c.Control.StatsFile = control.CountersName(c)
		}
		stdout.Write(config.Marshal(c))
		return exit.OK
	}
	return daemon.Run(ctx, o.forDaemon(document), stdout, stderr)
}

// release is the version of this source; a module build knows better, and a
// package names its own (-ldflags -X, packaging/build).
var release = "4.0.0-dev"

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return release
}
