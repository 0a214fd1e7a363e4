//go:build linux

package eventloop

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"balance/engine/admit"
	"balance/engine/plane"
	"balance/engine/preface"
)

const header = "PROXY TCP4 203.0.113.7 198.51.100.1 1234 443\r\n"

// greeter has a client who greets: it is behind a proxy, and asked for names.
func greeter() (w *world, c *fakeSocket) {
	w = newWorld(nil)
	w.loop.plane.places.SetLimit(1000)
	s := w.service()
	s.Edge = &plane.Edge{
		Peers: admit.NewList([]admit.Rule{{Network: netip.MustParsePrefix("198.51.100.0/24"), Allow: true}}),
		Names: true, ProxyTimeout: time.Second, NamesTimeout: time.Second,
	}
	w.listener.SetService(s)
	c = w.kernel.newSocket()
	c.space = 1000
	w.clients = append(w.clients, c)
	w.loop.begin(c.fd, netip.MustParseAddrPort("198.51.100.1:1"), w.listener)
	return w, c
}

// say has a client say more.
func (w *world) say(c *fakeSocket, what string) {
	c.given, c.event = append(c.given[:len(c.given):len(c.given)], what...), true
	w.deliver(c)
}

func (w *world) session(c *fakeSocket) *session {
	s, _ := w.loop.slab.session(c.token)
	return s
}

func (w *world) answer(s *fakeSocket, what string) {
	s.connecting = false
	w.say(s, what)
}

// A header is taken once it is whole, and nothing else is.
func TestHeaderIsCutAnywhere(t *testing.T) {
	const hello, tail = "\x16\x03\x01\x00", "no hello"
	for cut := range len(header) + len(hello) {
		w, c := greeter()
		for i, b := range []byte(header + hello) {
			if i < cut {
				continue // comes with what is behind it
			}
			if i == cut {
				w.say(c, (header + hello)[:cut])
			}
			w.say(c, string(b))
			want := 0
			if len(c.given) >= len(header) {
				want = len(header)
			}
			if s := w.session(c); s.state != plane.Greets || c.read != want {
				t.Fatalf("after %d bytes, cut at %d: %s, %d were taken", i+1, cut, s.state, c.read)
			}
		}
		w.say(c, tail)
		s := w.session(c)
		if s.state != plane.Dialing || s.client.String() != "203.0.113.7:1234" || w.loop.picture(s).Peer.String() != "198.51.100.1:1" {
			t.Fatalf("cut at %d: %s, client %s", cut, s.state, s.client)
		}
		server := w.kernel.servers[c.token]
		server.space = 1000
		w.answer(server, "")
		if server.taken != len(hello+tail) || w.session(c).streams[client].moved != uint64(len(hello+tail)) {
			t.Fatalf("cut at %d: the server was sent %d bytes", cut, server.taken)
		}
		if w.loop.greetings[s.slot] == nil {
			t.Error("the peer is forgotten")
		}
		w.loop.each([]token{c.token}, abort(plane.Operator))
		if len(w.loop.greetings) != 0 {
			t.Error("a greeting outlasts its session")
		}
	}
}

// A greeting that is not needed when the client is connected is left behind.
func TestGreetingIsLeftBehind(t *testing.T) {
	w, c := greeter()
	w.say(c, "PROXY UNKNOWN\r\nplain text")
	server := w.kernel.servers[c.token]
	server.space = 1000
	w.answer(server, "")
	if s := w.session(c); s.state != plane.Relaying || len(w.loop.greetings) != 0 || server.taken != len("plain text") {
		t.Errorf("%s, %d greetings, %d bytes", s.state, len(w.loop.greetings), server.taken)
	}
	w.loop.each([]token{c.token}, abort(plane.Operator))
	if end := w.ends[netip.MustParseAddrPort("198.51.100.1:1")]; !end.Connected || end.Cause != plane.Operator {
		t.Errorf("the session ends: connected %t, %s", end.Connected, end.Cause.How())
	}
}

