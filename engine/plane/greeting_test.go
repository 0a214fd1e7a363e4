package plane

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"balance/engine/admit"
	"balance/engine/balancer"
	"balance/engine/preface"
)

// hello returns the ClientHello of Go that names a server.
func hello(t testing.TB, name string) string {
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		defer client.Close()
		tls.Client(client, &tls.Config{ServerName: name, NextProtos: []string{"smtp"}, InsecureSkipVerify: true}).Handshake()
	}()
	b := make([]byte, preface.MaxHello)
	n, err := server.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

// host is a listener with an edge whose peers in 10.0.0.0/8 begin with a header.
type host struct {
	*Listener
	options Options
	places  Places
	log     bytes.Buffer
}

func hosts(edge *Edge) *host {
	h := &host{Listener: &Listener{Sources: admit.NewTable(100).Sources()}}
	h.options.Log = slog.New(slog.NewTextHandler(&h.log, nil))
	h.places.SetLimit(math.MaxInt)
	if edge != nil {
		edge.Peers = admit.NewList([]admit.Rule{{Network: netip.MustParsePrefix("10.0.0.0/8"), Allow: true}})
		edge.ProxyTimeout, edge.NamesTimeout = 3*time.Second, 5*time.Second
	}
	h.SetService(&Service{Name: "web", Edge: edge, Router: balancer.NewRouter(nil, balancer.Options{}, nil)})
	return h
}

func (h *host) begin(g *Greeting, peer string, now int64) Step {
	var from netip.AddrPort
	if peer != "" {
		from = netip.AddrPortFrom(netip.MustParseAddr(peer), 1)
	}
	return g.Begin(&h.options, &h.places, h.Listener, from, nil, now)
}

// talk has a greeting hear what a client says, with each of the pieces all that has
// come by then, and tells in words what it does.
func talk(g *Greeting, step Step, ends bool, pieces ...string) string {
	var did, unread string
	for i, piece := range pieces {
		unread += piece
		ended := ends && i == len(pieces)-1
		for again := true; step == Listen && again; {
			var take int
			var reply []byte
			step, take, reply = g.Heard([]byte(unread), ended, 1)
			unread = unread[take:]
			if again = take > 0; again {
				did += fmt.Sprintf("take %d, ", take)
			}
			if len(reply) > 0 {
				did += fmt.Sprintf("say %s, ", reply)
			}
		}
	}
	return did + [...]string{Refuse: "refuse", Listen: "listen", Go: "go"}[step]
}

