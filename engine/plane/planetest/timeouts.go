package planetest

import (
	"errors"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"balance/engine/plane"
)

func testIdleTimeout(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	s := service(r.router(r.serve(echo)))
	s.IdleTimeout = 500 * time.Millisecond // an exchange on a busy machine takes less
	client := r.listenAt("127.0.0.1", s).dial()
	exchange(t, client, "x")
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client saw %v, want a reset", err)
	}
	if end := r.end(); end.Cause != plane.IdleTimeout {
		t.Errorf("cause %v", end.Cause)
	}
}

func testHalfCloseTimeout(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	s := service(r.router(r.serve(func(conn *net.TCPConn) {
		conn.CloseWrite()
		io.Copy(io.Discard, conn)
	})))
	s.HalfCloseTimeout = 100 * time.Millisecond
	d := r.listenAt("127.0.0.1", s)
	d.dial()
	if end := r.end(); end.Cause != plane.HalfCloseTimeout {
		t.Errorf("cause %v", end.Cause)
	}
}

// A side that takes none of the bytes that wait for it loses its connection.
func testUserTimeout(t *testing.T, newPlane New) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has the option")
	}
	r := newRig(t, newPlane)
	wait := make(chan struct{})
	defer close(wait)
	for _, test := range []struct {
		serve  func(*net.TCPConn)
		client func(*net.TCPConn)
		cause  plane.Cause
	}{
		{flood, func(*net.TCPConn) {}, plane.ClientFailed},
		{func(*net.TCPConn) { <-wait }, flood, plane.ChannelFailed},
	} {
		s := service(r.router(r.serve(test.serve)))
		s.UserTimeout = time.Second
		client := r.listenAt("127.0.0.1", s).dial()
		go test.client(client)
		if end := r.end(); end.Cause != test.cause || !errors.Is(end.Err, syscall.ETIMEDOUT) {
			t.Errorf("the session ends because of %q: %v; want %q", end.Cause.How(), end.Err, test.cause.How())
		}
		client.Close()
	}
}

// flood sends until the connection is gone.
func flood(conn *net.TCPConn) {
	for chunk := make([]byte, 64<<10); ; {
		if _, err := conn.Write(chunk); err != nil {
			return
		}
	}
}

// The half-close timeout is not for sessions that are open both ways, and it
// begins with the end of the stream.
func testHalfCloseBegins(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	s := service(r.router(r.serve(func(conn *net.TCPConn) {
		io.Copy(io.Discard, conn)
		time.Sleep(50 * time.Millisecond)
		io.WriteString(conn, "in time")
	})))
	s.HalfCloseTimeout = time.Second
	client := r.listenAt("127.0.0.1", s).dial()
	io.WriteString(client, "x")
	time.Sleep(s.HalfCloseTimeout + 100*time.Millisecond)
	client.CloseWrite()
	if got := readAll(t, client); got != "in time" {
		t.Errorf("got %q", got)
	}
	if end := r.end(); end.Cause != plane.ClientClosed {
		t.Errorf("cause %v", end.Cause)
	}
}

// A running session follows a new timeout of its listener.
func testTimeoutChanges(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	s := service(r.router(r.serve(echo)))
	s.IdleTimeout = time.Hour
	d := r.listenAt("127.0.0.1", s)
	exchange(t, d.dial(), "x")
	shorter := service(s.Router)
	shorter.IdleTimeout = 50 * time.Millisecond
	d.listener.SetService(shorter)
	if end := r.end(); end.Cause != plane.IdleTimeout {
		t.Errorf("cause %v", end.Cause)
	}
}
