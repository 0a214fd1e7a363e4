//go:build linux

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// raiseDescriptorLimit sets the soft RLIMIT_NOFILE to the hard one, for this
// process and for those it starts, and returns it.
func raiseDescriptorLimit() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, os.NewSyscallError("getrlimit", err)
	}
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, os.NewSyscallError("setrlimit", err)
	}
	// Some systems have no limit to speak of; proxies size tables by it.
	return int(min(limit.Cur, 1<<20)), nil
}
