// Package exit holds the exit codes of balance, after sysexits(3).
package exit

import (
	"fmt"
	"io"

	"balance/config"
)

// The codes. Only main ends the process with one.
const (
	OK           = 0
	Differ       = 2  // -diff: the configurations differ
	Usage        = 64 // EX_USAGE: wrong options or arguments
	Address      = 65 // EX_DATAERR: a bad address, or a name without one
	NoRendezvous = 66 // EX_NOINPUT: the directory of the control sockets cannot be used
	NoMaster     = 69 // EX_UNAVAILABLE: no daemon to talk to
	System       = 71 // EX_OSERR: the operating system refused, a bind for instance
	Config       = 78 // EX_CONFIG: faults in the configuration file
	DiffFailure  = 1
	Failed       = 1 // -c: a command failed
)

// Because prints each of the errors that were joined in err on a line of its
// own, and returns the code.
func Because(err error, code int, stderr io.Writer) int {
	for _, one := range config.Flatten(err) {
		fmt.Fprintf(stderr, "balance: %v\n", one)
	}
	return code
}
