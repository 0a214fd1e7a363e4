package planetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"balance/engine/balancer"
	"balance/engine/plane"
	"balance/engine/preface"
)

// certificate is one that nobody verifies.
func certificate(t testing.TB) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// serveTLS starts a server that ends TLS, says its name, and hears the client out. Where
// it is one of PostgreSQL, it answers to the request for TLS first.
func (r *rig) serveTLS(name string, postgres bool, protocols ...string) *balancer.Channel {
	config := &tls.Config{Certificates: []tls.Certificate{certificate(r)}, NextProtos: protocols}
	return r.serve(func(conn *net.TCPConn) {
		if postgres {
			request := make([]byte, preface.PostgresSize)
			if _, err := io.ReadFull(conn, request); err != nil || string(request) != preface.SSLRequestMessage {
				r.Errorf("the server is sent %q, %v", request, err)
				return
			}
			io.WriteString(conn, "S")
		}
		secure := tls.Server(conn, config)
		io.WriteString(secure, name)
		io.Copy(io.Discard, secure)
	})
}

// namesRouter has groups for two names, one for a protocol, and one for everybody.
func (r *rig) named(postgres bool) *balancer.Router {
	group := func(names, protocols []string, channel *balancer.Channel) balancer.Group {
		return balancer.Group{Channels: []*balancer.Channel{channel}, For: balancer.NewAudience(names, protocols, nil)}
	}
	return balancer.NewRouter([]balancer.Group{
		group([]string{"a.example.net"}, nil, r.serveTLS("a", postgres)),
		group([]string{"*.b.example.net"}, nil, r.serveTLS("b", postgres)),
		group(nil, []string{"smtp"}, r.serveTLS("mail", postgres, "smtp")),
		group(nil, nil, r.serve(greet("everybody"))),
	}, balancer.Options{}, nil)
}

// pieces writes a few bytes at a time.
type pieces struct{ *net.TCPConn }

func (p pieces) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = p.TCPConn.Write(b[n:min(n+100, len(b))])
		n += m
		time.Sleep(time.Millisecond)
	}
	return n, err
}

// The group is chosen by the name, and TLS goes through.
func testNames(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	s := service(r.named(false))
	s.Edge = edged(plane.Edge{Names: true})
	d := r.listenAt("127.0.0.1", s)
	for _, test := range []struct{ name, protocol, want string }{
		{"a.example.net", "", "a"},
		{"A.Example.NET", "", "a"},
		{"x.b.example.net", "", "b"},
		{"else.example.net", "smtp", "mail"},
		{"a.example.net", "smtp", "a"},
	} {
		for _, whole := range []bool{true, false} {
			client := d.dial()
			var conn net.Conn = client
			if !whole {
				conn = pieces{client}
			}
			config := &tls.Config{ServerName: test.name, InsecureSkipVerify: true}
			if test.protocol != "" {
				config.NextProtos = []string{test.protocol}
			}
			got := make([]byte, len(test.want))
			if _, err := io.ReadFull(tls.Client(conn, config), got); err != nil || string(got) != test.want {
				t.Errorf("%+v: got %q, %v", test, got, err)
			}
			client.Close()
			r.end()
		}
	}
	d.expectGreeting(0)
}

// Who names nothing is everybody's: with plain text at once, and else when the time is
// over or its stream.
func testNoNames(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	s := service(r.named(false))
	d := r.listenAt("127.0.0.1", s)
	for name, test := range map[string]struct {
		says    string
		ends    bool
		timeout time.Duration
	}{
		"Text":   {"EHLO example.net\r\n", false, patience},
		"Ends":   {"\x16\x03", true, patience},
		"Silent": {"", false, 50 * time.Millisecond},
		"Slow":   {"\x16\x03\x01", false, 50 * time.Millisecond},
		"Closes": {"", true, patience},
	} {
		t.Run(name, func(t *testing.T) {
			with := service(s.Router)
			with.Edge = edged(plane.Edge{Names: true, NamesTimeout: test.timeout})
			d.listener.SetService(with)
			client := d.dial()
			io.WriteString(client, test.says)
			if test.ends {
				client.CloseWrite()
			}
			got := make([]byte, len("everybody"))
			if _, err := io.ReadFull(client, got); err != nil || string(got) != "everybody" {
				t.Errorf("got %q, %v", got, err)
			}
			client.CloseWrite()
			readAll(t, client)
			if end := r.end(); end.Sent != uint64(len(test.says)) {
				t.Errorf("%d bytes sent", end.Sent)
			}
		})
	}
}

const gssencRequest = "\x00\x00\x00\x08\x04\xd2\x16\x30"

// asks sends a request of PostgreSQL and expects the answer.
func asks(t *testing.T, client *net.TCPConn, request, want string) {
	t.Helper()
	io.WriteString(client, request)
	got := make([]byte, 1)
	if _, err := io.ReadFull(client, got); err != nil || string(got) != want {
		t.Fatalf("%q is answered %q, %v", request, got, err)
	}
}

