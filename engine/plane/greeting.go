package plane

import (
	"errors"
	"io"
	"net/netip"
	"time"

	"balance/engine/admit"
	"balance/engine/preface"
)

// Edge is what a listener has its clients pass before they are given a channel. It
// is not written to after SetService.
type Edge struct {
	Peers        *admit.List   // whose connections begin with a PROXY header: those that it has a rule for
	ProxyTimeout time.Duration // for it
	List         *admit.List   // of clients; nil admits all
	Limits       admit.Limits  // of one source
	Reset        bool          // who is refused sees a reset, else an end of stream
	Names        bool          // a group is for some names of servers or protocols
	NamesTimeout time.Duration // for a ClientHello, until it counts as none
}

// Greeting is a client's way to the Search, where its listener has an Edge. The
// plane peeks at what the client has sent, so that nothing is kept here and what is
// not for balance is relayed untouched:
//
//	step := g.Begin(options, places, listener, peer, away, now)
//	for step == Listen {
//		peek all that has come, g.Most() bytes at most, or wait for g.Left(now)
//		step, take, reply = g.Heard(bytes, ended, now) // or g.Late(now)
//		take so many bytes from the socket, send the reply
//	}
//
// With Go the search begins, and the greeting goes on as long as the session, or if
// it need not Outlast the search, as long as that; with Refuse the session ends, for
// the cause Refused. EndSession gives back what the client has of its source. One
// goroutine at a time may call its methods; it stays where it is while it is used.
type Greeting struct {
	options  *Options
	listener *Listener
	edge     *Edge // what it began with, nil if there was none

	client   netip.AddrPort
	peer     *netip.AddrPort // of the connection, if that is another
	deadline int64
	looked   int // at so many bytes, one as often as it was looked at
	stage    stage
	refusal  admit.Refusal
	ticket   admit.Ticket

	// Of the crowd.
	away       func()
	prev, next *Greeting // guarded by its mutex
	in, out    bool      // likewise: it is one of the crowd, or was sent away

	// Until the client is connected.
	proxy    *preface.Proxy // what came in, nil if no header did
	hello    preface.Hello
	postgres bool // the ClientHello comes after an SSLRequest
	gssenc   bool // and after a GSSENCRequest
}

// Step is what a greeting has the plane do next.
type Step uint8

// The steps.
const (
	Refuse Step = iota
	Listen
	Go
)

type stage uint8

const (
	awaitsProxy stage = iota + 1
	awaitsHello       // or a PostgreSQL request
	passed            // it has come to Go
)

// Begin begins with a client who has come from the peer, which is not valid for a
// unix socket. With a listener that has no Edge it is over at once. If the client is
// sent away, in favour of one who has come later, away is called once, by any
// goroutine; it must not block, and has the plane call Late.
func (g *Greeting) Begin(options *Options, places *Places, listener *Listener, peer netip.AddrPort, away func(), now int64) Step {
	*g = Greeting{options: options, listener: listener, edge: listener.Service().Edge, client: peer, away: away}
	if g.edge == nil {
		return g.pass()
	}
	step := g.meet(now)
	if step == Listen {
		listener.crowd.join(g, mostGreeting(listener, places.Limit()))
	}
	return step
}

// meet begins with what a peer has to say.
func (g *Greeting) meet(now int64) Step {
	if _, _, ok := g.edge.Peers.Verdict(g.client.Addr()); ok {
		g.stage, g.deadline = awaitsProxy, after(now, g.edge.ProxyTimeout)
		return Listen
	}
	return g.admit(now)
}

// admit asks for the client, once it is known who that is.
func (g *Greeting) admit(now int64) Step {
	if admitted, _, _ := g.edge.List.Verdict(g.client.Addr()); !admitted {
		return g.refuse(admit.Denied, nil, now)
	}
	ticket, refusal := g.listener.Sources.Arrive(&g.edge.Limits, g.client.Addr(), now)
	if refusal != admit.Admitted {
		return g.refuse(refusal, nil, now)
	}
	g.ticket = ticket
	if g.edge.Names {
		g.stage, g.deadline = awaitsHello, after(now, g.edge.NamesTimeout)
		return Listen
	}
	return g.pass()
}

func (g *Greeting) pass() Step {
	g.listener.crowd.leave(g)
	g.stage = passed
	return Go
}

// refuse counts, and logs at most once a second, why a client is refused.
func (g *Greeting) refuse(why admit.Refusal, err error, now int64) Step {
	g.listener.crowd.leave(g)
	g.refusal = why
	g.listener.Refused[why].Add(1)
	throttle := &g.listener.refusals[why]
	throttle.Add()
	n := throttle.Take(now)
	if n == 0 {
		return Refuse
	}
	attrs := []any{"listener", g.listener.Service().Name, "reason", why.String(), "client", ClientText(g.client)}
	if err != nil {
		attrs = append(attrs, "error", err)
	}
	if n > 1 {
		attrs = append(attrs, "left_out", n-1)
	}
	g.options.Log.Warn("clients refused", attrs...)
	return Refuse
}

