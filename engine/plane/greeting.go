package plane

import (
	"errors"
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
//	step := g.Begin(options, listener, peer, now)
//	for step == Listen {
//		peek all that has come, g.Most() bytes at most, or wait for g.Left(now)
//		step, take, reply = g.Heard(bytes, ended, now) // or g.Late(now)
//		take so many bytes from the socket, send the reply
//	}
//
// With Go the search begins, and the greeting goes on as long as the session,
// which ends it with Leave; with Refuse the session ends, for the cause Refused.
type Greeting struct {
	options  *Options
	listener *Listener
	edge     *Edge // what it began with

	peer     netip.AddrPort // of the connection
	client   netip.AddrPort
	deadline int64
	stage    stage
	refusal  admit.Refusal
	ticket   admit.Ticket

	// Until the client is connected.
	proxy    *preface.Proxy // what came in, nil if no header did
	hello    preface.Hello
	postgres bool // the ClientHello comes after an SSLRequest
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
)

// Begin begins with a client who has come from the peer, which is not valid for a
// unix socket.
func (g *Greeting) Begin(options *Options, listener *Listener, peer netip.AddrPort, now int64) Step {
	*g = Greeting{options: options, listener: listener, edge: listener.Service().Edge, peer: peer, client: peer}
	if _, _, ok := g.edge.Peers.Verdict(peer.Addr()); ok && g.edge.Peers != nil {
		g.stage, g.deadline = awaitsProxy, after(now, g.edge.ProxyTimeout)
		return Listen
	}
	return g.admit(now)
}

// admit asks for the client, once it is known who that is.
func (g *Greeting) admit(now int64) Step {
	if admitted, _, _ := g.edge.List.Verdict(g.client.Addr()); !admitted {
		return g.refuse(admit.Denied)
	}
	ticket, refusal := g.listener.Sources.Arrive(&g.edge.Limits, g.client.Addr(), now)
	if refusal != admit.Admitted {
		return g.refuse(refusal)
	}
	g.ticket = ticket
	if g.edge.Names {
		g.stage, g.deadline = awaitsHello, after(now, g.edge.NamesTimeout)
		return Listen
	}
	return Go
}

// refuse counts, and logs at most once a second, why a client is refused.
func (g *Greeting) refuse(why admit.Refusal) Step {
	g.refusal = why
	g.listener.Refused[why].Add(1)
	return Refuse
}

// Heard is given all that has come so far and was not taken, and whether the client
// has ended its stream behind that. It returns how many of the bytes the plane is
// to take from the socket before it looks again, and what it is to send, which is
// short enough for any socket.
func (g *Greeting) Heard(bytes []byte, ended bool, now int64) (step Step, take int, reply []byte) {
	switch g.stage {
	case awaitsProxy:
		proxy, size, err := preface.ReadProxy(bytes)
		switch {
		case errors.Is(err, preface.ErrShort) && !ended:
			return Listen, 0, nil
		case err != nil:
			return g.refuse(admit.NoHeader), 0, nil
		}
		g.proxy = &proxy
		if proxy.Source.IsValid() {
			g.client = proxy.Source
		}
		return g.admit(now), size, nil
	case awaitsHello:
		hello, err := preface.ReadHello(bytes)
		if errors.Is(err, preface.ErrShort) && !ended {
			return Listen, 0, nil
		}
		g.hello = hello
	}
	return Go, 0, nil
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

// Late returns what comes of a client whose time is over, and Listen if it is not.
func (g *Greeting) Late(now int64) Step {
	switch {
	case g.Left(now) > 0:
		return Listen
	case g.stage == awaitsProxy:
		return g.refuse(admit.Slow)
	}
	return Go
}

// Client returns who the client is: the source that a header names, or the peer.
func (g *Greeting) Client() netip.AddrPort { return g.client }

// Refusal returns why the client was refused.
func (g *Greeting) Refusal() admit.Refusal { return g.refusal }

// Leave gives back what the client has of its source.
func (g *Greeting) Leave(now int64) {
	g.listener.Sources.Leave(g.ticket, now)
	g.ticket = admit.Ticket{}
}
