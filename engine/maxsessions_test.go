package engine_test

import (
	"net"
	"testing"
)

// A reload changes how many sessions a listener may have: who waits comes in.
func TestListenerMaxSessions(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	web := free(t, "127.0.0.1")
	l := listener("web", web, a)
	l.MaxSessions = 1
	r.apply(declare(l))
	first := dial(t, web)
	second, err := net.Dial("tcp", web)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	first.works()
	if n := r.Snapshot().Listeners[0].Active; n != 1 {
		t.Errorf("%d sessions", n)
	}
	l.MaxSessions = 2
	r.apply(declare(l))
	if _, err := second.Read(make([]byte, 1)); err != nil {
		t.Errorf("the second client: %v", err)
	}
	l.MaxSessions = 1
	r.apply(declare(l))
	first.works()
	if s := r.Snapshot().Listeners[0]; s.Active != 2 || s.MaxSessions != 1 {
		t.Errorf("%d sessions of %d", s.Active, s.MaxSessions)
	}
}
