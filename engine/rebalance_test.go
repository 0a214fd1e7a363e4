package engine_test

import (
	"errors"
	"io"
	"testing"

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
