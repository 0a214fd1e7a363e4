//go:build linux

package peers

import (
	"fmt"
	"syscall"

	"balance/cmd/balance-bench/internal/load"
)

// pen has one thread, whatever is asked for.
func pen() []Proxy {
	return []Proxy{{Name: "pen", death: syscall.SIGKILL, args: func(s Settings, _ string) []string { return penArgs(s) }}}
}

func penArgs(s Settings) []string {
	return append([]string{"-f", "-r", "-t", "5", "-x", fmt.Sprint(s.sessions()), "-q", fmt.Sprint(load.Backlog),
		s.listen}, s.Backends...)
}