func TestGreeting(t *testing.T) {
	const (
		header = "PROXY TCP4 203.0.113.7 198.51.100.1 1234 443\r\n"
		gssenc = "\x00\x00\x00\x08\x04\xd2\x16\x30"
		ssl    = preface.SSLRequestMessage
	)
	named := hello(t, "a.example.net")
	for _, test := range []struct {
		name   string
		edge   *Edge
		peer   string
		ends   bool
		pieces []string
		want   string
		client string
		server string // that is named
	}{
		{name: "NoEdge", peer: "192.0.2.1", want: "go", client: "192.0.2.1:1"},
		{name: "NothingToSay", edge: &Edge{}, peer: "192.0.2.1", want: "go", client: "192.0.2.1:1"},
		{name: "Unix", edge: &Edge{}, want: "go", client: "invalid AddrPort"},
		{name: "Header", edge: &Edge{}, peer: "10.0.0.1", pieces: []string{"", header[:1], header[1:]}, want: "take 46, go", client: "203.0.113.7:1234"},
		{name: "HeaderAndData", edge: &Edge{}, peer: "10.0.0.1", pieces: []string{header + "GET"}, want: "take 46, go", client: "203.0.113.7:1234"},
		{name: "HeaderAndEnd", edge: &Edge{}, peer: "10.0.0.1", ends: true, pieces: []string{header}, want: "take 46, go", client: "203.0.113.7:1234"},
		{name: "ShortHeader", edge: &Edge{}, peer: "10.0.0.1", ends: true, pieces: []string{header[:45]}, want: "refuse", client: "10.0.0.1:1"},
		{name: "NoHeader", edge: &Edge{}, peer: "10.0.0.1", pieces: []string{"PROXX"}, want: "refuse", client: "10.0.0.1:1"},
		{name: "Silent", edge: &Edge{}, peer: "10.0.0.1", pieces: []string{""}, want: "listen", client: "10.0.0.1:1"},
		{name: "HeaderOfOthers", edge: &Edge{}, peer: "192.0.2.1", pieces: []string{header}, want: "go", client: "192.0.2.1:1"},
		{name: "Names", edge: &Edge{Names: true}, peer: "192.0.2.1", pieces: []string{named[:1], named[1:100], named[100:]}, want: "go", client: "192.0.2.1:1", server: "a.example.net"},
		{name: "HeaderAndNames", edge: &Edge{Names: true}, peer: "10.0.0.1", pieces: []string{header + named}, want: "take 46, go", client: "203.0.113.7:1234", server: "a.example.net"},
		{name: "NoName", edge: &Edge{Names: true}, peer: "192.0.2.1", pieces: []string{"EHLO"}, want: "go", client: "192.0.2.1:1"},
		{name: "HalfAName", edge: &Edge{Names: true}, peer: "192.0.2.1", ends: true, pieces: []string{named[:100]}, want: "go", client: "192.0.2.1:1"},
		{name: "Postgres", edge: &Edge{Names: true}, peer: "192.0.2.1", pieces: []string{ssl[:4], ssl[4:], named}, want: "take 8, say S, go", client: "192.0.2.1:1", server: "a.example.net"},
		{name: "PostgresDirect", edge: &Edge{Names: true}, peer: "192.0.2.1", pieces: []string{named}, want: "go", client: "192.0.2.1:1", server: "a.example.net"},
		{name: "GSSAPI", edge: &Edge{Names: true}, peer: "10.0.0.1", pieces: []string{header + gssenc, ssl, named[:7], named[7:]}, want: "take 46, take 8, say N, take 8, say S, go", client: "203.0.113.7:1234", server: "a.example.net"},
		{name: "GSSAPITwice", edge: &Edge{Names: true}, peer: "192.0.2.1", pieces: []string{gssenc, gssenc}, want: "take 8, say N, go", client: "192.0.2.1:1"},
		{name: "PostgresTwice", edge: &Edge{Names: true}, peer: "192.0.2.1", pieces: []string{ssl, ssl}, want: "take 8, say S, go", client: "192.0.2.1:1"},
		{name: "PostgresAndMore", edge: &Edge{Names: true}, peer: "192.0.2.1", pieces: []string{ssl + named}, want: "go", client: "192.0.2.1:1"},
		{name: "PostgresAndEnd", edge: &Edge{Names: true}, peer: "192.0.2.1", ends: true, pieces: []string{ssl}, want: "go", client: "192.0.2.1:1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := hosts(test.edge)
			var g Greeting
			got := talk(&g, h.begin(&g, test.peer, 1), test.ends, test.pieces...)
			if got != test.want || g.Client().String() != test.client || g.hello.ServerName != test.server {
				t.Errorf("%s, client %s, server %q, want %s, %s, %q", got, g.Client(), g.hello.ServerName, test.want, test.client, test.server)
			}
			if peer := g.Peer(); (peer != nil) != (test.client == "203.0.113.7:1234") || peer != nil && peer.String() != "10.0.0.1:1" {
				t.Errorf("the peer is %v", peer)
			}
			greets := 0
			if strings.HasSuffix(got, "listen") {
				greets = 1
			}
			if now, _ := h.Greeting(10); now != greets {
				t.Errorf("%d are said to greet", now)
			}
			g.leave(2)
			g.leave(2)
			if now, _ := h.Greeting(10); now != 0 {
				t.Errorf("%d are said to greet after the end", now)
			}
		})
	}
}

// A client is not looked at for ever that comes in small pieces.
func TestGreetingInPieces(t *testing.T) {
	named := hello(t, "a.example.net")
	long := "\x16\x03\x01\x3f\xfb\x01\x00\x3f\xf7" + strings.Repeat("\x03", preface.MaxHello)
	header := string(preface.AppendProxy(nil, 2, &preface.Proxy{
		Source: netip.MustParseAddrPort("203.0.113.7:1"), Destination: netip.MustParseAddrPort("203.0.113.7:1"),
		TLVs: append([]byte{0xea, 0x0f, 0x00}, make([]byte, 0xf00)...),
	}, nil))
	for name, test := range map[string]struct {
		peer, says string
		want       Step
		server     string
		pieces     int
	}{
		"Hello":  {"192.0.2.1", named, Go, "a.example.net", len(named)},
		"Long":   {"192.0.2.1", long, Go, "", 2896},
		"Header": {"10.0.0.1", header, Refuse, "", 2896},
	} {
		h := hosts(&Edge{Names: true})
		var g Greeting
		step, n := h.begin(&g, test.peer, 1), 0
		for step == Listen && n < len(test.says) {
			n++
			step, _, _ = g.Heard([]byte(test.says[:n]), false, 1)
		}
		if step != test.want || n != test.pieces || g.hello.ServerName != test.server {
			t.Errorf("%s: after %d of %d bytes step %d, server %q", name, n, len(test.says), step, g.hello.ServerName)
		}
	}
}

