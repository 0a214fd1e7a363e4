//go:build linux

package peers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"balance/cmd/balance-bench/internal/load"
)

// streamModules are where distributions put nginx's stream module; elsewhere
// it is taken to be built in.
var streamModules = []string{
	"/usr/lib/nginx/modules/ngx_stream_module.so",
	"/usr/lib64/nginx/modules/ngx_stream_module.so",
	"/usr/share/nginx/modules/ngx_stream_module.so",
}

func nginx() []Proxy { return nginxRow("nginx", "") }

// nginxLeastConn shares its counts among the workers.
func nginxLeastConn() []Proxy {
	return nginxRow("nginx least_conn", "        zone bench 64k;\n        least_conn;\n")
}

// nginxRow is nginx with the lines before the servers.
func nginxRow(name, choice string) []Proxy {
	module := ""
	for _, path := range streamModules {
		if _, err := os.Stat(path); err == nil {
			module = path
			break
		}
	}
	// The master ends its workers when it is asked to, not when it is killed.
	return []Proxy{{Name: name, death: syscall.SIGTERM,
		file: func(s Settings) string { return nginxConfig(s, module, choice) },
		args: func(_ Settings, config string) []string {
			return []string{"-p", filepath.Dir(config), "-e", "stderr", "-c", config}
		}}}
}

func nginxConfig(s Settings, module, choice string) string {
	loading := ""
	if module != "" {
		loading = "load_module " + module + ";\n"
	}
	var servers strings.Builder
	for _, b := range s.Backends {
		fmt.Fprintf(&servers, "        server %s;\n", b)
	}
	return fmt.Sprintf(`%sdaemon off;
worker_processes %d;
worker_rlimit_nofile %d;
pid nginx.pid;
error_log stderr crit;
events {
    worker_connections %d;
}
stream {
    upstream bench {
%s%s    }
    server {
        listen %s backlog=%d;
        proxy_pass bench;
        proxy_connect_timeout 5s;
        proxy_timeout %s;
    }
}
`, loading, s.Threads, s.Descriptors, 2*s.sessions(), choice, servers.String(), s.listen, load.Backlog, seconds(quiet))
}
