package planetest

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"balance/engine/plane"
)

func testAbort(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.listen(r.router(r.serve(echo)))
	stays, goes := d.dial(), d.dial()
	exchange(t, stays, "1")
	exchange(t, goes, "2")
	r.relaying(2)
	victim := goes.LocalAddr().(*net.TCPAddr).AddrPort()
	n := r.plane.Abort(plane.Operator, func(s *plane.Session) bool { return s.Client == victim })
	if n != 1 {
		t.Errorf("aborted %d sessions, want 1", n)
	}
	if _, err := goes.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client saw %v, want a reset", err)
	}
	if end := r.end(); end.Cause != plane.Operator || end.Err != nil || end.Client != victim {
		t.Errorf("end %+v", end)
	}
	exchange(t, stays, "3")
}

func testAbortDialling(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	channel := channelTo(blackhole(t))
	s := service(r.router(channel))
	s.ConnectTimeout = time.Hour
	r.listenAt("127.0.0.1", s).dial()
	eventually(t, "the session dials", func() bool { return channel.Active() == 1 })
	if n := r.plane.Abort(plane.Removed, func(s *plane.Session) bool { return s.State == plane.Dialing && s.Channel == channel }); n != 1 {
		t.Errorf("aborted %d sessions, want 1", n)
	}
	if end := r.end(); end.Cause != plane.Removed {
		t.Errorf("cause %v", end.Cause)
	}
	eventually(t, "the slot is given back", func() bool { return channel.Active() == 0 })
	if n := channel.Counters.Failures.Load(); n != 0 {
		t.Errorf("%d failures are counted", n)
	}
}

func testShutdown(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.listen(r.router(r.serve(echo)))
	polite, stubborn := d.dial(), d.dial()
	exchange(t, polite, "x")
	exchange(t, stubborn, "x")
	d.retire()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { r.plane.Shutdown(ctx); close(done) }()
	exchange(t, polite, "running sessions go on")
	polite.Close()
	if end := r.end(); end.Cause != plane.ClientClosed {
		t.Errorf("cause %v", end.Cause)
	}
	cancel()
	<-done
	if end := r.end(); end.Cause != plane.Shutdown {
		t.Errorf("cause %v", end.Cause)
	}
	if _, err := stubborn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client saw %v, want a reset", err)
	}
	r.plane = newPlane(plane.Options{}) // for the clean-up
}
