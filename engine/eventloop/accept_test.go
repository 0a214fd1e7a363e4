//go:build linux

package eventloop

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"balance/engine/plane"
)

// A batch grows while there are always more, and shrinks when there are not.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := play(t, 1)
		q, s := p.accepting()
		p.come(q, 300)
		var batches []int
		for len(q.clients) > 0 {
			waiting := len(q.clients)
			p.turns(1, p.loops...)
			batches = append(batches, waiting-len(q.clients))
		}
		if want := []int{1, 2, 4, 8, 16, 32, 64, 64, 64, 45}; !slices.Equal(batches, want) {
			t.Errorf("batches %v, want %v", batches, want)
		}
		if batch := p.loops[0].acceptors[0].batch; batch != 32 {
			t.Errorf("the next batch is %d", batch)
		}
		if n := p.listener.Accepted.Load(); n != 300 || s.arrivals.Load() != n || p.places.Free(p.listener) < 0 {
			t.Errorf("%d accepted, %d arrivals", n, s.arrivals.Load())
		}
	})
}

// What a client did to himself says nothing of the next.
func TestClientsWhoHaveGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := play(t, 1)
		q, _ := p.accepting()
		p.loops[0].acceptors[0].batch = 4
		p.come(q, 3)
		q.failures = []unix.Errno{unix.ECONNABORTED, unix.EINTR}
		p.turns(2, p.loops...)
		if live := p.live()[0]; live != 3 || p.log.Len() > 0 {
			t.Errorf("%d sessions", live)
		}
		p.SetMaxSessions(4) // what the two reserved is there again
		p.come(q, 2)
		p.turns(3, p.loops...)
		if live := p.live()[0]; live != 4 || len(q.clients) != 1 {
			t.Errorf("%d sessions", live)
		}
	})
}

// While all places are taken nobody is accepted, whatever the socket or loop.
// As many are accepted as places become free, and the sockets have their turns.
func TestFullPlaces(t *testing.T) {
	for _, loops := range []int{1, 2} {
		t.Run(fmt.Sprint(loops), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testFullPlaces(t, loops) })
		})
	}
}

func testFullPlaces(t *testing.T, loops int) {
	p := play(t, loops)
	first, _ := p.accepting()
	second, _ := p.accepting()
	p.SetMaxSessions(3)
	p.come(first, 20)
	p.come(second, 20)
	p.turns(10, p.loops...)
	check := func(when string, accepted int) {
		t.Helper()
		if got := int(p.listener.Accepted.Load()); got != accepted {
			t.Fatalf("%s: %d accepted, want %d", when, got, accepted)
		}
		if p.sessions() > int64(p.places.Limit()) {
			t.Errorf("%s: %d sessions", when, p.sessions())
		}
	}
	check("full", 3)
	for _, q := range []*fakeQueue{first, second} {
		if len(q.watchers) > 0 {
			t.Errorf("queue %d wakes loops in vain", q.fd)
		}
	}
	if n := p.said("as many sessions as there may be"); n != 1 {
		t.Errorf("it is said %d times", n)
	}
	busiest := func() *loop {
		return slices.MaxFunc(p.loops, func(a, b *loop) int { return int(a.live.Load() - b.live.Load()) })
	}
	for i := range 6 {
		p.finish(busiest(), 1)
		p.turns(10, p.loops...)
		check("after an end", 4+i)
	}
	if a, b := len(first.clients), len(second.clients); loops == 1 && (a < 14 || b < 14) {
		t.Errorf("of 20 at each socket %d and %d wait: one gets all the places", a, b)
	}
	p.SetMaxSessions(8)
	p.turns(10, p.loops...)
	check("more places", 14)
	p.SetMaxSessions(1000)
	p.turns(20, p.loops...)
	check("enough places", 40)
}

