package engine_test

import (
	"fmt"
	"testing"
	"time"
)

func TestPreviewCountsSessions(t *testing.T) {
	r := newRig(t)
	a, b := r.server("a"), r.server("b")
	web, other := free(t, "127.0.0.1"), free(t, "127.0.0.1")
	r.apply(declare(listener("web", web, a, b), listener("other", other, a)))
	for range 3 {
		dial(t, web) // a, b, a
	}
	dial(t, other)
	l := listener("web", web, b)
	l.IdleTimeout = time.Hour
	changes, err := r.Preview(declare(l))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("- listener other %s (1 session)\n~ web idle_timeout 0s → 1h (3 sessions)\n- web group 0 channel %s (2 sessions)\n", other, a.addr)
	if changes.String() != want {
		t.Errorf("got\n%s\nwant\n%s", changes, want)
	}
	if r.Snapshot().Generation != 1 {
		t.Error("a preview changed something")
	}
}
