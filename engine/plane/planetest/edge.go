package planetest

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"balance/engine/admit"
	"balance/engine/balancer"
	"balance/engine/plane"
	"balance/engine/preface"
)

// atEdge has a listener with an edge; a time that is 0 is patience.
func (r *rig) atEdge(edge plane.Edge, channels ...*balancer.Channel) *door {
	r.Helper()
	s := service(r.router(channels...))
	s.Edge = edged(edge)
	return r.listenAt("127.0.0.1", s)
}

func edged(edge plane.Edge) *plane.Edge {
	for _, timeout := range []*time.Duration{&edge.ProxyTimeout, &edge.NamesTimeout} {
		if *timeout == 0 {
			*timeout = patience
		}
	}
	return &edge
}

// networks returns a list that has them, to be let in or not.
func networks(allow bool, all ...string) *admit.List {
	var rules []admit.Rule
	for _, network := range all {
		rules = append(rules, admit.Rule{Network: netip.MustParsePrefix(network), Allow: allow})
	}
	return admit.NewList(rules)
}

func proxies() *admit.List { return networks(true, "127.0.0.0/8") }

// greeting waits until so many clients are in their greeting.
func (d *door) greeting(n int) (greet []plane.Session) {
	d.Helper()
	eventually(d, "the clients greet", func() bool {
		greet = nil
		d.plane.Sessions(func(s plane.Session) bool {
			if s.State == plane.Greets {
				greet = append(greet, s)
			}
			return true
		})
		return len(greet) == n
	})
	return greet
}

func (d *door) expectGreeting(n int) {
	d.Helper()
	if now, _ := d.listener.Greeting(1 << 30); now != n {
		d.Errorf("%d clients are in their greeting, want %d", now, n)
	}
}

