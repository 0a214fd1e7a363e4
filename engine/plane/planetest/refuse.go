package planetest

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// refuse shuts the door, and skips the test where that is not to be had.
func (d *door) refuse() {
	d.Helper()
	d.acceptor.Stop()
	err := d.socket.Refuse(true)
	if errors.Is(err, errors.ErrUnsupported) {
		d.Skip("skipped: a listening socket cannot refuse clients here")
	}
	if err != nil {
		d.Fatal(err)
	}
}

// reopen opens the door again. The clients who come before it is served from are
// those that are returned.
func (d *door) reopen(early int) (waiting []*net.TCPConn) {
	d.Helper()
	if err := d.socket.Refuse(false); err != nil {
		d.Fatal(err)
	}
	for range early {
		waiting = append(waiting, d.dial())
	}
	var err error
	if d.acceptor, err = d.plane.Adopt(d.socket); err != nil {
		d.Fatal(err)
	}
	d.acceptor.Serve(d.listener)
	return waiting
}

func (d *door) expectRefusal() {
	d.Helper()
	if conn, err := net.Dial("tcp", d.socket.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		d.Errorf("a client of a socket that refuses: %v, %v", conn, err)
	}
}

// A socket may refuse clients once its acceptor has stopped, costs nothing
// meanwhile, and can be adopted again. No client who comes then is lost, and
// those who came before are not touched.
func testRefuse(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.listen(r.router(r.serve(echo)))
	old := d.dial()
	for range 3 {
		exchange(t, old, "hello")
		d.refuse()
		d.expectRefusal()
		// Whoever watched it, or accepted from it, would be told of it without end.
		eventually(t, "the plane is at rest", func() bool {
			before := processorTime(t)
			const while = 100 * time.Millisecond
			time.Sleep(while)
			return processorTime(t)-before < while/2
		})
		d.expectRefusal()
		exchange(t, old, "hello")
		for _, client := range append(d.reopen(10), d.dial()) {
			exchange(t, client, "served")
		}
	}
	d.refuse()
	d.retire()
	d.expectRefusal()
	exchange(t, old, "hello")
	if log := r.log.String(); strings.Contains(log, "cannot") {
		t.Errorf("the log:\n%s", log)
	}
}

// An acceptor that waits for a place is stopped as well, and the clients that
// wait with it are reset; those who come later wait for a place again.
func testRefuseWhileFull(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.listen(r.router(r.serve(echo)))
	r.plane.SetMaxSessions(1)
	old := d.dial()
	exchange(t, old, "hello")
	waiting := d.dial()
	eventually(t, "it is full", func() bool { return strings.Contains(r.log.String(), "as many sessions as there may be") })
	d.refuse()
	if _, err := waiting.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a client in the queue saw %v, want a reset", err)
	}
	later := d.reopen(1)[0]
	later.Write([]byte("x"))
	old.Close()
	if _, err := later.Read(make([]byte, 1)); err != nil {
		t.Errorf("a client who came later: %v", err)
	}
}

// processorTime returns how much the process has had.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