// A shortage stops all loops for a pause, is told once a pause, and over when an
// attempt succeeds.
func TestShortageOfDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := play(t, 2)
		q, _ := p.accepting()
		p.come(q, 10)
		q.failures = []unix.Errno{unix.EMFILE, unix.ENFILE}
		p.turns(1, p.loops...)
		if len(q.watchers) > 0 || p.sessions() > 0 || q.accepts != 1 || p.said("cannot accept, pausing") != 1 {
			t.Fatalf("%d loops watch, %d sessions, %d calls", len(q.watchers), p.sessions(), q.accepts)
		}
		began := time.Now()
		for q.accepts == 1 {
			p.turns(1, p.loops...)
		}
		if took := time.Since(began); took < 5*time.Millisecond || p.said("pause=10ms") != 1 {
			t.Fatalf("the next attempt came after %s", took)
		}
		for len(q.clients) > 0 {
			p.turns(1, p.loops...)
		}
		if p.sessions() != 10 || p.said("pausing") != 2 || p.shortage.Lasts() {
			t.Errorf("%d sessions, the shortage lasts: %t", p.sessions(), p.shortage.Lasts())
		}
	})
}

// A socket that cannot be registered is so later.
func TestSocketThatCannotBeRegistered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := play(t, 1)
		q := p.kernel.newQueue()
		q.refused = unix.ENOSPC
		s := &adopted{plane: p.Plane, fd: q.fd, serving: true}
		s.listener.Store(p.listener)
		p.loops[0].mailbox.post(func() { p.loops[0].add(s) })
		p.come(q, 1)
		p.turns(1, p.loops...)
		if len(q.watchers) > 0 || p.said("cannot accept, pausing") != 1 {
			t.Fatalf("%d watch it", len(q.watchers))
		}
		p.turns(10, p.loops...)
		if p.sessions() != 1 {
			t.Error("the client is not accepted")
		}
	})
}

// A socket that was removed is asked for nothing, not even what it waited for.
func TestRemovedSocket(t *testing.T) {
	for name, waits := range map[string]func(*played, *fakeQueue){
		"watched": func(*played, *fakeQueue) {},
		"starved": func(p *played, _ *fakeQueue) { p.SetMaxSessions(0) },
		"pausing": func(_ *played, q *fakeQueue) { q.failures = []unix.Errno{unix.EMFILE} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := play(t, 1)
				q, s := p.accepting()
				another, _ := p.accepting()
				waits(p, q)
				p.come(q, 1)
				p.turns(1, p.loops...)
				p.loops[0].mailbox.post(func() {
					p.loops[0].remove(s)
					delete(p.kernel.queues, q.fd) // closed: any call is a defect
				})
				p.turns(1, p.loops...)
				p.SetMaxSessions(10)
				p.come(another, 1)
				p.turns(10, p.loops...)
				if len(another.clients) > 0 {
					t.Error("the other socket is not accepted from")
				}
				_, reused := p.accepting()
				if n := len(p.loops[0].acceptors); n != 2 || p.loops[0].acceptors[0].socket != reused {
					t.Errorf("%d acceptors", n)
				}
			})
		})
	}
}

// Those who are accepted after Serve was called again are another listener's.
func TestServedByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := play(t, 1)
		q, s := p.accepting()
		p.come(q, 1)
		p.turns(2, p.loops...)
		another := new(plane.Listener)
		another.SetService(p.listener.Service())
		s.listener.Store(another)
		p.come(q, 2)
		p.turns(5, p.loops...)
		if a, b := p.listener.Accepted.Load(), another.Accepted.Load(); a != 1 || b != 2 {
			t.Errorf("accepted %d and %d", a, b)
		}
	})
}

// A place that becomes free after a loop asked for one, and before it is known
// to wait, is not overlooked.
func TestPlaceIsFreeMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := play(t, 1)
		q, _ := p.accepting()
		p.come(q, 1)
		p.loops[0].acceptors[0].starve(p.loops[0])
		p.turns(2, p.loops...)
		if p.sessions() != 1 {
			t.Error("the client waits for ever")
		}
	})
}