// told reports how a connection ends to a client who says something, and may end its
// stream behind that.
func (d *door) told(what string, ends bool) string {
	d.Helper()
	conn, err := net.Dial("tcp", d.socket.Addr().String())
	if errors.Is(err, syscall.ECONNRESET) {
		return "a reset" // which was faster than the return of connect
	}
	if err != nil {
		d.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if what != "" { // or else the write would take the error
		io.WriteString(conn, what)
	}
	if ends {
		conn.(*net.TCPConn).CloseWrite()
	}
	return sees(conn)
}

// sees reports how the end of a connection looks to a client who is told nothing.
func sees(conn net.Conn) string {
	switch got, err := io.ReadAll(conn); {
	case len(got) > 0:
		return fmt.Sprintf("%q", got)
	case errors.Is(err, syscall.ECONNRESET):
		return "a reset"
	case err != nil:
		return err.Error()
	}
	return "the end"
}

var headers = []struct {
	name, bytes string
	client      string // "" for the peer
}{
	{"TCP4", "PROXY TCP4 203.0.113.7 198.51.100.1 1234 443\r\n", "203.0.113.7:1234"},
	{"TCP6", "PROXY TCP6 2001:db8::7 2001:db8::1 1234 443\r\n", "[2001:db8::7]:1234"},
	{"Unknown", "PROXY UNKNOWN what ever\r\n", ""},
	{"V2", string(preface.AppendProxy(nil, 2, &preface.Proxy{
		Source: netip.MustParseAddrPort("203.0.113.7:1234"), Destination: netip.MustParseAddrPort("198.51.100.1:443"),
		TLVs: []byte("\xea\x00\x03vpc"),
	}, nil)), "203.0.113.7:1234"},
	{"V2Unix", string(preface.AppendProxy(nil, 2, &preface.Proxy{Unix: [2]string{"/a", "/b"}}, nil)), ""},
	{"Local", string(preface.AppendProxy(nil, 2, &preface.Proxy{Local: true}, nil)), ""},
}

// A PROXY header is taken away exactly, however it is cut.
func testProxy(t *testing.T, newPlane New) {
	const data = "hello"
	for _, header := range headers {
		t.Run(header.name, func(t *testing.T) {
			r := newRig(t, newPlane)
			d := r.atEdge(plane.Edge{Peers: proxies()}, r.serve(echo))
			all := header.bytes + data
			var clients []*net.TCPConn
			for cut := range len(all) {
				client := d.dial()
				io.WriteString(client, all[:cut])
				clients = append(clients, client)
			}
			eventually(t, "all are accepted", func() bool { return d.listener.Accepted.Load() == uint64(len(all)) })
			d.greeting(len(header.bytes)) // those who have sent no more, or a part of it
			for cut, client := range clients {
				io.WriteString(client, all[cut:])
				client.CloseWrite()
				if got := readAll(t, client); got != data {
					t.Errorf("cut at %d: got %q back", cut, got)
				}
				end := r.end()
				peer := client.LocalAddr().(*net.TCPAddr).AddrPort()
				switch {
				case end.Sent != uint64(len(data)) || end.Received != uint64(len(data)):
					t.Errorf("cut at %d: %d bytes sent, %d received", cut, end.Sent, end.Received)
				case header.client == "" && (end.Client != peer || end.Peer != nil):
					t.Errorf("cut at %d: client %s, peer %v", cut, end.Client, end.Peer)
				case header.client != "" && (end.Client.String() != header.client || end.Peer == nil || *end.Peer != peer):
					t.Errorf("cut at %d: client %s, peer %v, want %s and %s", cut, end.Client, end.Peer, header.client, peer)
				case !end.Connected || end.Cause != plane.ClientClosed:
					t.Errorf("cut at %d: connected %t, cause %s", cut, end.Connected, end.Cause.How())
				}
			}
			d.expectGreeting(0)
		})
	}
}

// Only those who are to begin with a header are asked for one.
func testProxyOfOthers(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.atEdge(plane.Edge{Peers: networks(true, "192.0.2.0/24")}, r.serve(greet("first")))
	client := d.dial()
	client.CloseWrite()
	if got := readAll(t, client); got != "first" {
		t.Errorf("got %q", got)
	}
}

// Who is refused, why, and what that looks like.
func testRefused(t *testing.T, newPlane New) {
	header := headers[0].bytes
	for _, test := range []struct {
		name string
		edge plane.Edge
		says string
		ends bool // its stream, behind that
		why  admit.Refusal
	}{
		{"NoHeader", plane.Edge{Peers: proxies()}, "GET / HTTP/1.1\r\n\r\n", false, admit.NoHeader},
		{"ShortHeader", plane.Edge{Peers: proxies()}, header[:20], true, admit.NoHeader},
		{"NoByte", plane.Edge{Peers: proxies()}, "", true, admit.NoHeader},
		{"Slow", plane.Edge{Peers: proxies(), ProxyTimeout: 50 * time.Millisecond}, header[:20], false, admit.Slow},
		{"Silent", plane.Edge{Peers: proxies(), ProxyTimeout: 50 * time.Millisecond}, "", false, admit.Slow},
		{"Denied", plane.Edge{List: networks(false, "127.0.0.1/32")}, "", false, admit.Denied},
		{"ClientDenied", plane.Edge{Peers: proxies(), List: networks(false, "203.0.113.0/24")}, header + "data", false, admit.Denied},
		{"TooFast", plane.Edge{Limits: admit.Limits{Rate: admit.Rate{Count: 1, Per: time.Hour}}}, "", false, admit.TooFast},
	} {
		for _, reset := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/Reset=%t", test.name, reset), func(t *testing.T) {
				r := newRig(t, newPlane)
				channel := r.serve(echo)
				edge := test.edge
				edge.Reset = reset
				d := r.atEdge(edge, channel)
				if test.why == admit.TooFast {
					client := d.dial()
					exchange(t, client, "the first")
					client.Close()
					r.end()
				}
				want := "the end"
				if reset {
					want = "a reset"
				}
				if got := d.told(test.says, test.ends); got != want {
					t.Errorf("the client sees %s, want %s", got, want)
				}
				end := r.end()
				if end.Cause != plane.Refused || end.Refusal != test.why || end.Connected || end.Channel != nil || end.State != plane.Closed {
					t.Errorf("cause %s, refusal %s, connected %t, channel %v", end.Cause.How(), end.Refusal, end.Connected, end.Channel)
				}
				if n := d.listener.Refused[test.why].Load(); n != 1 {
					t.Errorf("%d are refused for that", n)
				}
				if log := r.log.String(); strings.Count(log, "clients refused") != 1 || !strings.Contains(log, "reason="+test.why.String()) {
					t.Error("the refusal is not logged once")
				}
				d.expectGreeting(0)
			})
		}
	}
}

// Refusals are a line a second at most, which says how many were left out.
func testRefusalsAreFew(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.atEdge(plane.Edge{List: networks(false, "127.0.0.1/32")})
	began, n := time.Now(), 0
	for ; n < 50 || !strings.Contains(r.log.String(), "left_out"); n++ {
		if time.Since(began) > patience {
			t.Fatal("nothing is said to be left out")
		}
		client := d.dial()
		sees(client)
		client.Close()
		r.end()
	}
	lines := strings.Count(r.log.String(), "clients refused")
	if most := int(time.Since(began)/time.Second) + 2; lines > most {
		t.Errorf("%d refusals are %d lines, want %d at most", n, lines, most)
	}
}

