package web

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// The places for connections, and who may have how many of them.
const (
	maxConnections = 64
	maxOfSource    = maxConnections / 4     // of one source
	maxRemote      = maxConnections * 3 / 4 // of all that are not local; the rest is kept for those

	localGrace = 10 * time.Millisecond      // what a local connection has to send its request before it has to make room
	stallTime  = time.Second                // what a reader may take for a piece of an answer before it does
	maxPiece   = 32 << 10                   // bytes
	owedTime   = profileTime + writeTimeout // what balance may take for the longest answer before its guest may have to go
)

// source is whom a connection comes from.
type source struct {
	// network is an IPv4 address, or the /64 of an IPv6 address: who has one
	// address of such a network has as many as he likes (RFC 4291, 2.5.1). It
	// is the zero Prefix for a unix socket, whose permissions say who comes.
	network netip.Prefix
	// local is true for processes of this machine.
	local bool
}

func sourceOf(conn net.Conn) source {
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return source{local: true}
	}
	addr := tcp.AddrPort().Addr().Unmap()
	bits := addr.BitLen()
	if addr.Is6() && !addr.IsLoopback() {
		bits = 64
	}
	network, _ := addr.Prefix(bits) // bits are in range
	return source{network, addr.IsLoopback()}
}

// places are given to connections as they come, so that whoever connects and
// says nothing, or does not read, keeps nobody away. When there is none left for
// a newcomer, the guest goes that has been waited for longest; only if all of
// them are in their time, as while balance owes them an answer, the newcomer is
// turned away.
type places struct {
	mu     sync.Mutex
	guests map[*guest]struct{} // guarded by mu
}

// guest is a connection that has a place.
type guest struct {
	net.Conn
	places *places
	source source
	due    time.Time // guarded by places.mu; from when on it may have to go
}

// enter gives a connection a place, or nil. The caller closes what it is given.
func (p *places) enter(conn net.Conn, from source) *guest {
	for {
		g, leaver, wait := p.tryEnter(conn, from)
		if leaver != nil {
			leaver.Conn.Close()
		}
		if wait == 0 {
			return g
		}
		time.Sleep(wait)
	}
}

// tryEnter gives a connection a place, if it must that of a leaver, or tells
// after what wait there may be one. Only local connections are worth a wait, for
// those behind them wait too.
func (p *places) tryEnter(conn net.Conn, from source) (g, leaver *guest, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if crowded := p.crowdLocked(from); crowded != nil {
		for g := range p.guests {
			if crowded(g.source) && (leaver == nil || g.due.Before(leaver.due)) {
				leaver = g
			}
		}
		if wait := leaver.due.Sub(now); wait > 0 {
			if !from.local || wait > localGrace {
				wait = 0
			}
			return nil, nil, wait
		}
		delete(p.guests, leaver)
	}
	g = &guest{Conn: conn, places: p, source: from, due: now.Add(graceOf(from))}
	if p.guests == nil {
		p.guests = map[*guest]struct{}{}
	}
	p.guests[g] = struct{}{}
	return g, leaver, 0
}

// crowdLocked returns from which sources one has to go before another comes
// from this one; nil if there is a place for it.
func (p *places) crowdLocked(from source) func(source) bool {
	same, remote := 0, 0
	for g := range p.guests {
		if g.source == from {
			same++
		}
		if !g.source.local {
			remote++
		}
	}
	switch {
	case from.network.IsValid() && same >= maxOfSource:
		return func(s source) bool { return s == from }
	case !from.local && remote >= maxRemote:
		return func(s source) bool { return !s.local }
	case len(p.guests) >= maxConnections:
		return func(source) bool { return true }
	default:
		return nil
	}
}

func graceOf(from source) time.Duration {
	if from.local {
		return localGrace
	}
	return 0
}

// follow is the http.Server.ConnState that tells when a guest is owed an
// answer.
func follow(conn net.Conn, state http.ConnState) {
	switch g := conn.(*guest); state {
	case http.StateNew, http.StateIdle:
		g.dueIn(graceOf(g.source))
	case http.StateActive:
		g.dueIn(owedTime)
	}
}

// dueIn says how long the guest is given.
func (g *guest) dueIn(grace time.Duration) {
	g.places.mu.Lock()
	defer g.places.mu.Unlock()
	g.due = time.Now().Add(grace)
}

// Write writes a part of an answer. Who does not take it is waited for.
func (g *guest) Write(data []byte) (n int, err error) {
	for {
		g.dueIn(stallTime)
		written, err := g.Conn.Write(data[n:min(n+maxPiece, len(data))])
		g.dueIn(owedTime)
		n += written
		if err != nil || n == len(data) {
			return n, err
		}
	}
}

// CloseWrite ends an answer to a request that is not read to its end. The guest
// may have the rest of the time that package net/http gives it.
func (g *guest) CloseWrite() error {
	g.dueIn(graceOf(g.source))
	if conn, ok := g.Conn.(interface{ CloseWrite() error }); ok {
		return conn.CloseWrite()
	}
	return nil
}

// Close frees the place.
func (g *guest) Close() error {
	g.places.mu.Lock()
	delete(g.places.guests, g)
	g.places.mu.Unlock()
	return g.Conn.Close()
}

// door is a listener whose connections have places.
type door struct {
	net.Listener
	places *places
	source func(net.Conn) source
}

// Accept returns the next connection that has a place.
func (d door) Accept() (net.Conn, error) {
	for {
		conn, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if g := d.places.enter(conn, d.source(conn)); g != nil {
			return g, nil
		}
		conn.Close()
	}
}
