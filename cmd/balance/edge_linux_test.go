package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// onBothPlanes runs a test with each data plane, and at the same time.
func onBothPlanes(t *testing.T, test func(t *testing.T, plane string)) {
	t.Helper()
	for _, plane := range []string{"eventloop", "portable"} {
		t.Run(plane, func(t *testing.T) {
			t.Parallel()
			test(t, plane)
		})
	}
}

// startEdge starts balance with a data plane and the tables of listeners. Each
// session is in its log.
func startEdge(t *testing.T, plane, listeners string) *loggedDaemon {
	t.Helper()
	file := filepath.Join(t.TempDir(), "edge.toml")
	writeFile(t, file, fmt.Sprintf("[defaults]\ndata_plane = %q\n[log]\nsessions = \"all\"\n", plane)+listeners)
	return startLogged(t, "balance", "-config", file)
}

// tryFrom connects from an address.
func tryFrom(from string, to net.Addr) (net.Conn, error) {
	dialer := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.DialContext(context.Background(), to.Network(), to.String())
	if err == nil {
		conn.SetDeadline(time.Now().Add(patience))
	}
	return conn, err
}

// asked is what a server answers to a request from an address, and the client's
// own address; without a request it is not asked, and speaks by itself.
func asked(from string, to net.Addr, request string) (answer string, own netip.AddrPort, err error) {
	conn, err := tryFrom(from, to)
	if err != nil {
		return "", own, err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		return "", own, err
	}
	all, err := io.ReadAll(conn)
	answer = string(all)
	if _, body, found := strings.Cut(answer, "\r\n\r\n"); found {
		answer = body
	}
	return answer, conn.LocalAddr().(*net.TCPAddr).AddrPort(), err
}

// getRequest is the shortest of HTTP, after whose answer the server closes.
const getRequest = "GET / HTTP/1.0\r\n\r\n"

// startNginx starts nginx with a block of http and one of stream.
func startNginx(t *testing.T, dir, http, stream string) {
	t.Helper()
	config := filepath.Join(dir, "nginx.conf")
	writeFile(t, config, strings.NewReplacer("DIR", dir, "HTTP", strings.ReplaceAll(http, "DIR", dir), "STREAM", stream).Replace(`
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
pid DIR/nginx.pid;
error_log DIR/error.log notice;
worker_processes 1;
events { worker_connections 1024; }
http {
	access_log DIR/access.log;
	client_body_temp_path DIR/body;
	proxy_temp_path DIR/proxy;
	fastcgi_temp_path DIR/fastcgi;
	uwsgi_temp_path DIR/uwsgi;
	scgi_temp_path DIR/scgi;
	default_type text/plain;
	HTTP
}
stream {
	STREAM
}
`))
	startServing(t, dir, "nginx", "-c", config, "-e", "stderr")
}
