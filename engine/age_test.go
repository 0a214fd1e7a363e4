package engine_test

import (
	"testing"
	"time"

	"balance/engine/plane"
)

// A reload gives running sessions an age, and it is counted that they end of it.
func TestMaxAge(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	web := free(t, "127.0.0.1")
	l := listener("web", web, a)
	r.apply(declare(l))
	c := dial(t, web)
	c.works()
	l.MaxAge = 10 * time.Millisecond
	r.apply(declare(l))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || err.Error() != "EOF" {
		t.Errorf("the client saw %d bytes, %v", n, err)
	}
	c.Close()
	eventually(t, "its end is counted", func() bool {
		return r.Snapshot().Listeners[0].Ended[plane.MaxAge] == 1 && r.Snapshot().Listeners[0].Active == 0
	})
}
