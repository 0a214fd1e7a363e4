//go:build linux

package eventloop

import (
	"context"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"testing"
	"time"

	"balance/engine/plane"
	"balance/engine/socket"
)

// stillLoops returns a plane whose loops do not run: the test takes their turns.
func stillLoops(t *testing.T, n int) *Plane {
	t.Helper()
	p := &Plane{options: plane.Options{Log: slog.New(slog.DiscardHandler)}, epoch: time.Now()}
	p.awake.Store(int32(n))
	p.places.SetLimit(math.MaxInt)
	for range n {
		l := newLoop(p, linux{})
		if err := l.open(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.close)
		p.loops = append(p.loops, l)
	}
	return p
}

// accepting has the loops accept from a new socket, for clients who find no
// channel.
func (p *Plane) accepting(t *testing.T) netip.AddrPort {
	t.Helper()
	opened, err := socket.Open(context.Background(), netip.MustParseAddrPort("127.0.0.1:0"), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { opened.Close() })
	acceptor, err := p.Adopt(opened)
	if err != nil {
		t.Fatal(err)
	}
	s := acceptor.(*adopted)
	listener := new(plane.Listener)
	listener.SetService(&plane.Service{Name: "test", ConnectTimeout: time.Second})
	s.listener.Store(listener)
	for _, l := range p.loops {
		l.add(s)
	}
	return opened.Addr()
}

// A session that ends while its loop goes to rest ends the rest: then the loop
// is told of the clients of every socket.
func TestRestIsEndedInItsMiddle(t *testing.T) {
	p := stillLoops(t, 2)
	first := p.accepting(t)
	p.accepting(t)
	p.accepting(t)
	conn, err := net.Dial("tcp", first.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	l := p.loops[0]
	l.rest()
	if l.resting.Load() {
		t.Fatal("no session has ended the rest")
	}
	for i, a := range l.acceptors {
		if !a.watched {
			t.Errorf("nobody watches socket %d", i)
		}
	}
	if awake := p.awake.Load(); awake != 2 {
		t.Errorf("%d of 2 loops are awake", awake)
	}
}
