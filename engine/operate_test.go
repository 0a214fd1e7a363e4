package engine_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"balance/engine"
	"balance/engine/balancer"
	"balance/engine/spec"
)

// What the operator says of a channel is about that one, wherever it stands: a
// repeat of an address keeps its number, so its place tells nothing.
func TestOperatingByKey(t *testing.T) {
	s := newSeating(t)
	s.apply("a:1* b")
	s.sit(s.places()[0][0])
	s.apply("a- b ! a:1*")
	first := balancer.Key{Host: "192.0.2.97", Port: 80}
	second := first
	second.Nth = 1
	places := s.places()
	if places[1][0].Key() != first || places[0][0].Key() != second {
		t.Fatalf("the channel with a session is %s, the new one %s", places[1][0].Key(), places[0][0].Key())
	}
	if changed, err := s.Enable("web", second, true); !changed || err != nil || places[0][0].Standing(1).State != balancer.StateUntested {
		t.Errorf("enabled: %t, %v, it is %s", changed, err, places[0][0].Standing(1).State)
	}
	if n, err := s.Drain("web", first); n != 1 || err != nil || places[1][0].Standing(1).State != balancer.StateDraining {
		t.Errorf("drained: %d sessions, %v, it is %s", n, err, places[1][0].Standing(1).State)
	}
	limited := func(c *spec.Channel) error {
		c.MaxConns = 7
		return nil
	}
	if _, err := s.EditChannel(context.Background(), "web", first, limited); err != nil {
		t.Error(err)
	}
	if a, b := places[0][0].Limit(), places[1][0].Limit(); a != 0 || b != 7 {
		t.Errorf("the limits are %d and %d", a, b)
	}
	for _, key := range nobody(second) {
		if _, err := s.EditChannel(context.Background(), "web", key, limited); !errors.Is(err, engine.ErrNoChannel) {
			t.Errorf("%s: %v", key, err)
		}
	}
	if _, err := s.EditChannel(context.Background(), "mail", first, limited); err == nil {
		t.Error("there is a listener mail")
	}
}

func TestCloseEndsOneSession(t *testing.T) {
	r := newRig(t)
	address := free(t, "127.0.0.1")
	r.apply(declare(listener("web", address, r.server("a"))))
	first, second := dial(t, address), dial(t, address)
	var id uint64
	for s := range r.Sessions {
		if s.Client.String() == first.LocalAddr().String() {
			id = s.ID
		}
	}
	if !r.Close(id) || r.Close(id+1000) {
		t.Error("Close does not tell whether there was a session")
	}
	if _, err := io.ReadAll(first); err == nil {
		t.Error("the session ended without a reset")
	}
	second.works()
}

func TestDrain(t *testing.T) {
	r := newRig(t)
	a, b := r.server("a"), r.server("b")
	address := free(t, "127.0.0.1")
	r.apply(declare(listener("web", address, a, b)))
	held := dial(t, address)
	if n, err := r.Drain("web", a.key()); n != 1 || err != nil {
		t.Errorf("%d sessions, %v", n, err)
	}
	if got := served(t, address, 3); got != "b b b" {
		t.Errorf("served by %q while a drains", got)
	}
	held.works()
	if c := r.status("web", a); c.State != balancer.StateDraining {
		t.Errorf("while it drains: %+v", c)
	}
	for range 20 {
		if n, err := r.Drain("web", a.key()); n != 1 || err != nil {
			t.Errorf("asked again: %d sessions, %v", n, err)
		}
	}
	held.Close()
	eventually(t, "the end of the draining is logged", func() bool { return strings.Contains(r.log.String(), "channel drained") })
	if c := r.status("web", a); c.State != balancer.StateDisabled {
		t.Errorf("drained: %+v", c)
	}
	if changed, err := r.Enable("web", a.key(), true); !changed || err != nil {
		t.Errorf("enable: %t, %v", changed, err)
	}
	for _, key := range nobody(a.key()) {
		if _, err := r.Drain("web", key); !errors.Is(err, engine.ErrNoChannel) {
			t.Errorf("there is a channel %s: %v", key, err)
		}
	}
	if _, err := r.Drain("mail", a.key()); err == nil {
		t.Error("there is a listener mail")
	}
	if n := strings.Count(r.log.String(), "channel drained"); n != 1 {
		t.Errorf("the end of the draining is logged %d times", n)
	}
}

func TestReset(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	address := free(t, "127.0.0.1")
	r.apply(declare(listener("web", address, a)))
	held := dial(t, address)
	held.works()
	if err := r.Reset("web", a.key()); err != nil {
		t.Fatal(err)
	}
	if c := r.status("web", a); c.Sessions != 0 || c.Active != 1 {
		t.Errorf("%+v", c)
	}
}
