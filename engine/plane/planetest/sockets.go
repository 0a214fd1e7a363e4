package planetest

import (
	"net"
	"testing"

	"balance/engine/plane"
)

func testServeAnother(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.listen(r.router(r.serve(greet("one"))))
	old := d.dial()
	r.relaying(1)
	another := new(plane.Listener)
	another.SetService(service(r.router(r.serve(greet("two")))))
	d.acceptor.Serve(another)
	client := d.dial()
	client.CloseWrite()
	if got := readAll(t, client); got != "two" {
		t.Errorf("a new client got %q", got)
	}
	old.CloseWrite()
	if got := readAll(t, old); got != "one" {
		t.Errorf("an old client got %q", got)
	}
	if one, two := d.listener.Accepted.Load(), another.Accepted.Load(); one != 1 || two != 1 {
		t.Errorf("accepted %d and %d, want 1 each", one, two)
	}
}

// A socket goes from one plane to another with the clients in its queue.
func testAdoptAgain(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.listen(r.router(r.serve(greet("served"))))
	old := d.dial()
	r.relaying(1)
	d.acceptor.Stop()
	waiting := d.dial()
	another := newRig(t, newPlane)
	acceptor, err := another.plane.Adopt(d.socket)
	if err != nil {
		t.Fatal(err)
	}
	acceptor.Serve(d.listener)
	defer acceptor.Stop()
	for _, client := range []*net.TCPConn{waiting, d.dial(), old} {
		client.CloseWrite()
		if got := readAll(t, client); got != "served" {
			t.Errorf("a client got %q", got)
		}
	}
	r.end()
	another.end()
	another.end()
}

// Whoever has connected before a socket is retired is served.
func testRetire(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.bind("127.0.0.1", service(r.router(r.serve(greet("served")))))
	var waiting []*net.TCPConn
	for range 50 {
		waiting = append(waiting, d.dial())
	}
	d.acceptor.Serve(d.listener)
	d.retire()
	for _, client := range waiting {
		client.CloseWrite()
		if got := readAll(t, client); got != "served" {
			t.Fatalf("a client who waited got %q", got)
		}
	}
	if conn, err := net.Dial("tcp", d.socket.Addr().String()); err == nil {
		conn.Close()
		t.Error("the socket still accepts")
	}
}
