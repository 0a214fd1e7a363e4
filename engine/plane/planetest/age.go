package planetest

import (
	"testing"
	"time"

	"balance/engine/plane"
)

// A session is finished at its age, whatever moves, and follows a change of that.
func testMaxAge(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	router := r.router(r.serve(echo))
	s := service(router)
	s.MaxAge = time.Hour
	d := r.listenAt("127.0.0.1", s)
	client := d.dial()
	exchange(t, client, "x")
	shorter := service(router)
	shorter.MaxAge, shorter.MaxAgeJitter = 100*time.Millisecond, 100
	d.listener.SetService(shorter)
	if got := readAll(t, client); got != "" {
		t.Errorf("got %q", got)
	}
	client.Close()
	if end := r.end(); end.Cause != plane.MaxAge || end.Err != nil {
		t.Errorf("the session ends: %s, %v", end.Cause.How(), end.Err)
	}
	began := time.Now()
	client = d.dial()
	exchange(t, client, "x")
	if got := readAll(t, client); got != "" {
		t.Errorf("got %q", got)
	}
	if age := time.Since(began); age < shorter.MaxAge {
		t.Errorf("it ended at the age of %s", age)
	}
	client.Close()
	if end := r.end(); end.Cause != plane.MaxAge {
		t.Errorf("the session ends: %s", end.Cause.How())
	}
}
