package web

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serve starts a server on a port that the kernel picks.
func (r *rig) serve() *Server {
	r.Helper()
	s := NewServer(r.daemon, r.logger())
	r.Cleanup(s.Close)
	r.put(s, Settings{Address: "127.0.0.1:0"})
	return s
}

func (r *rig) put(s *Server, settings Settings) {
	r.Helper()
	finish, err := s.Prepare(context.Background(), settings)
	if err != nil {
		r.Fatal(err)
	}
	finish(true)
}

// fetch returns the status and the body, or -1 if nobody serves.
func fetch(t testing.TB, url string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	answer, err := client.Get(url)
	if err != nil {
		return -1, err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

// free returns the port of an address that nobody listens on.
func free(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestServerFollowsItsSettings(t *testing.T) {
	r := newRig(t)
	r.apply(listener("x", group(r.echo())))
	s := NewServer(r.daemon, r.logger())
	t.Cleanup(s.Close)
	check := func(url, path string, want int) {
		t.Helper()
		if got, body := fetch(t, strings.TrimSuffix(url, "/")+path); got != want {
			t.Errorf("%s%s: status %d, want %d: %s", url, path, got, want, body)
		}
	}
	if s.URL() != "" {
		t.Errorf("served at %s", s.URL())
	}
	r.put(s, Settings{}) // still nothing

	first := Settings{Address: fmt.Sprintf("127.0.0.1:%d", free(t))}
	r.put(s, first)
	url := s.URL()
	check(url, "/", 200)
	check(url, "/debug/pprof/", 404)

	first.PProf = true
	r.put(s, first)
	if s.URL() != url {
		t.Errorf("moved to %s", s.URL())
	}
	check(url, "/debug/pprof/", 200)
	r.put(s, first) // again the same
	check(url, "/debug/pprof/", 200)

	finish, err := s.Prepare(t.Context(), Settings{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	check(url, "/healthz", 200)
	finish(false)
	check(url, "/healthz", 200)
	if s.URL() != url {
		t.Errorf("moved to %s", s.URL())
	}

	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if _, err := s.Prepare(t.Context(), Settings{Address: taken.Addr().String()}); err == nil || !strings.Contains(err.Error(), "address already in use") ||
		!strings.HasPrefix(err.Error(), fmt.Sprintf("control http %q: ", taken.Addr())) {
		t.Errorf("error %v", err)
	}
	check(url, "/debug/pprof/", 200)

	r.put(s, Settings{Address: "127.0.0.1:0"})
	second := s.URL()
	check(second, "/healthz", 200)
	eventually(t, "the first address is closed", func() bool { code, _ := fetch(t, url); return code == -1 })

	r.put(s, Settings{})
	eventually(t, "nothing is served", func() bool { code, _ := fetch(t, second); return code == -1 })
	if s.URL() != "" {
		t.Errorf("served at %s", s.URL())
	}
	r.put(s, first)
	check(s.URL(), "/healthz", 200)

	s.Close()
	if code, _ := fetch(t, url); code != -1 {
		t.Errorf("status %d after the end", code)
	}
	r.put(s, first) // too late, and harmless
	if s.URL() != "" {
		t.Errorf("served at %s after the end", s.URL())
	}
}

// speak sends a request as it stands, and returns the answer.
func speak(t testing.TB, s *Server, request string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp4", strings.TrimSuffix(strings.TrimPrefix(s.URL(), "http://"), "/"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	answer.Body.Close()
	return answer
}

// Probes that know nothing but HTTP/1.0 are answered; nobody else is who does
// not say whom they mean.
func TestServerAnswersProbesWithoutHost(t *testing.T) {
	r := newRig(t)
	r.apply(listener("x", group(r.echo())))
	s := r.serve()
	for request, want := range map[string]int{
		"GET /healthz HTTP/1.0\r\n\r\n":                       200,
		"GET /readyz HTTP/1.0\r\n\r\n":                        200,
		"GET /metrics HTTP/1.0\r\n\r\n":                       421,
		"GET / HTTP/1.0\r\n\r\n":                              421,
		"GET http://evil.example/healthz HTTP/1.0\r\n\r\n":    421,
		"GET /healthz HTTP/1.0\r\nHost: evil.example\r\n\r\n": 421,
		"GET /healthz HTTP/1.1\r\n\r\n":                       400, // RFC 9112, 3.2
		"OPTIONS /healthz HTTP/1.0\r\n\r\n":                   405,
		"GET /healthz/../metrics HTTP/1.0\r\n\r\n":            421,
	} {
		if got := speak(t, s, request); got.StatusCode != want {
			t.Errorf("%q: status %d, want %d", request, got.StatusCode, want)
		}
	}
}

// From every address to one, and back: the kernel lets no two sockets have
// them both unless both agree, and nobody else may join in.
func TestServerMovesToAnOverlappingAddress(t *testing.T) {
	r := newRig(t)
	s := NewServer(r.daemon, r.logger())
	t.Cleanup(s.Close)
	port := free(t)
	url := fmt.Sprintf("http://127.0.0.1:%d/healthz", port)
	for _, host := range []string{"", "127.0.0.1", "", "127.0.0.1"} {
		r.put(s, Settings{Address: fmt.Sprintf("%s:%d", host, port)})
		eventually(t, "it is served", func() bool { code, _ := fetch(t, url); return code == 200 })
		other := NewServer(r.daemon, r.logger())
		if _, err := other.Prepare(t.Context(), Settings{Address: fmt.Sprintf("127.0.0.1:%d", port)}); err == nil {
			t.Errorf("another server can have %q too", host)
		}
		other.Close()
	}
}

// overUnix is fetch over a unix socket, by a host that only a test can name.
func overUnix(t testing.TB, path, target string) (int, string) {
	t.Helper()
	var dialer net.Dialer
	client := http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dialer.DialContext(ctx, "unix", path) },
	}}
	answer, err := client.Get("http://any.example" + target)
	if err != nil {
		return -1, err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestServerOnUnixSocket(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	r := newRig(t)
	r.apply(listener("x", group(r.echo())))
	s := NewServer(r.daemon, r.logger())
	t.Cleanup(s.Close)
	dir := t.TempDir()
	first, second := filepath.Join(dir, "a.sock"), filepath.Join(dir, "b.sock")
	expect := func(path string, there bool) {
		t.Helper()
		info, err := os.Lstat(path)
		switch {
		case !there:
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %v, want none", path, err)
			}
			return
		case err != nil:
			t.Error(err)
			return
		case info.Mode() != fs.ModeSocket|0o600:
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		for _, target := range []string{"/healthz", "/metrics", "/", "/api/v1/status"} {
			if code, body := overUnix(t, path, target); code != 200 {
				t.Errorf("%s of %s: status %d: %s", target, path, code, body)
			}
		}
	}

	// What a daemon leaves behind that was killed.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: first})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	r.put(s, Settings{Address: "unix:" + first})
	if s.URL() != "unix:"+first {
		t.Errorf("served at %s", s.URL())
	}
	expect(first, true)

	other := NewServer(r.daemon, r.logger())
	defer other.Close()
	for path, want := range map[string]string{
		first:                            "somebody listens there",
		filepath.Join(dir, "no", "sock"): "no such file or directory",
		"/dev/null":                      "is not a socket",
	} {
		if _, err := other.Prepare(t.Context(), Settings{Address: "unix:" + path}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	expect(first, true)

	// To another path, to TCP and back, and given up half way.
	r.put(s, Settings{Address: "unix:" + second})
	expect(first, false)
	expect(second, true)
	r.put(s, Settings{Address: "127.0.0.1:0"})
	expect(second, false)
	if code, _ := fetch(t, s.URL()+"healthz"); code != 200 {
		t.Errorf("status %d", code)
	}
	finish, err := s.Prepare(t.Context(), Settings{Address: "unix:" + first})
	if err != nil {
		t.Fatal(err)
	}
	finish(false)
	expect(first, false)
	for range 3 { // at once there and back
		r.put(s, Settings{Address: "unix:" + first})
		r.put(s, Settings{Address: "unix:" + second})
	}
	expect(second, true)
	r.put(s, Settings{})
	expect(second, false)

	// A name that is another's by then is left to it.
	r.put(s, Settings{Address: "unix:" + first})
	if err := os.Remove(first); err != nil {
		t.Fatal(err)
	}
	r.put(other, Settings{Address: "unix:" + first})
	s.Close()
	expect(first, true)
	other.Close()
	expect(first, false)
	for line := range strings.Lines(r.log.String()) {
		if strings.Contains(line, "level=ERROR") {
			t.Error(line)
		}
	}
}

// Who connects and says nothing, never reads or stays for long does not keep
// others away.
func TestServerIsBounded(t *testing.T) {
	r := newRig(t)
	s := r.serve()
	address := strings.TrimSuffix(strings.TrimPrefix(s.URL(), "http://"), "/")
	conn, err := net.Dial("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: %s\r\n\r\n", strings.Repeat("x", 64<<10))
	conn.SetReadDeadline(time.Now().Add(patience))
	answer := make([]byte, 12)
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "HTTP/1.1 431" {
		t.Errorf("a large header: %q, %v", answer, err)
	}
	s.mu.Lock()
	server := s.site.server
	s.mu.Unlock()
	if server.ReadTimeout <= 0 || server.WriteTimeout <= 0 || server.IdleTimeout <= 0 {
		t.Errorf("timeouts %+v", server)
	}
	for _, idle := range []bool{false, true} {
		for range maxConnections {
			conn, err := net.Dial("tcp4", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if !idle {
				continue
			}
			fmt.Fprint(conn, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
			conn.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "HTTP/1.1 200" {
				t.Errorf("who will be idle got %q, %v", answer, err)
			}
		}
		if code, body := fetch(t, s.URL()+"healthz"); code != 200 {
			t.Errorf("idle %t: status %d: %s", idle, code, body)
		}
	}
}