// ClientText returns the address of a client as it is shown: that of one of a unix
// socket is "unix".
func ClientText(client netip.AddrPort) string {
	if !client.IsValid() {
		return "unix"
	}
	return client.String()
}

// Heard is given all that has come so far and was not taken, and whether the client
// has ended its stream behind that. It returns how many of the bytes the plane is
// to take from the socket before it looks again, and what it is to send, which is
// short enough for any socket.
func (g *Greeting) Heard(bytes []byte, ended bool, now int64) (step Step, take int, reply []byte) {
	g.looked += len(bytes)
	ended = ended || g.looked > mostLooked
	if g.stage == awaitsProxy {
		return g.heardProxy(bytes, ended, now)
	}
	return g.heardHello(bytes, ended)
}

// mostLooked bounds what a client can make balance look at: all that has come is looked
// at anew with each piece, so 16 KiB of single bytes were 128 MiB. Who sends so many
// pieces counts as one who says no more. A ClientHello of 2896 bytes may come one by one.
const mostLooked = 4 << 20

func (g *Greeting) heardProxy(bytes []byte, ended bool, now int64) (step Step, take int, reply []byte) {
	proxy, size, err := preface.ReadProxy(bytes)
	switch short := errors.Is(err, preface.ErrShort); {
	case short && !ended:
		return Listen, 0, nil
	case short:
		return g.refuse(admit.NoHeader, io.ErrUnexpectedEOF, now), 0, nil
	case err != nil:
		return g.refuse(admit.NoHeader, err, now), 0, nil
	}
	g.proxy = &proxy
	if peer := g.client; proxy.Source.IsValid() {
		g.client, g.peer = proxy.Source, &peer
	}
	return g.admit(now), size, nil
}

// heardHello waits for a ClientHello, before which a client of PostgreSQL may ask for
// encryption: for one of GSSAPI, which it is denied, and for TLS, each once. It sends
// nothing behind a request before it has the answer; if there is more, nobody may
// answer for the server what the server would not.
func (g *Greeting) heardHello(bytes []byte, ended bool) (step Step, take int, reply []byte) {
	if !g.postgres {
		request, err := preface.ReadPostgres(bytes)
		switch alone := len(bytes) == preface.PostgresSize && !ended; {
		case err != nil && !ended:
			return Listen, 0, nil
		case request == preface.SSLRequest && alone:
			g.postgres = true
			return Listen, preface.PostgresSize, []byte{'S'}
		case request == preface.GSSENCRequest && alone && !g.gssenc:
			g.gssenc = true
			return Listen, preface.PostgresSize, []byte{'N'}
		}
	}
	hello, err := preface.ReadHello(bytes)
	if errors.Is(err, preface.ErrShort) && !ended {
		return Listen, 0, nil
	}
	g.hello = hello
	return g.pass(), 0, nil
}

// Most returns how many bytes a plane is to peek at, at most.
func (g *Greeting) Most() int {
	if g.stage == awaitsProxy {
		return preface.MaxProxy
	}
	return preface.MaxHello
}

// Left returns for how long the client may still greet.
func (g *Greeting) Left(now int64) time.Duration { return time.Duration(g.deadline - now) }

// Late returns what comes of a client whose time is over, or who was sent away, and
// Listen if it is neither.
func (g *Greeting) Late(now int64) Step {
	switch {
	case g.listener.crowd.sentAway(g):
		return g.refuse(admit.Crowded, nil, now)
	case g.Left(now) > 0:
		return Listen
	case g.stage == awaitsProxy:
		return g.refuse(admit.Slow, nil, now)
	}
	return g.pass()
}

// Client returns who the client is: the source that a header names, or the peer.
func (g *Greeting) Client() netip.AddrPort { return g.client }

// Peer returns who has connected, where a header names another; nil else.
func (g *Greeting) Peer() *netip.AddrPort { return g.peer }

// Reset reports whether a client who is refused is to see a reset.
func (g *Greeting) Reset() bool { return g.edge.Reset }

// Outlasts reports whether the greeting is needed when the client is connected: there
// is something to give back, or to show.
func (g *Greeting) Outlasts() bool { return g.ticket != (admit.Ticket{}) || g.peer != nil }

// settle lets go of what only the search needs.
func (g *Greeting) settle() {
	if g != nil {
		g.proxy, g.hello, g.postgres = nil, preface.Hello{}, false
	}
}

// leave gives back what the client has of its source, and its place in the crowd.
func (g *Greeting) leave(now int64) {
	g.listener.crowd.leave(g)
	g.listener.Sources.Leave(g.ticket, now)
	g.ticket = admit.Ticket{}
}
