//go:build linux

package eventloop

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"balance/engine/balancer"
	"balance/engine/plane"
)

// raced is a session of a world of its own with an attempt under way to each of
// the two addresses of a channel.
type raced struct {
	*world
	client  *fakeSocket
	servers [2]*fakeSocket
}

// begun makes the first attempt, at a full tick.
func begun() *raced {
	w := newWorld(nil)
	w.loop.now += int64(tick) - w.loop.now%int64(tick)
	r := &raced{world: w, client: w.kernel.newSocket()}
	r.clients = append(r.clients, r.client)
	r.loop.begin(r.client.fd, netip.MustParseAddrPort("198.51.100.1:1"), r.listener)
	return r
}

func newRaced(t *testing.T) *raced {
	t.Helper()
	r := begun()
	r.channels[0].SetLimit(1)
	r.pass(plane.AttemptDelay - tick)
	if n := len(r.kernel.sockets); n != 2 {
		t.Fatalf("%d attempts are under way before it is time for the second", n-1)
	}
	r.pass(tick)
	if n := len(r.kernel.sockets); n != 3 {
		t.Fatalf("%d attempts are under way", n-1)
	}
	r.servers = [2]*fakeSocket(r.kernel.sockets[1:])
	if a := r.channels[0].Active(); a != 1 {
		t.Errorf("two attempts hold %d slots", a)
	}
	t.Cleanup(func() {
		r.settle()
		for _, defect := range r.check() {
			t.Error(defect)
		}
	})
	return r
}

func (r *raced) pass(d time.Duration) {
	r.loop.now += int64(d)
	r.loop.expire(r.loop.now)
}

func (r *raced) session() *session {
	s, _ := r.loop.slab.session(r.client.token)
	return s
}

// comeTo makes the attempts come to something, in one turn of the loop.
func (r *raced) comeTo(failures map[int]unix.Errno, order ...int) {
	for _, i := range order {
		s := r.servers[i]
		s.connecting, s.event, s.space = false, true, 1<<20
		if failures[i] != 0 {
			s.failed, s.failure = true, failures[i]
		}
	}
	for _, i := range order {
		r.deliver(r.servers[i])
	}
}

// relays reports whether the session relays to one of the servers, and the
// other socket is closed.
func (r *raced) relays(t *testing.T, i int) {
	t.Helper()
	s := r.session()
	if s == nil || s.state != plane.Relaying || s.sides[server].fd != r.servers[i].fd {
		t.Fatalf("the session does not relay to server %d: %v", i, r.ends)
	}
	if !r.servers[1-i].closed || r.servers[i].closed || len(r.kernel.open) != 2 {
		t.Errorf("the loser is closed: %t; %d sockets are open", r.servers[1-i].closed, len(r.kernel.open))
	}
	if r.channels[0].Active() != 1 || r.channels[0].Failing() {
		t.Errorf("%d slots, the channel fails: %t", r.channels[0].Active(), r.channels[0].Failing())
	}
	r.client.give(100)
	r.client.event = true
	r.deliver(r.client)
	r.servers[i].give(100)
	r.servers[i].event = true
	r.deliver(r.servers[i])
	if s := r.session(); s == nil || s.streams[client].moved != 100 || s.streams[server].moved != 100 {
		t.Error("the bytes do not arrive")
	}
}

func TestFirstOfTwoAttemptsWins(t *testing.T) {
	for winner := range 2 {
		r := newRaced(t)
		r.client.space = 1 << 20
		r.comeTo(nil, winner)
		r.relays(t, winner)
		r.pass(time.Hour - time.Minute) // nothing of the race is due any more
		if len(r.kernel.sockets) != 3 {
			t.Errorf("%d sockets were made", len(r.kernel.sockets))
		}
	}
}

