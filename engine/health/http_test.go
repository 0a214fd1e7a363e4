package health

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"balance/engine/spec"
)

func TestHTTP(t *testing.T) {
	for _, test := range []struct {
		name   string
		check  func(*spec.Check)
		says   string
		want   Outcome
		answer string // after the URL
	}{
		{"ok", nil, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Passed, "answered 200"},
		{"unavailable", nil, "HTTP/1.1 503 Service Unavailable\r\n\r\n", Answered, "answered 503, not 200-399"},
		{"no redirect is followed", nil, "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", Passed, "answered 302"},
		{"other statuses", func(c *spec.Check) { c.Status = spec.StatusRanges{{First: 200, Last: 200}, {First: 204, Last: 206}} }, "HTTP/1.1 302 Found\r\n\r\n", Answered, "answered 302, not 200,204-206"},
		{"an interim answer", nil, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", Passed, "answered 204"},
		{"HTTP/1.0", nil, "HTTP/1.0 200 OK\r\n\r\n", Passed, "answered 200"},
		{"expected", func(c *spec.Check) { c.Expect = "leader" }, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nleader", Passed, `answered 200 and "leader"`},
		{"expected in chunks", func(c *spec.Check) { c.Expect = "^leader$" }, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nlea\r\n3\r\nder\r\n0\r\n\r\n", Passed, `answered 200 and "leader"`},
		{"not expected", func(c *spec.Check) { c.Expect = "leader" }, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n\x1b[2Jx", Answered, `answered 200 and "\x1b[2Jx", not what is expected`},
		{"headers are no body", func(c *spec.Check) { c.Expect = "leader" }, "HTTP/1.1 200 OK\r\nX: leader\r\nContent-Length: 0\r\n\r\n", Answered, "not what is expected"},
		{"the status counts first", func(c *spec.Check) { c.Expect = "leader" }, "HTTP/1.1 500 No\r\nContent-Length: 6\r\n\r\nleader", Answered, "answered 500, not 200-399"},
		{"no HTTP", nil, "SSH-2.0-OpenSSH\r\n", Answered, "answered what is not HTTP"},
	} {
		t.Run(test.name, func(t *testing.T) {
			addr := server(t, func(conn *net.TCPConn) {
				http.ReadRequest(bufio.NewReader(conn))
				io.WriteString(conn, test.says)
				conn.CloseWrite()
				io.Copy(io.Discard, conn)
			})
			r := once(t, addr, func(c *spec.Check) {
				c.Type, c.Path = spec.CheckHTTP, "/primary"
				if test.check != nil {
					test.check(c)
				}
			})
			if want := "GET http://" + addr.String() + "/primary " + test.answer; r.Outcome != test.want || !strings.HasPrefix(r.Answer, want) && !strings.HasSuffix(r.Answer, test.answer) {
				t.Errorf("%v, %s, want %v and %s", r.Outcome, r.Answer, test.want, want)
			}
		})
	}
}

// TestRequest has a server see what is asked.
func TestRequest(t *testing.T) {
	requests := make(chan *http.Request, 1)
	addr := server(t, func(conn *net.TCPConn) {
		request, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		requests <- request
		io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
	})
	target := tcpTarget(addr)
	target.Host = "db2"
	target.Check.Type, target.Check.Path, target.Check.Method = spec.CheckHTTP, "/a?b=%20c", "OPTIONS"
	target.Check.Headers = map[string]string{"X-One": "1", "user-agent": "me"}
	Once(t.Context(), target, []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil)
	r := <-requests
	if r.Method != "OPTIONS" || r.RequestURI != "/a?b=%20c" || r.Host != target.server() || r.Header.Get("X-One") != "1" || r.UserAgent() != "me" || !r.Close {
		t.Errorf("%+v", r)
	}
	target.Check.Host = "www.example.org"
	Once(t.Context(), target, []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil)
	if r := <-requests; r.Host != "www.example.org" {
		t.Errorf("host %q", r.Host)
	}
}

func TestHTTPS(t *testing.T) {
	ca := newAuthority(t)
	pair, _, _ := ca.sign(t, "db2", time.Now().Add(-time.Hour), 2*time.Hour)
	target := tcpTarget(secured(t, &tls.Config{Certificates: []tls.Certificate{pair}}, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	target.Host = "db2"
	target.Check.Type, target.Check.TLS, target.Check.CAFile = spec.CheckHTTP, true, ca.file
	r := Once(t.Context(), target, []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil)
	if want := "GET https://" + target.server() + "/ answered 200"; r.Outcome != Passed || r.Answer != want {
		t.Errorf("%+v, want %s", r, want)
	}
}

// TestEndlessHeaders has a server send headers without an end.
func TestEndlessHeaders(t *testing.T) {
	addr := server(t, func(conn *net.TCPConn) {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
		for {
			if _, err := io.WriteString(conn, "X: "+strings.Repeat("y", 1000)+"\r\n"); err != nil {
				return
			}
		}
	})
	r := once(t, addr, func(c *spec.Check) { c.Type = spec.CheckHTTP })
	if r.Outcome != Answered || !strings.Contains(r.Answer, "answered too much to GET http://") {
		t.Errorf("%+v", r)
	}
}

// TestEndlessBody has a server send a body without an end, of which the check needs
// nothing.
func TestEndlessBody(t *testing.T) {
	for _, headers := range []string{"Transfer-Encoding: chunked", "Content-Length: 1000000"} {
		addr := server(t, func(conn *net.TCPConn) {
			http.ReadRequest(bufio.NewReader(conn))
			io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+headers+"\r\n\r\n")
			for {
				if _, err := io.WriteString(conn, "1\r\nx\r\n"); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
		target := tcpTarget(addr)
		target.Check.Type, target.Check.Timeout = spec.CheckHTTP, time.Hour
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		r := Once(ctx, target, []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil)
		if r.Outcome != Passed || ctx.Err() != nil {
			t.Errorf("%s: %+v, %v", headers, r, ctx.Err())
		}
		cancel()
	}
}
