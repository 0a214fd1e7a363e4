// Command balance is a TCP load balancer: it accepts clients, gives each a
// channel of the first group that can serve it, and relays.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"balance/config"
	"balance/engine"
)

// Exit codes, after sysexits(3).
const (
	exitOK           = 0
	exitDiffer       = 2  // -diff: the configurations differ
	exitUsage        = 64 // EX_USAGE: wrong options or arguments
	exitAddress      = 65 // EX_DATAERR: a bad address, or a name without one
	exitNoRendezvous = 66 // EX_NOINPUT: the directory of the control sockets cannot be used
	exitNoMaster     = 69 // EX_UNAVAILABLE: no daemon to talk to
	exitSystem       = 71 // EX_OSERR: the operating system refused, a bind for instance
	exitConfig       = 78 // EX_CONFIG: faults in the configuration file
	exitDiffFailure  = 1
	exitFailed       = 1 // -c: a command failed
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the program: it returns the exit code. When ctx ends it stops as on
// a signal.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	o, err := parseOptions(args)
	if err != nil {
		fmt.Fprintf(stderr, "balance: %v\nTry: balance -help\n", err)
		return exitUsage
	}
	switch {
	case o.demoBackend != "":
		return demoBackend(o.demoBackend, stdin, stdout)
	case o.help:
		fmt.Fprint(stdout, usage)
		return exitOK
	case o.version:
		fmt.Fprintf(stdout, "balance %s\n", version())
		return exitOK
	case o.completion != "":
		shells[o.completion](stdout)
		return exitOK
	case o.diff && o.config != "":
		return diffRunning(o, stdout, stderr)
	case o.diff:
		return diff(o, stdout, stderr)
	case o.demo:
		return demo(ctx, o, stdout, stderr)
	case o.driven:
		return drive(o, stdin, stdout, stderr)
	}
	c, content, err := o.load()
	if err != nil {
		printErrors(stderr, err)
		return exitCode(err, o)
	}
	switch {
	case o.check:
		return check(ctx, o, c, content, stdout, stderr)
	case o.printConfig:
		c.Control.StatsFile = o.countersName(c)
		stdout.Write(config.Marshal(c))
		return exitOK
	case o.background() && !isBackgroundChild():
		return goBackground(stderr)
	}
	return serve(ctx, o, c, content, stdout, stderr)
}

// exitCode is the code for an error of loading or of the first Apply.
func exitCode(err error, o *options) int {
	switch {
	case errors.Is(err, config.ErrAddress), errors.Is(err, engine.ErrUnresolved):
		return exitAddress
	case o.config != "":
		return exitConfig
	default:
		return exitUsage
	}
}

// printErrors prints each of the errors that were joined on a line of its own.
func printErrors(w io.Writer, err error) {
	for _, one := range flatten(err) {
		fmt.Fprintf(w, "balance: %v\n", one)
	}
}

// flatten returns the errors that were joined in err, each a single one. An
// error that wraps several in a sentence is a single one.
func flatten(err error) []error {
	var list []error
	switch joined := err.(type) {
	case interface{ WrappedErrors() []error }: // go-multierror
		list = joined.WrappedErrors()
	case interface{ Unwrap() []error }: // errors.Join
		list = joined.Unwrap()
	default:
		return []error{err}
	}
	if all := errors.Join(list...); all == nil || all.Error() != err.Error() {
		return []error{err}
	}
	var flat []error
	for _, one := range list {
		flat = append(flat, flatten(one)...)
	}
	return flat
}

// release is the version of this source; a module build knows better.
const release = "4.0.0-dev"

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return release
}
