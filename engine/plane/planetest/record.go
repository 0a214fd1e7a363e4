package planetest

import (
	"testing"

	"balance/engine/balancer"
	"balance/engine/plane"
)

// What was tried for a client that got nothing is told if that is wanted, and no
// more of it than is bounded.
func testTried(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	var channels []*balancer.Channel
	for range 11 {
		channels = append(channels, channelTo(r.refused()))
	}
	d := r.listen(r.router(channels...))
	expect := func(tried, more int) {
		t.Helper()
		readAll(t, d.dial())
		end := r.end()
		if end.Connected || end.Cause != plane.NoChannel || end.Rejection != balancer.NoneAnswered || len(end.Tried) != tried || end.More != more {
			t.Errorf("%+v, cause %d", end.Outcome, end.Cause)
		}
		for i, try := range end.Tried {
			if try.Channel != channels[i].Key() || try.Why != "connection refused" {
				t.Errorf("%d: %+v", i, try)
			}
		}
	}
	expect(0, 0)
	r.records.Tried.Store(true)
	expect(8, 3)
	d.listener.SetService(service(r.router(channels[0], r.serve(greet("second")))))
	client := d.dial()
	client.CloseWrite()
	readAll(t, client)
	if end := r.end(); !end.Connected || len(end.Tried) != 0 {
		t.Errorf("connected: %+v", end.Outcome)
	}
}

// A client that leaves while its channel is dialled has been connected to nothing.
func testTriedAndLeft(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	r.records.Tried.Store(true)
	refused, dead := channelTo(r.refused()), channelTo(blackhole(t))
	d := r.listen(r.router(refused, dead))
	client := d.dial()
	eventually(t, "the session dials", func() bool { return dead.Active() == 1 })
	client.SetLinger(0)
	client.Close()
	if end := r.end(); end.Connected || end.Cause != plane.ClientFailed || len(end.Tried) != 1 || end.Tried[0].Channel != refused.Key() {
		t.Errorf("%+v, cause %d", end.Outcome, end.Cause)
	}
}

// The begin of a session is told once, with its channel, if that is wanted.
func testBegan(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	second := r.serve(greet("second"))
	d := r.listen(r.router(channelTo(r.refused()), second))
	serve := func() plane.End {
		client := d.dial()
		client.CloseWrite()
		readAll(t, client)
		return r.end()
	}
	serve()
	r.records.Begin.Store(true)
	end := serve()
	if len(r.began) != 1 {
		t.Fatalf("%d sessions began", len(r.began))
	}
	if s := <-r.began; s.ID != end.ID || s.Client != end.Client || s.Channel != second || s.Group != 1 || s.State != plane.Relaying {
		t.Errorf("%+v", s)
	}
}
