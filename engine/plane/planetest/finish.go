package planetest

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"balance/engine/plane"
)

func of(client *net.TCPConn) func(*plane.Session) bool {
	addr := client.LocalAddr().(*net.TCPAddr).AddrPort()
	return func(s *plane.Session) bool { return s.Client == addr }
}

// finish has the session of a client ended in order.
func (r *rig) finish(client *net.TCPConn) {
	r.Helper()
	if n := r.plane.Finish(plane.Rebalanced, of(client)); n != 1 {
		r.Errorf("finished %d sessions, want 1", n)
	}
}

// Both sides are told by an end of stream, whatever the client still says.
func testFinish(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	served := make(chan error, 2)
	d := r.listen(r.router(r.serve(func(conn *net.TCPConn) {
		_, err := io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{conn})
		served <- err
	})))
	stays, goes := d.dial(), d.dial()
	exchange(t, stays, "1")
	exchange(t, goes, "2")
	r.relaying(2)
	said := make(chan error, 1)
	r.finish(goes)
	go func() {
		for {
			if _, err := io.WriteString(goes, "and"); err != nil {
				said <- err
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	// What came before it parted is echoed.
	if _, err := io.Copy(io.Discard, struct{ io.Reader }{goes}); err != nil {
		t.Errorf("the client saw %v, want the end of stream", err)
	}
	if err := await(t, served); err != nil {
		t.Errorf("the server saw %v, want the end of stream", err)
	}
	goes.Close()
	<-said
	if end := r.end(); end.Cause != plane.Rebalanced || end.Err != nil {
		t.Errorf("the session ends: %s, %v", end.Cause.How(), end.Err)
	}
	exchange(t, stays, "3")
	if n := r.plane.Finish(plane.Rebalanced, of(goes)); n != 0 {
		t.Errorf("finished %d sessions that have ended", n)
	}
}

// What was read for a client who takes its time comes before the end of stream,
// and what was not does not come at all.
func testFinishInFlight(t *testing.T, newPlane New) {
	for name, half := range map[string]bool{"Relaying": false, "HalfClosed": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, newPlane)
			client := r.listen(r.router(r.serve(flood))).dial()
			if half {
				client.CloseWrite()
			}
			eventually(t, "there are bytes that nobody takes", func() bool { return r.budget.Kept() > 0 })
			r.finish(client)
			got, err := io.Copy(io.Discard, struct{ io.Reader }{client})
			if err != nil {
				t.Errorf("the client saw %v, want the end of stream", err)
			}
			client.Close()
			if end := r.end(); end.Cause != plane.Rebalanced || end.Received != uint64(got) {
				t.Errorf("the session ends: %s; %d of %d bytes have come", end.Cause.How(), got, end.Received)
			}
		})
	}
}

// Who takes nothing of what waits for it is reset.
func testFinishStuck(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	client := r.listen(r.router(r.serve(flood))).dial()
	eventually(t, "there are bytes that nobody takes", func() bool { return r.budget.Kept() > 0 })
	r.finish(client)
	if end := r.end(); end.Cause != plane.Rebalanced {
		t.Errorf("the session ends: %s", end.Cause.How())
	}
	if _, err := io.Copy(io.Discard, struct{ io.Reader }{client}); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client saw %v, want a reset", err)
	}
}

// An answer that is due comes, while idle sessions end.
func testFinishAnswers(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	asked, answer := make(chan bool, 1), make(chan bool)
	waiting := r.listen(r.router(r.serve(func(conn *net.TCPConn) {
		io.ReadFull(conn, make([]byte, 1))
		asked <- true
		<-answer
		io.WriteString(conn, "the answer")
		io.Copy(io.Discard, struct{ io.Reader }{conn})
	}))).dial()
	idle := r.listen(r.router(r.serve(echo))).dial()
	exchange(t, idle, "hello")
	io.WriteString(waiting, "?")
	await(t, asked)
	r.relaying(2)
	if n := r.plane.Finish(plane.MaxAge, func(*plane.Session) bool { return true }); n != 2 {
		t.Errorf("finished %d sessions", n)
	}
	leaving := 0
	r.plane.Sessions(func(s plane.Session) bool {
		if s.Leaving {
			leaving++
		}
		return true
	})
	if leaving != 2 {
		t.Errorf("%d sessions are leaving", leaving)
	}
	if got := readAll(t, idle); got != "" {
		t.Errorf("got %q", got)
	}
	idle.Close()
	if end := r.end(); end.Cause != plane.MaxAge || !of(idle)(&end.Session) {
		t.Errorf("the session of %s ends: %s", end.Client, end.Cause.How())
	}
	close(answer)
	if got := readAll(t, waiting); got != "the answer" {
		t.Errorf("got %q", got)
	}
	waiting.Close()
	if end := r.end(); end.Cause != plane.MaxAge {
		t.Errorf("the session ends: %s", end.Cause.How())
	}
}

// Peers that do not mind the end of stream do not hold up the end.
func testFinishUnheard(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	done := make(chan bool)
	defer close(done)
	client := r.listen(r.router(r.serve(func(conn *net.TCPConn) {
		io.WriteString(conn, "hello")
		<-done
	}))).dial()
	io.ReadFull(client, make([]byte, 5))
	r.finish(client)
	if end := r.end(); end.Cause != plane.Rebalanced {
		t.Errorf("the session ends: %s", end.Cause.How())
	}
	if got := readAll(t, client); got != "" {
		t.Errorf("got %q", got)
	}
}

func testFinishDialling(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	channel := channelTo(blackhole(t))
	s := service(r.router(channel))
	s.ConnectTimeout = time.Hour
	client := r.listenAt("127.0.0.1", s).dial()
	eventually(t, "the session dials", func() bool { return channel.Active() == 1 })
	r.finish(client)
	if got := readAll(t, client); got != "" {
		t.Errorf("got %q", got)
	}
	if end := r.end(); end.Cause != plane.Rebalanced {
		t.Errorf("the session ends: %s", end.Cause.How())
	}
	eventually(t, "the slot is given back", func() bool { return channel.Active() == 0 })
}
