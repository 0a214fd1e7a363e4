package health

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"balance/engine/balancer"
	"balance/engine/preface"
	"balance/engine/spec"
)

// visitor is what a server has seen of a check.
type visitor struct {
	header preface.Proxy
	err    error // in the place of a header
	from   net.Addr
}

// doorman serves a listener: it reads a PROXY header, if there is to be one, tells
// of it, and serves on.
func doorman(t *testing.T, ln net.Listener, header bool, serve func(net.Conn)) <-chan visitor {
	t.Helper()
	visitors := make(chan visitor, 100)
	var wg sync.WaitGroup
	ctx, end := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { conn.Close() })()
				v := visitor{from: conn.RemoteAddr()}
				if header {
					v.header, v.err = readProxy(conn)
				}
				visitors <- v
				serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		end()
		ln.Close()
		wg.Wait()
	})
	return visitors
}

// readProxy reads a header and nothing behind it.
func readProxy(conn net.Conn) (preface.Proxy, error) {
	var header []byte
	for {
		one := make([]byte, 1)
		if _, err := io.ReadFull(conn, one); err != nil {
			return preface.Proxy{}, fmt.Errorf("after %q: %w", header, err)
		}
		header = append(header, one...)
		if p, _, err := preface.ReadProxy(header); !errors.Is(err, preface.ErrShort) {
			return p, err
		}
	}
}

// answers are what a server says to each kind, whatever it asks.
var answers = map[string]struct {
	set  func(*spec.Check)
	says string
}{
	"connect":  {func(c *spec.Check) {}, ""},
	"expect":   {func(c *spec.Check) { c.Send, c.Expect = "hello\n", "^welcome" }, "welcome"},
	"tls":      {func(c *spec.Check) { c.TLS, c.Expect = true, "^welcome" }, "welcome"},
	"http":     {func(c *spec.Check) { c.Type = spec.CheckHTTP }, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
	"https":    {func(c *spec.Check) { c.Type, c.TLS = spec.CheckHTTP, true }, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
	"redis":    {func(c *spec.Check) { c.Type = spec.CheckRedis }, "+PONG\r\n"},
	"postgres": {func(c *spec.Check) { c.Type = spec.CheckPostgres }, "R\x00\x00\x00\x08\x00\x00\x00\x0a"},
	"mysql":    {func(c *spec.Check) { c.Type = spec.CheckMySQL }, string(mysqlFrame(0, []byte("\x0a8.0.1\x00rest"))) + string(mysqlFrame(2, []byte("\x00\x00\x00")))},
	"smtp":     {func(c *spec.Check) { c.Type = spec.CheckSMTP }, "220 x\r\n250 x\r\n221 x\r\n"},
	"ldap":     {func(c *spec.Check) { c.Type = spec.CheckLDAP }, "0\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"},
}

// TestBeginsWithAHeader has checks of each kind go to servers that want a header, and
// to such as do not, by TCP and by a unix socket, as in service and on demand.
func TestBeginsWithAHeader(t *testing.T) {
	authority := newAuthority(t)
	pair, _, _ := authority.sign(t, "localhost", time.Now().Add(-time.Hour), 2*time.Hour)
	config := &tls.Config{Certificates: []tls.Certificate{pair}}
	for _, network := range []string{"tcp", "unix"} {
		for version := range 3 {
			for kind, answer := range answers {
				if kind == "connect" && network == "tcp" && version == 0 {
					continue // nobody is told
				}
				t.Run(fmt.Sprintf("%s/%d/%s", network, version, kind), func(t *testing.T) {
					ln, target := listenOn(t, network)
					answer.set(&target.Check)
					target.SendProxy, target.Check.CAFile = version, authority.file
					if network == "tcp" {
						target.Check.ServerName = "localhost"
					}
					visitors := doorman(t, ln, version > 0, func(conn net.Conn) {
						if target.Check.TLS {
							conn = tls.Server(conn, config)
						}
						io.WriteString(conn, answer.says)
						io.Copy(io.Discard, conn)
					})
					if r := both(t, target, netip.MustParseAddr("127.0.0.1")); r.Outcome != Passed {
						t.Errorf("%s, %s", r.Outcome, r.Answer)
					}
					for range 2 {
						v := <-visitors
						from, _ := v.from.(*net.TCPAddr)
						switch {
						case v.err != nil:
							t.Errorf("no header: %v", v.err)
						case v.header.Version != version:
							t.Errorf("version %d", v.header.Version)
						case version == 2 && !v.header.Local:
							t.Errorf("not LOCAL: %+v", v.header)
						case version == 1 && network == "tcp" && v.header.Source != from.AddrPort():
							t.Errorf("from %s, and not %s", v.header.Source, from)
						case version == 1 && network == "unix" && v.header.Source.IsValid():
							t.Errorf("from %s", v.header.Source)
						}
					}
				})
			}
		}
	}
}

// listenOn returns a listener, and a target that only connects to it.
func listenOn(t *testing.T, network string) (net.Listener, Target) {
	t.Helper()
	if network == "tcp" {
		ln := listen(t, "127.0.0.1:0")
		target := tcpTarget(ln.Addr())
		target.Check.Timeout = 20 * time.Second
		return ln, target
	}
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	target := tcpTarget(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	target.Host, target.Port, target.Check.Timeout = "unix:"+path, 0, 20*time.Second
	return ln, target
}

// TestUnixSocketIsNotServed has unix sockets that nobody serves.
func TestUnixSocketIsNotServed(t *testing.T) {
	ln, target := listenOn(t, "unix")
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close()
	if r := both(t, target, netip.Addr{}); r.Outcome != Refused || r.Answer != "connect to "+target.Host+": connection refused" {
		t.Errorf("%+v", r)
	}
	target.Host += "none"
	if r := both(t, target, netip.Addr{}); r.Outcome != Refused || r.Answer != "connect to "+target.Host+": no such file or directory" {
		t.Errorf("%+v", r)
	}
}

// TestProgramOfAUnixSocket has a program told of a unix socket.
func TestProgramOfAUnixSocket(t *testing.T) {
	target := program(t, `echo "$1 [$2] $BALANCE_HOST [$BALANCE_PORT]"`, "{host}", "{port}")
	target.Host, target.Port = "unix:/run/s", 0
	if r := Once(t.Context(), target, nil, nil); r.Answer != "check_it: unix:/run/s [] unix:/run/s []" {
		t.Errorf("%+v", r)
	}
}

// TestHeadersTellTargetsApart has channels that differ in nothing but the header.
func TestHeadersTellTargetsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		targets := map[*balancer.Channel]Target{}
		for _, version := range []int{0, 1, 2, 2, 1, 0} {
			target := targetOf("a")
			target.SendProxy = version
			targets[channelOf("a")] = target
		}
		r.Set(targets)
		after(500 * time.Millisecond)
		if n := r.visited("a"); n != 3 {
			t.Errorf("%d checks, want one for each of three targets", n)
		}
	})
}