// What a session has of its source is free again when its client sees the end,
// however it ends.
func testSourceIsGivenBack(t *testing.T, newPlane New) {
	all := func(*plane.Session) bool { return true }
	for name, test := range map[string]struct {
		greets bool
		end    func(d *door, client *net.TCPConn)
	}{
		"Closed":   {false, func(d *door, client *net.TCPConn) { client.CloseWrite() }},
		"Aborted":  {false, func(d *door, client *net.TCPConn) { d.plane.Abort(plane.Operator, all) }},
		"Greeting": {true, func(d *door, client *net.TCPConn) { d.plane.Abort(plane.Operator, all) }},
		"Finished": {true, func(d *door, client *net.TCPConn) { d.plane.Finish(plane.Removed, all) }},
		"Unserved": {true, func(d *door, client *net.TCPConn) {
			d.listener.SetService(service(d.router(channelTo(d.refused()))))
			io.WriteString(client, "plain text")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, newPlane)
			router := r.router(r.serve(echo))
			d := r.bind("127.0.0.1", nil)
			serve := func() {
				s := service(router)
				s.Edge = edged(plane.Edge{Names: test.greets, Limits: admit.Limits{MaxSessions: 1}})
				d.listener.SetService(s)
			}
			serve()
			d.acceptor.Serve(d.listener)
			for range 3 {
				client := d.dial()
				if test.greets {
					d.greeting(1)
				} else {
					exchange(t, client, ".")
				}
				second := d.dial()
				if end := r.end(); end.Refusal != admit.TooManySessions {
					t.Errorf("the second ends: %s, %s", end.Cause.How(), end.Refusal)
				}
				second.Close()
				test.end(d, client)
				sees(client)
				client.Close()
				if end := r.end(); end.Cause == plane.Refused {
					t.Errorf("the first is refused: %s", end.Refusal)
				}
				serve()
			}
			d.expectGreeting(0)
		})
	}
}

// A client that goes away in its greeting.
func testGreetingFails(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.atEdge(plane.Edge{Peers: proxies()}, r.serve(echo))
	client := d.dial()
	d.greeting(1)
	client.SetLinger(0)
	client.Close()
	if end := r.end(); end.Cause != plane.ClientFailed || !errors.Is(end.Err, syscall.ECONNRESET) || end.Connected {
		t.Errorf("cause %s, error %v, connected %t", end.Cause.How(), end.Err, end.Connected)
	}
	d.expectGreeting(0)
}

// Of too many who greet, the one goes that greets longest.
func testCrowded(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	s := service(r.router(r.serve(echo)))
	s.Edge = edged(plane.Edge{Peers: proxies()})
	s.MaxSessions = 29
	d := r.listenAt("127.0.0.1", s)
	first := d.dial()
	d.greeting(1)
	second, third := d.dial(), d.dial()
	d.greeting(3 - 1) // of 29 sessions two may greet
	if got := sees(first); got != "the end" {
		t.Errorf("the first sees %s", got)
	}
	if end := r.end(); end.Refusal != admit.Crowded {
		t.Errorf("it ends: %s, %s", end.Cause.How(), end.Refusal)
	}
	if now, most := d.listener.Greeting(1000); now != 2 || most != 2 {
		t.Errorf("%d greet, of %d", now, most)
	}
	for _, client := range []*net.TCPConn{second, third} {
		io.WriteString(client, headers[0].bytes)
		exchange(t, client, "in")
	}
	d.expectGreeting(0)
	r.plane.SetMaxSessions(10) // one of ten
	s = service(s.Router)
	s.Edge = edged(plane.Edge{Peers: proxies()})
	d.listener.SetService(s)
	fourth := d.dial()
	d.greeting(1)
	fifth := d.dial()
	if got := sees(fourth); got != "the end" {
		t.Errorf("the fourth sees %s", got)
	}
	io.WriteString(fifth, headers[0].bytes)
	exchange(t, fifth, "in")
}

// A client keeps the edge that it began with, and is served as the listener has it
// then.
func testGreetingReload(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.atEdge(plane.Edge{Peers: proxies()}, r.serve(greet("old")))
	client := d.dial()
	d.greeting(1)
	s := service(r.router(r.serve(greet("new"))))
	s.Edge = edged(plane.Edge{List: networks(false, "0.0.0.0/0")})
	d.listener.SetService(s)
	io.WriteString(client, headers[0].bytes)
	client.CloseWrite()
	if got := readAll(t, client); got != "new" {
		t.Errorf("got %q", got)
	}
	if end := r.end(); end.Client.String() != headers[0].client {
		t.Errorf("the client is %s", end.Client)
	}
	if got := sees(d.dial()); got != "the end" {
		t.Errorf("a new client sees %s", got)
	}
}

// A socket is retired, and the plane shut down, while a client greets, who is served
// all the same.
func testGreetingOutlastsItsSocket(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.atEdge(plane.Edge{Peers: proxies()}, r.serve(echo))
	client := d.dial()
	d.greeting(1)
	d.retire()
	down := make(chan bool)
	go func() {
		r.plane.Shutdown(context.Background())
		close(down)
	}()
	io.WriteString(client, headers[0].bytes)
	exchange(t, client, "in")
	client.CloseWrite()
	readAll(t, client)
	if end := r.end(); end.Cause != plane.ClientClosed {
		t.Errorf("it ends: %s", end.Cause.How())
	}
	await(t, down)
	r.plane = newPlane(plane.Options{}) // for the clean-up
}

