//go:build linux

package eventloop

import (
	"testing"
	"testing/synctest"

	"balance/engine/balancer"
	"balance/engine/plane"
)

func (p *played) resting() (n int) {
	for _, l := range p.loops {
		if l.resting.Load() {
			n++
		}
	}
	if awake := int(p.awake.Load()); awake != len(p.loops)-n {
		p.Errorf("%d loops rest, and %d are said to be awake", n, awake)
	}
	return n
}

// A loop that has many more sessions than the others leaves new clients to them,
// until it is back at the mean.
func TestCrowdedLoopRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := play(t, 2)
		q, _ := p.accepting()
		crowded, other := p.loops[0], p.loops[1]
		for p.resting() == 0 {
			p.come(q, 1)
			p.turns(1, crowded)
		}
		had := p.live()[0]
		if _, watches := q.watchers[crowded.epoll]; watches || had < crowdedSlack || had > 4*crowdedSlack {
			t.Fatalf("with %d sessions a loop rests and watches: %t", had, watches)
		}
		p.come(q, 10)
		p.turns(3, crowded)
		p.turns(10, other)
		if live := p.live(); live[0] != had || live[1] != 10 {
			t.Fatalf("while one rests, the loops have %v sessions", live)
		}
		for p.live()[0] > p.mean() {
			if p.resting() == 0 {
				t.Fatalf("with %v sessions nobody rests", p.live())
			}
			p.finish(crowded, 1)
		}
		if p.resting() > 0 || len(q.watchers) != 2 {
			t.Errorf("with %v sessions %d loops watch", p.live(), len(q.watchers))
		}
	})
}

// The loop that rests is asked back when another one is crowded, and nobody rests
// alone.
func TestRestingLoopIsInvited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := play(t, 2)
		q, _ := p.accepting()
		first, second := p.loops[0], p.loops[1]
		for p.resting() == 0 {
			p.come(q, 1)
			p.turns(1, first)
		}
		for range 3 * p.live()[0] {
			p.come(q, 1)
			p.turns(1, second)
		}
		if !first.resting.Load() || !first.invited.Load() || second.resting.Load() {
			t.Fatalf("with %v sessions nobody asks the loop back", p.live())
		}
		p.turns(2, first)
		if first.resting.Load() || first.invited.Load() {
			t.Error("the loop does not come back")
		}
		p.turns(20, second, first)
		if len(q.clients) > 0 {
			t.Errorf("%d clients wait", len(q.clients))
		}
		for range 5 {
			p.come(q, 100)
			p.turns(20, second, first)
			if p.resting() == 2 || len(q.clients) > 0 {
				t.Fatalf("%d loops rest, %d clients wait", p.resting(), len(q.clients))
			}
		}
	})
}

// A loop alone has nobody to leave clients to.
func TestLoneLoopDoesNotRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := play(t, 1)
		q, _ := p.accepting()
		p.come(q, 500)
		p.turns(20, p.loops...)
		if p.resting() > 0 || len(q.clients) > 0 {
			t.Errorf("%d clients wait", len(q.clients))
		}
	})
}

// The kernel may have woken a loop alone for clients who came before it went to
// rest, so it takes those with it.
func TestRestTakesWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := play(t, 2)
		q, _ := p.accepting()
		p.come(q, 10)
		p.loops[0].rest()
		if len(q.clients) > 0 || p.live()[0] != 10 || p.resting() != 1 {
			t.Errorf("%d clients wait", len(q.clients))
		}
		p.loops[0].rejoin()
		p.come(q, 100) // more than a batch: somebody must stay
		p.loops[0].rest()
		if p.resting() != 0 || len(q.watchers) != 2 {
			t.Errorf("%d rest, %d watch", p.resting(), len(q.watchers))
		}
	})
}

// A session that ends while its loop goes to rest ends the rest: then the loop
// is told of the clients of every socket.
func TestRestIsEndedInItsMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := play(t, 2)
		p.listener.SetService(&plane.Service{Name: "nowhere", Router: balancer.NewRouter(nil, balancer.Options{}, nil)})
		first, _ := p.accepting()
		p.accepting()
		p.accepting()
		p.come(first, 1)
		p.loops[0].rest()
		if p.resting() > 0 {
			t.Fatal("no session has ended the rest")
		}
		for i, a := range p.loops[0].acceptors {
			if !a.watched {
				t.Errorf("nobody watches socket %d", i)
			}
		}
	})
}

// Neither the end of a pause nor a free place ends a rest, and its end is none of
// the wait for a place.
func TestRestAndOtherWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := play(t, 2)
		q, _ := p.accepting()
		l := p.loops[0]
		a := l.acceptors[0]
		watches := func() bool {
			_, watches := q.watchers[l.epoll]
			return watches
		}
		a.pause(l)
		l.rest()
		l.wheel.disarm(&a.timer)
		if a.expire(l); watches() {
			t.Error("after a pause a loop that rests watches")
		}
		p.SetMaxSessions(0)
		a.starve(l)
		if l.rejoin(); watches() {
			t.Error("after a rest a loop watches without a place")
		}
		l.rest()
		p.SetMaxSessions(1)
		if p.turns(1, l); watches() || a.starved {
			t.Error("for a place a loop that rests watches, or still waits")
		}
		if l.rejoin(); !watches() {
			t.Error("in the end nobody watches")
		}
	})
}
