package planetest

import (
	"net"
	"strings"
	"testing"
	"time"

	"balance/engine/plane"
)

// Without descriptors the plane pauses, and the clients wait. With descriptors
// it goes on, and all are served, by the channel that is theirs: what this
// machine lacks is no reason to go to another group.
func testNoDescriptors(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.bind("127.0.0.1", service(r.router(r.serve(greet("served")), r.serve(greet("by another")))))
	var clients []*net.TCPConn
	for range 20 {
		clients = append(clients, d.dial())
	}
	restore := limitDescriptors(t, 3)
	d.acceptor.Serve(d.listener)
	eventually(t, "the plane pauses", func() bool { return strings.Contains(r.log.String(), ", pausing") })
	time.Sleep(100 * time.Millisecond)
	if n := strings.Count(r.log.String(), ", pausing"); n > 10 {
		t.Errorf("%d attempts to accept in a tenth of a second", n)
	}
	restore()
	for _, client := range clients {
		client.CloseWrite()
		if got := readAll(t, client); got != "served" {
			t.Errorf("a client got %q", got)
		}
	}
}

// One descriptor is left at a time: clients are accepted, but cannot be
// connected to their channel. They wait for as long as connecting may take.
func testOneDescriptor(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	s := service(r.router(r.serve(greet("served")), r.serve(greet("by another"))))
	s.ConnectTimeout = 300 * time.Millisecond
	d := r.bind("127.0.0.1", s)
	client := d.dial()
	restore := limitDescriptors(t, 1)
	d.acceptor.Serve(d.listener)
	if got := readAll(t, client); got != "" {
		t.Errorf("the client got %q", got)
	}
	if end := r.end(); end.Cause != plane.NoChannel || end.Group != 0 {
		t.Errorf("cause %v, group %d", end.Cause, end.Group)
	}
	restore()
	next := d.dial()
	next.CloseWrite()
	if got := readAll(t, next); got != "served" {
		t.Errorf("the next client got %q", got)
	}
}