// A client of PostgreSQL names a server in the ClientHello that follows its request.
func testPostgres(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	s := service(r.named(true))
	s.Edge = edged(plane.Edge{Names: true})
	d := r.listenAt("127.0.0.1", s)
	for _, requests := range []string{"S", "GS"} {
		client := d.dial()
		for _, request := range requests {
			if request == 'G' {
				asks(t, client, gssencRequest, "N")
			} else {
				asks(t, client, preface.SSLRequestMessage, "S")
			}
		}
		conn := &counting{Conn: client}
		secure := tls.Client(conn, &tls.Config{ServerName: "x.b.example.net", InsecureSkipVerify: true})
		got := make([]byte, 1)
		if _, err := io.ReadFull(secure, got); err != nil || string(got) != "b" {
			t.Errorf("%s: got %q, %v", requests, got, err)
		}
		secure.CloseWrite()
		client.CloseWrite()
		io.Copy(io.Discard, client)
		if end := r.end(); end.Sent != uint64(conn.written) || end.Err != nil {
			t.Errorf("%s: %d bytes sent of %d, %v", requests, end.Sent, conn.written, end.Err)
		}
	}
	// What is no ClientHello in the end is everybody's, its requests too.
	plain := d.dial()
	asks(t, plain, gssencRequest, "N")
	io.WriteString(plain, "\x00\x00\x00\x08\x00\x03\x00\x00")
	got := make([]byte, len("everybody"))
	if _, err := io.ReadFull(plain, got); err != nil || string(got) != "everybody" {
		t.Errorf("got %q, %v", got, err)
	}
}

type counting struct {
	net.Conn
	written int
}

func (c *counting) Write(b []byte) (int, error) {
	c.written += len(b)
	return c.Conn.Write(b)
}

// Who has bytes behind its request is not answered for the server.
func testPostgresStuffed(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.atEdge(plane.Edge{Names: true}, r.serve(echo))
	client := d.dial()
	exchange(t, client, preface.SSLRequestMessage+"and more")
}

// A server that does not agree to TLS is passed over, and nothing is held against it:
// whoever comes may ask any server for that.
func testPostgresDisagrees(t *testing.T, newPlane New) {
	for name, test := range map[string]struct {
		handle func(*net.TCPConn)
		says   string
	}{
		"No":     {func(conn *net.TCPConn) { readRequest(conn); io.WriteString(conn, "N"); io.Copy(io.Discard, conn) }, "answers 'N' to the request for TLS"},
		"NoEnds": {func(conn *net.TCPConn) { readRequest(conn); io.WriteString(conn, "N") }, "answers 'N' to the request for TLS"},
		"Ends":   {func(conn *net.TCPConn) { readRequest(conn) }, "no answer to the request for TLS: the connection ends"},
		"Resets": {func(conn *net.TCPConn) { readRequest(conn); conn.SetLinger(0) }, "no answer to the request for TLS: read: connection reset"},
		"Silent": {func(conn *net.TCPConn) { io.Copy(io.Discard, conn) }, "no answer to the request for TLS: i/o timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, newPlane)
			bad := r.serve(test.handle)
			groups := []balancer.Group{{Channels: []*balancer.Channel{bad}}, {Channels: []*balancer.Channel{r.serveTLS("good", true)}}}
			s := service(balancer.NewRouter(groups, balancer.Options{AutoDisable: true, HoldOff: time.Hour, HoldOffMax: time.Hour}, nil))
			s.ConnectTimeout = patience
			if name == "Silent" {
				s.ConnectTimeout = 100 * time.Millisecond
			}
			s.Edge = edged(plane.Edge{Names: true})
			client := r.listenAt("127.0.0.1", s).dial()
			asks(t, client, preface.SSLRequestMessage, "S")
			got := make([]byte, 4)
			if _, err := io.ReadFull(tls.Client(client, &tls.Config{InsecureSkipVerify: true}), got); err != nil || string(got) != "good" {
				t.Errorf("got %q, %v", got, err)
			}
			if bad.Counters.Failures.Load() != 1 || bad.Active() != 0 {
				t.Errorf("%d failures, %d active", bad.Counters.Failures.Load(), bad.Active())
			}
			if is := bad.Standing(r.plane.Now()); is.State != balancer.StateUntested {
				t.Errorf("the channel is %s, for what a client has asked", is.State)
			}
			if !strings.Contains(r.log.String(), test.says) {
				t.Errorf("the log does not say %q", test.says)
			}
		})
	}
}

// A session whose channel does not answer can be ended meanwhile.
func testPostgresAborted(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	heard := make(chan struct{})
	channel := r.serve(func(conn *net.TCPConn) { readRequest(conn); close(heard); io.Copy(io.Discard, conn) })
	s := service(r.router(channel))
	s.ConnectTimeout = 10 * patience
	s.Edge = edged(plane.Edge{Names: true})
	client := r.listenAt("127.0.0.1", s).dial()
	asks(t, client, preface.SSLRequestMessage, "S")
	io.WriteString(client, "no hello")
	await(t, heard)
	if n := r.plane.Abort(plane.Operator, func(*plane.Session) bool { return true }); n != 1 {
		t.Errorf("%d sessions are ended", n)
	}
	if end := r.end(); end.Cause != plane.Operator || end.Connected || channel.Active() != 0 {
		t.Errorf("it ends: %s, connected %t, %d active", end.Cause.How(), end.Connected, channel.Active())
	}
}

func readRequest(conn *net.TCPConn) { io.ReadFull(conn, make([]byte, preface.PostgresSize)) }

// A PROXY header comes before the request that a channel is sent.
func testPostgresBehindProxy(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	heard := make(chan string, 1)
	channel := r.serve(func(conn *net.TCPConn) {
		all := make([]byte, 0, 4096)
		for !strings.HasSuffix(string(all), preface.SSLRequestMessage) {
			n, err := conn.Read(all[len(all):cap(all)])
			if err != nil {
				r.Error(err)
				return
			}
			all = all[:len(all)+n]
		}
		heard <- string(all[:len(all)-preface.PostgresSize])
		io.WriteString(conn, "S")
		echo(conn)
	})
	channel.SetSendProxy(1)
	d := r.atEdge(plane.Edge{Peers: proxies(), Names: true}, channel)
	client := d.dial()
	asks(t, client, headers[0].bytes+preface.SSLRequestMessage, "S")
	exchange(t, client, "no ClientHello")
	if got := await(t, heard); got != headers[0].bytes {
		t.Errorf("the server is told %q", got)
	}
}
