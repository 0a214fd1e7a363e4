package engine_test

import (
	"context"
	"net"
	"testing"
	"time"

	"balance/engine/balancer"
	"balance/engine/plane"
	"balance/engine/spec"
)

// waits dials clients until so many wait in the queue of the first listener, and
// returns what tells who serves each, in their order.
func (r *rig) waits(address string, n int) (clients []chan string) {
	r.Helper()
	for r.Snapshot().Listeners[0].Waiting < n {
		before := r.Snapshot().Listeners[0].Waiting
		by := make(chan string, 1)
		conn, err := net.Dial("tcp", address)
		if err != nil {
			r.Fatal(err)
		}
		r.Cleanup(func() { conn.Close() })
		go func() {
			defer close(by)
			if c, err := greeted(conn); err == nil {
				by <- c.by
			}
		}()
		clients = append(clients, by)
		eventually(r, "the client waits", func() bool { return r.Snapshot().Listeners[0].Waiting == before+1 })
	}
	return clients
}

func (r *rig) servedBy(by chan string, want *server) {
	r.Helper()
	select {
	case name := <-by:
		if name != want.name {
			r.Errorf("served by %q, want %s", name, want.name)
		}
	case <-time.After(patience):
		r.Fatalf("not served by %s", want.name)
	}
}

// Whatever makes room has those go on who wait, in order, and whatever changes about
// the listener meanwhile loses none of them.
func TestQueueGoesOn(t *testing.T) {
	r := newRig(t)
	a, b, c, d := r.server("a"), r.server("b"), r.server("c"), r.server("d")
	of := r.verdict(false)
	address := free(t, "127.0.0.1")
	declared := func() *spec.Config {
		l := listener("web", address, a)
		l.Queue, l.QueueTimeout = 10, 0
		l.Groups[0].Channels[0].MaxConns = 1
		off := b.channel()
		off.Disabled, off.MaxConns = true, 1
		checked := c.checkedBy(of)
		checked.MaxConns = 1
		l.Groups = append(l.Groups, spec.Group{Channels: []spec.Channel{off}}, spec.Group{Channels: []spec.Channel{checked}, Check: quick()})
		return declare(l)
	}
	r.apply(declared())
	r.becomes("web", c, balancer.StateDown)
	first := dial(t, address)
	clients := r.waits(address, 6)

	r.enable("web", b, true)
	r.servedBy(clients[0], b)
	of.up.Store(true)
	r.servedBy(clients[1], c)
	key := a.key()
	if _, err := r.EditChannel(context.Background(), "web", key, func(c *spec.Channel) error { c.MaxConns = 2; return nil }); err != nil {
		t.Fatal(err)
	}
	r.servedBy(clients[2], a)
	if _, err := r.Edit(context.Background(), func(config *spec.Config) error {
		created := d.channel()
		created.MaxConns = 1
		config.Listeners[0].Groups[0].Channels = append(config.Listeners[0].Groups[0].Channels, created)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	r.servedBy(clients[3], d)

	changed := declared()
	changed.Listeners[0].Queue = 0
	changed.Listeners[0].HashFailover = true
	changed.Listeners[0].Groups[0].Mode = balancer.Hash
	changed.Listeners[0].Groups[0].Channels[0].MaxConns = 1
	r.apply(changed)
	waiting, err := r.Waiting("web", 10)
	if err != nil || len(waiting) != 2 || time.Since(waiting[0].Since) > patience || len(waiting[0].For) != 3 {
		t.Fatalf("after the reload %+v wait, %v", waiting, err)
	}
	if status := r.Snapshot().Listeners[0]; status.Waiting != 2 || status.Queue != 0 {
		t.Errorf("%d of %d wait", status.Waiting, status.Queue)
	}
	for _, s := range []*server{a, b, c} {
		if n := r.status("web", s).Waiting; n != 2 {
			t.Errorf("%d wait for %s", n, s.name)
		}
	}
	shown := 0
	r.Sessions(func(s plane.Session) bool {
		if s.State == plane.Queued {
			shown++
		}
		return true
	})
	if shown != 2 {
		t.Errorf("%d sessions are shown to wait", shown)
	}
	if _, err := tryDial(address); err == nil {
		t.Error("without a queue, somebody was served")
	}
	changed = declared()
	changed.Listeners[0].Groups[0].Channels[0].MaxConns = 3
	r.apply(changed)
	r.servedBy(clients[4], a)
	first.ends()
	r.servedBy(clients[5], a)
	if _, n, _ := r.Snapshot().Listeners[0].Waits.Read(); n != 6 {
		t.Errorf("%d waits were counted", n)
	}
}

// The settings reach the sessions.
func TestQueueSettings(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	address := free(t, "127.0.0.1")
	l := listener("web", address, a)
	l.Queue, l.QueueTimeout = 1, 50*time.Millisecond
	l.Groups[0].Channels[0].MaxConns = 1
	r.apply(declare(l))
	dial(t, address)
	rejected := func(why balancer.Rejection) {
		t.Helper()
		if _, err := tryDial(address); err == nil {
			t.Error("served")
		}
		if n := r.Snapshot().Listeners[0].Reasons[why]; n != 1 {
			t.Errorf("%d were rejected: %s", n, why)
		}
	}
	rejected(balancer.QueueTimeout)
	l.QueueTimeout, l.ConnectDeadline = 0, 50*time.Millisecond
	r.apply(declare(l))
	rejected(balancer.TooLate)
	l.ConnectDeadline = 0
	r.apply(declare(l))
	r.waits(address, 1)
	rejected(balancer.QueueFull)
}