// What a channel is sent first may not fit; the rest of it comes before anything else.
func TestOpeningIsCutAnywhere(t *testing.T) {
	const opening = header // what came in is passed on
	for room := range len(opening) {
		w, c := greeter()
		for _, channel := range w.channels {
			channel.SetSendProxy(1)
		}
		w.say(c, header+"plain text")
		out := w.kernel.servers[c.token]
		out.space = room
		w.answer(out, "")
		if s := w.session(c); s.state != plane.Dialing || out.taken != room {
			t.Fatalf("with room for %d: %s, %d bytes were sent", room, s.state, out.taken)
		}
		out.wanted = true
		out.drain(1, w.loop.now)
		w.deliver(out)
		out.drain(1000, w.loop.now)
		w.deliver(out)
		if s := w.session(c); s.state != plane.Relaying || out.taken != len(opening+"plain text") || s.streams[client].moved != 10 || s.sides[server].fd != out.fd {
			t.Fatalf("with room for %d: %s, %d bytes were sent, %d count", room, s.state, out.taken, s.streams[client].moved)
		}
	}
}

// A channel that has to agree is dialled until it does; and is asked a last time when
// the time is over.
func TestAgreementIsAwaited(t *testing.T) {
	for name, test := range map[string]struct {
		act  func(w *world, first *fakeSocket)
		next bool // another is dialled then
	}{
		"Agrees":     {func(w *world, first *fakeSocket) { w.answer(first, "S") }, false},
		"AgreesMore": {func(w *world, first *fakeSocket) { w.answer(first, "Sand more") }, false},
		"Not":        {func(w *world, first *fakeSocket) { w.answer(first, "N") }, true},
		"Ends":       {func(w *world, first *fakeSocket) { first.finished = true; w.answer(first, "") }, true},
		"Resets": {func(w *world, first *fakeSocket) {
			first.failed, first.failure = true, unix.ECONNRESET
			w.answer(first, "")
		}, true},
		"Silent": {func(w *world, first *fakeSocket) {
			w.loop.now += int64(time.Minute)
			w.loop.expire(w.loop.now)
		}, true},
		"Unheard": {func(w *world, first *fakeSocket) {
			first.given = []byte("S") // which the loop was not told of yet
			w.loop.now += int64(time.Minute)
			w.loop.expire(w.loop.now)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w, c := greeter()
			for _, channel := range w.channels { // with one address each
				channel.SetAddresses(channel.Addresses()[:1])
			}
			w.say(c, header)
			w.say(c, preface.SSLRequestMessage)
			if c.taken != 1 || c.read != len(header)+preface.PostgresSize {
				t.Fatalf("the client was sent %d bytes, %d are taken", c.taken, c.read)
			}
			w.say(c, "no hello")
			first := w.kernel.servers[c.token]
			first.space = 1000
			w.answer(first, "")
			s := w.session(c)
			if s.state != plane.Dialing || first.taken != preface.PostgresSize {
				t.Fatalf("%s, the server was sent %d bytes", s.state, first.taken)
			}
			test.act(w, first)
			if !test.next {
				if s.state != plane.Relaying || first.taken != preface.PostgresSize+len("no hello") || first.closed {
					t.Errorf("%s, the server was sent %d bytes", s.state, first.taken)
				}
				if more := len(first.given) - 1; c.taken != 1+more || s.streams[server].moved != uint64(more) {
					t.Errorf("the client was sent %d bytes, %d count", c.taken, s.streams[server].moved)
				}
				return
			}
			second := w.kernel.servers[c.token]
			if s.state != plane.Dialing || second == first || !first.closed || first.taken != preface.PostgresSize {
				t.Fatalf("%s, the first was sent %d bytes and closed: %t", s.state, first.taken, first.closed)
			}
			second.space = 1000
			w.answer(second, "S")
			if s.state != plane.Relaying || second.taken != preface.PostgresSize+len("no hello") {
				t.Errorf("%s, the second was sent %d bytes", s.state, second.taken)
			}
		})
	}
}

// Of a loop that was stopped, a client is heard before it is late.
func TestLateGreetings(t *testing.T) {
	w, c := greeter()
	w.loop.now += int64(2 * time.Second)
	w.loop.expire(w.loop.now)
	if end := w.ends[netip.MustParseAddrPort("198.51.100.1:1")]; end.Refusal != admit.Slow || !c.closed {
		t.Errorf("the session ends: %s, %s", end.Cause.How(), end.Refusal)
	}
	w, c = greeter()
	w.say(c, "PROXY UNKNOWN\r\n")
	w.loop.now += int64(2 * time.Second)
	w.loop.expire(w.loop.now)
	if s := w.session(c); s.state != plane.Dialing {
		t.Errorf("who names nothing is %s", s.state)
	}
}
