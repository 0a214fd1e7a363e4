package engine_test

import (
	"errors"
	"io"
	"testing"
	"time"

	"balance/engine"
	"balance/engine/balancer"
	"balance/engine/plane"
	"balance/engine/spec"
)

// lopsided gives n sessions to the first of two channels, then enables the other.
// The last of them is idle for longest.
func lopsided(r *rig, n int, rebalance spec.Percent, mode balancer.Mode) (a *server, clients []*client) {
	r.Helper()
	a = r.server("a")
	b := r.server("b")
	l := listener("web", free(r, "127.0.0.1"), a, b)
	l.Groups[0].Mode = mode
	l.Groups[0].Channels[1].Disabled = true
	l.HashFailover, l.Rebalance = true, rebalance
	r.apply(declare(l))
	for range n {
		clients = append(clients, dial(r, l.Listen[0]))
	}
	for i := n - 1; i >= 0; i-- {
		clients[i].works()
	}
	if all, err := r.Rebalance("web", 100, false); err != nil || len(all) != 0 {
		r.Errorf("without need: %+v, %v", all, err)
	}
	if _, err := r.Enable("web", b.key(), true); err != nil {
		r.Fatal(err)
	}
	return a, clients
}

func ended(c *client) bool {
	n, err := c.Read(make([]byte, 1))
	return n == 0 && errors.Is(err, io.EOF)
}

func TestRebalance(t *testing.T) {
	r := newRig(t)
	a, clients := lopsided(r, 4, 0, balancer.RoundRobin)
	want := engine.Surplus{Channel: a.key(), Sessions: 4, Above: 2, Ended: 1}
	for _, dry := range []bool{true, false} {
		if all, err := r.Rebalance("web", 50, dry); err != nil || len(all) != 1 || all[0] != want {
			t.Errorf("dry %t: %+v, %v; want %+v", dry, all, err, want)
		}
	}
	if !ended(clients[3]) {
		t.Error("the idlest session was not ended in order")
	}
	for _, c := range clients[:3] {
		c.works()
	}
	clients[3].Close()
	eventually(t, "its end is counted", func() bool { return r.Snapshot().Listeners[0].Ended[plane.Rebalanced] == 1 })
	if n := r.status("web", a).Active; n != 3 {
		t.Errorf("%d sessions are left", n)
	}
	if _, err := r.Rebalance("mail", 50, true); err == nil {
		t.Error("there is a listener mail")
	}
}

// The watcher does it little by little where it is asked for: of sixty, one a
// second at first.
func TestRebalanceByItself(t *testing.T) {
	r := newRig(t)
	a, clients := lopsided(r, 120, 100, balancer.RoundRobin)
	if !ended(clients[119]) {
		t.Error("the idlest session was not ended in order")
	}
	if n := r.status("web", a).Active; n < 100 {
		t.Errorf("%d sessions are left already", n)
	}
	clients[0].works()
}

// A client of a hash group would come to the same channel again.
func TestRebalanceLeavesHashAlone(t *testing.T) {
	r := newRig(t)
	_, clients := lopsided(r, 4, 0, balancer.Hash)
	if all, err := r.Rebalance("web", 100, false); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
	clients[3].works()
}

// A second one takes the place of the first, and counts what that has ended.
func TestRebalanceTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, clients := lopsided(r, 6, 0, balancer.RoundRobin)
	for i, above := range []int{3, 2, 1} {
		if all, err := r.Rebalance("web", 100, false); err != nil || len(all) != 1 || all[0].Above != above {
			t.Fatalf("call %d: %+v, %v; want %d above", i, all, err, above)
		}
		if !ended(clients[5-i]) {
			t.Error("the idlest session was not ended in order")
		}
	}
	if all, err := r.Rebalance("web", 100, true); err != nil || len(all) != 0 {
		t.Errorf("at last %+v, %v", all, err)
	}
	for _, c := range clients[3:] {
		c.Close()
	}
	eventually(t, "they have ended", func() bool { return r.status("web", a).Active == 3 })
	time.Sleep(engine.RebalanceOver / 2) // a third of the sessions of the first call came after each third of it
	for _, c := range clients[:3] {
		c.works()
	}
	if n := r.status("web", a).Active; n != 3 {
		t.Errorf("%d sessions are left", n)
	}
}

// A channel that starts slowly has the share and the limit that it has come to.
func TestRebalanceKnowsSlowStart(t *testing.T) {
	r := newRig(t)
	a, b := r.server("a"), r.server("b")
	l := listener("web", free(r, "127.0.0.1"), a, b)
	l.Groups[0].Channels[1].Disabled, l.Groups[0].Channels[1].MaxConns = true, 10
	l.Groups[0].SlowStart = time.Hour
	r.apply(declare(l))
	for range 4 {
		dial(r, l.Listen[0])
	}
	r.enable("web", b, true)
	r.becomes("web", b, balancer.StateUntested)
	if all, err := r.Rebalance("web", 100, true); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
}