// An event of the attempt that lost, which was fetched together with that of the
// winner, is none of the session's.
func TestLateEventOfALoser(t *testing.T) {
	for winner := range 2 {
		for _, failures := range []map[int]unix.Errno{nil, {1 - winner: unix.ECONNREFUSED}} {
			r := newRaced(t)
			r.client.space = 1 << 20
			r.comeTo(failures, winner, 1-winner)
			r.relays(t, winner)
		}
	}
}

func TestOneOfTwoAttemptsFails(t *testing.T) {
	for loser := range 2 {
		r := newRaced(t)
		r.client.space = 1 << 20
		r.comeTo(map[int]unix.Errno{loser: unix.ECONNREFUSED}, loser)
		if s := r.session(); s == nil || s.state != plane.Dialing || !r.servers[loser].closed || r.servers[1-loser].closed {
			t.Fatalf("the session does not wait for the other attempt: %v", r.ends)
		}
		r.comeTo(nil, 1-loser)
		r.relays(t, 1-loser)
	}
}

// A loop that was stopped finds the time over, and one of the attempts made.
func TestAllAttemptsAreAskedBeforeTheyTimeOut(t *testing.T) {
	for winner := range 2 {
		r := newRaced(t)
		r.client.space = 1 << 20
		r.servers[winner].connecting, r.servers[winner].space = false, 1<<20
		r.pass(time.Minute)
		r.relays(t, winner)
	}
}

// Two silent addresses are one failure of the channel, once its time is over.
func TestTwoAttemptsTimeOut(t *testing.T) {
	r := newRaced(t)
	r.pass(2*time.Second - plane.AttemptDelay - tick)
	if r.channels[0].Counters.Failures.Load() != 0 {
		t.Error("the channel fails before its time is over")
	}
	r.pass(tick)
	c := r.channels[0]
	if n := c.Dials.Failed(balancer.TimedOut); n != 1 || c.Counters.Failures.Load() != 1 || c.Active() != 0 {
		t.Errorf("%d timeouts of %d failures, %d slots", n, c.Counters.Failures.Load(), c.Active())
	}
	if !r.servers[0].closed || !r.servers[1].closed || r.channels[1].Active() != 1 {
		t.Errorf("closed %t and %t, %d slots on the next channel", r.servers[0].closed, r.servers[1].closed, r.channels[1].Active())
	}
}

// A client that goes, or an operator, ends all the attempts.
func TestEndOfASessionWithTwoAttempts(t *testing.T) {
	for name, end := range map[string]func(*raced){
		"Client": func(r *raced) {
			r.client.failed, r.client.failure, r.client.event = true, unix.ECONNRESET, true
			r.deliver(r.client)
		},
		"Operator": func(r *raced) { r.loop.each([]token{r.client.token}, abort(plane.Operator)) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRaced(t)
			end(r)
			if len(r.ends) != 1 || len(r.kernel.open) != 0 || r.channels[0].Active() != 0 {
				t.Errorf("%d ends, %d sockets are open, %d slots", len(r.ends), len(r.kernel.open), r.channels[0].Active())
			}
		})
	}
}

// Attempts that are under way go on while another waits for a descriptor.
func TestAttemptsGoOnInAShortage(t *testing.T) {
	r := begun()
	r.script.bytes = []byte{2} // socket(2) fails with EMFILE, once
	r.pass(plane.AttemptDelay)
	if n := len(r.kernel.sockets); n != 2 || !r.loop.plane.shortage.Lasts() {
		t.Fatalf("%d attempts, a shortage: %t", n-1, r.loop.plane.shortage.Lasts())
	}
	r.pass(r.loop.plane.shortage.Left(r.loop.now) + tick)
	if n := len(r.kernel.sockets); n != 3 || r.loop.plane.shortage.Lasts() {
		t.Fatalf("%d attempts after it, a shortage: %t", n-1, r.loop.plane.shortage.Lasts())
	}
	r.servers = [2]*fakeSocket(r.kernel.sockets[1:])
	r.client.space = 1 << 20
	r.comeTo(nil, 0)
	r.relays(t, 0)
	r.settle()
	for _, defect := range r.check() {
		t.Error(defect)
	}
}
