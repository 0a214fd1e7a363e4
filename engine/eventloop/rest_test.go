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

	"golang.org/x/sys/unix"

	"balance/engine/plane"
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
func (p *Plane) accepting(t *testing.T) *socket {
	t.Helper()
	s, err := listen(context.Background(), p, netip.MustParseAddrPort("127.0.0.1:0"), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(s.fd) })
	listener := new(plane.Listener)
	listener.SetService(&plane.Service{Name: "test", ConnectTimeout: time.Second})
	s.listener.Store(listener)
	for _, l := range p.loops {
		l.add(s)
	}
	return s
}

// A session that ends while its loop goes to rest ends the rest: then the loop
// is told of the clients of every socket.
func TestRestIsEndedInItsMiddle(t *testing.T) {
	p := stillLoops(t, 2)
	first := p.accepting(t)
	p.accepting(t)
	p.accepting(t)
	conn, err := net.Dial("tcp", first.addr.String())
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