// What becomes of those whose time is over. Each of the two waits has its own.
func TestGreetingIsLate(t *testing.T) {
	at := func(s float64) int64 { return 1 + int64(s*float64(time.Second)) }
	h := hosts(&Edge{Names: true})
	var g Greeting
	if step := h.begin(&g, "10.0.0.1", at(0)); step != Listen || g.Late(at(2.9)) != Listen || g.Left(at(1)) != 2*time.Second || g.Late(at(3)) != Refuse || g.refusal != admit.Slow {
		t.Errorf("step %d, left %s, refusal %s", step, g.Left(at(1)), g.refusal)
	}
	h.begin(&g, "10.0.0.1", at(0))
	step, take, _ := g.Heard([]byte("PROXY UNKNOWN\r\n"), false, at(2))
	if step != Listen || take != 15 || g.Late(at(6.9)) != Listen || g.Late(at(7)) != Go {
		t.Errorf("step %d, took %d, left %s", step, take, g.Left(at(0)))
	}
}

// Refused clients are counted by the reason, and a line a second for each.
func TestRefusals(t *testing.T) {
	second := int64(time.Second)
	h := hosts(&Edge{
		List:   admit.NewList([]admit.Rule{{Network: netip.MustParsePrefix("203.0.113.0/24")}}),
		Limits: admit.Limits{MaxSessions: 1},
	})
	kept := new(Greeting)
	if h.begin(kept, "192.0.2.1", 1) != Go || !kept.Outlasts() {
		t.Fatal("the first is not let in")
	}
	var g Greeting
	for n := range int64(3) {
		for range 10 {
			if h.begin(&g, "203.0.113.1", 1+n*second) != Refuse || h.begin(&g, "192.0.2.1", 1+n*second) != Refuse {
				t.Fatal("a client is let in")
			}
			g.leave(1 + n*second) // nothing
		}
	}
	if denied, many := h.Refused[admit.Denied].Load(), h.Refused[admit.TooManySessions].Load(); denied != 30 || many != 30 {
		t.Errorf("%d and %d are refused", denied, many)
	}
	log := h.log.String()
	if lines := strings.Count(log, "clients refused"); lines != 6 || strings.Count(log, "left_out=9") != 4 ||
		!strings.Contains(log, "listener=web reason=denied client=203.0.113.1:1\n") || !strings.Contains(log, "reason=sessions client=192.0.2.1:1 left_out=9\n") {
		t.Errorf("%d lines:\n%s", lines, log)
	}
	kept.leave(4 * second)
	if h.begin(&g, "192.0.2.1", 4*second) != Go {
		t.Error("what was given back is not to be had")
	}
	kept.leave(4 * second) // a second time
	if h.begin(&Greeting{}, "192.0.2.1", 4*second) != Refuse {
		t.Error("it was given back twice")
	}
}

// Of too many the one goes that came first, wherever those stand who leave.
func TestCrowd(t *testing.T) {
	h := hosts(&Edge{})
	h.places.SetLimit(39)
	var gone []int
	all := make([]Greeting, 10)
	come := func(n int) {
		all[n].Begin(&h.options, &h.places, h.Listener, netip.MustParseAddrPort("10.0.0.1:1"), func() {
			h.Greeting(0) // may be asked by whoever is told
			gone = append(gone, n)
		}, 1)
	}
	for n := range 5 { // of 39 sessions three
		come(n)
	}
	if !slices.Equal(gone, []int{0, 1}) {
		t.Errorf("%v have gone", gone)
	}
	all[3].Heard([]byte("PROXY UNKNOWN\r\n"), false, 1)
	come(5)
	if all[0].Late(1) != Refuse || all[0].refusal != admit.Crowded || all[2].Late(1) != Listen {
		t.Error("who has gone is not refused, or who stays is")
	}
	come(6)
	h.places.SetLimit(1) // one may, whatever the limit
	come(7)
	if !slices.Equal(gone, []int{0, 1, 2, 4, 5, 6}) {
		t.Errorf("%v have gone", gone)
	}
	if now, most := h.Greeting(1); now != 1 || most != 1 {
		t.Errorf("%d of %d greet", now, most)
	}
	all[7].leave(1)
	if h.crowd.first != nil || h.crowd.last != nil || h.crowd.n != 0 {
		t.Errorf("%d are left", h.crowd.n)
	}
	service := *h.Service()
	service.MaxSessions = 200
	h.SetService(&service)
	if _, most := h.Greeting(100_000); most != 20 {
		t.Errorf("%d may greet", most)
	}
}