// A plane that may wait no longer ends those who greet.
func testGreetingShutdown(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.atEdge(plane.Edge{Peers: proxies()}, r.serve(echo))
	client := d.dial()
	d.greeting(1)
	d.acceptor.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r.plane.Shutdown(ctx)
	r.plane = newPlane(plane.Options{}) // for the clean-up
	if got := sees(client); got != "a reset" {
		t.Errorf("the client sees %s", got)
	}
	if end := r.end(); end.Cause != plane.Shutdown || end.Connected {
		t.Errorf("it ends: %s", end.Cause.How())
	}
	d.expectGreeting(0)
}

// sent is what a server was sent, and by whom.
type sent struct {
	proxy preface.Proxy
	bytes string
	from  netip.AddrPort
}

// teller is a server that tells what it was sent, once it has a line, and answers "ok".
func (r *rig) teller() (*balancer.Channel, <-chan sent) {
	r.Helper()
	return r.tellerAt("127.0.0.1")
}

func (r *rig) tellerAt(host string) (*balancer.Channel, <-chan sent) {
	r.Helper()
	tells := make(chan sent, 100)
	return r.serveAt(host, func(conn *net.TCPConn) {
		s := sent{from: conn.RemoteAddr().(*net.TCPAddr).AddrPort()}
		var all []byte
		for buffer := make([]byte, 4096); !bytes.HasSuffix(all, []byte(".")); {
			n, err := conn.Read(buffer)
			if err != nil {
				r.Errorf("the server reads: %v behind %q", err, all)
				return
			}
			all = append(all, buffer[:n]...)
		}
		proxy, size, err := preface.ReadProxy(all)
		if err == nil {
			s.proxy = proxy
		}
		s.bytes = string(all[size:])
		tells <- s
		io.WriteString(conn, "ok")
	}), tells
}

// Channels are told who the client is.
func testSendProxy(t *testing.T, newPlane New) {
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprintf("V%d", version), func(t *testing.T) {
			r := newRig(t, newPlane)
			channel, tells := r.teller()
			channel.SetSendProxy(version)
			d := r.listen(r.router(channelTo(r.refused()), channel))
			ids := map[string]bool{}
			for range 2 {
				client := d.dial()
				io.WriteString(client, "Hello.")
				if got := readAll(t, client); got != "ok" {
					t.Errorf("got %q", got)
				}
				client.Close()
				s := await(t, tells)
				if s.proxy.Version != version || s.proxy.Source != client.LocalAddr().(*net.TCPAddr).AddrPort() || s.proxy.Destination != d.socket.Addr() || s.bytes != "Hello." {
					t.Errorf("the server is told %+v", s)
				}
				if end := r.end(); end.Sent != 6 || end.Received != 2 {
					t.Errorf("%d bytes sent, %d received", end.Sent, end.Received)
				}
				ids[hex.EncodeToString(s.proxy.TLVs)] = true
			}
			if version == 2 && (len(ids) != 2 || ids[""]) {
				t.Errorf("sessions are named %v", ids)
			}
			if n := channel.Counters.Sent.Load(); n != 12 {
				t.Errorf("the channel was sent %d bytes", n)
			}
		})
	}
}

// What came in is passed on.
func testProxyPassedOn(t *testing.T, newPlane New) {
	for _, header := range headers {
		t.Run(header.name, func(t *testing.T) {
			r := newRig(t, newPlane)
			channel, tells := r.teller()
			channel.SetSendProxy(2)
			d := r.atEdge(plane.Edge{Peers: proxies()}, channel)
			client := d.dial()
			io.WriteString(client, header.bytes+"Hello.")
			readAll(t, client)
			came, _, _ := preface.ReadProxy([]byte(header.bytes))
			if !came.Source.IsValid() {
				came.Source, came.Destination = client.LocalAddr().(*net.TCPAddr).AddrPort(), d.socket.Addr()
			}
			s := await(t, tells)
			if s.proxy.Source != came.Source || s.proxy.Destination != came.Destination || !bytes.HasPrefix(s.proxy.TLVs, came.TLVs) || s.bytes != "Hello." {
				t.Errorf("the server is told %+v of %+v", s, came)
			}
		})
	}
}

// A server that speaks first is heard at once, though the header went before.
func testSendProxyAndListen(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	channel := r.serve(greet("welcome"))
	channel.SetSendProxy(2)
	client := r.listen(r.router(channel)).dial()
	if _, err := io.ReadFull(client, make([]byte, 7)); err != nil {
		t.Error(err)
	}
}
