//go:build linux

package peers

import (
	"fmt"
	"strings"
	"syscall"

	"balance/cmd/balance-bench/internal/load"
)

// haproxy: once copying, once splicing whatever it relays. Its splice-auto is
// not measured: it waits for streams faster than its buffer shows, and copies.
func haproxy() []Proxy {
	variant := func(name string, splice bool) Proxy {
		return Proxy{Name: name, death: syscall.SIGKILL,
			file: func(s Settings) string { return haproxyConfig(s, splice, "roundrobin") },
			args: haproxyArgs}
	}
	return []Proxy{variant("haproxy", false), variant("haproxy-splice", true)}
}

func haproxyLeastConn() []Proxy {
	return []Proxy{{Name: "haproxy leastconn", death: syscall.SIGKILL,
		file: func(s Settings) string { return haproxyConfig(s, false, "leastconn") },
		args: haproxyArgs}}
}

func haproxyArgs(_ Settings, config string) []string { return []string{"-db", "-f", config} }

func haproxyConfig(s Settings, splice bool, algorithm string) string {
	global, option := "    nosplice\n", ""
	if splice {
		global, option = "", "    option splice-request\n    option splice-response\n"
	}
	var servers strings.Builder
	for i, b := range s.Backends {
		fmt.Fprintf(&servers, "    server s%d %s\n", i, b)
	}
	return fmt.Sprintf(`global
    nbthread %d
    maxconn %d
%sdefaults
    mode tcp
    timeout connect 5s
    timeout client %s
    timeout server %s
%slisten bench
    bind %s backlog %d
    balance %s
%s`, s.Threads, s.sessions(), global, seconds(quiet), seconds(quiet), option,
		s.listen, load.Backlog, algorithm, servers.String())
}
