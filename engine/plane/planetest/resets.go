package planetest

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"balance/engine/plane"
)

func testResetByClient(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	serverErr := make(chan error, 1)
	client := r.listen(r.router(r.serve(func(conn *net.TCPConn) {
		_, err := io.Copy(io.Discard, conn)
		serverErr <- err
	}))).dial()
	io.WriteString(client, "x")
	r.relaying(1)
	eventually(t, "the byte has passed", func() bool { s := r.relaying(1); return s[0].Sent == 1 })
	client.SetLinger(0)
	client.Close()
	if err := <-serverErr; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server saw %v, want a reset", err)
	}
	if end := r.end(); end.Cause != plane.ClientFailed || !errors.Is(end.Err, syscall.ECONNRESET) {
		t.Errorf("cause %v, error %v", end.Cause, end.Err)
	}
}

func testResetByChannel(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	client := r.listen(r.router(r.serve(func(conn *net.TCPConn) {
		io.ReadFull(conn, make([]byte, 1))
		conn.SetLinger(0)
	}))).dial()
	io.WriteString(client, "x")
	if _, err := io.ReadAll(client); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client saw %v, want a reset", err)
	}
	if end := r.end(); end.Cause != plane.ChannelFailed {
		t.Errorf("cause %v, error %v", end.Cause, end.Err)
	}
}

// A reset in the midst of a long stream must not look like its end.
func testResetInBulk(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.listen(r.router(r.serve(func(conn *net.TCPConn) {
		chunk := make([]byte, 1<<20)
		for range 8 + rand.IntN(8) {
			conn.Write(chunk)
		}
		conn.SetLinger(0)
	})))
	for range 20 {
		client, err := net.Dial("tcp", d.socket.Addr().String())
		if err == nil { // or else the reset was faster than the return of connect
			client.SetDeadline(time.Now().Add(patience))
			_, err = io.Copy(io.Discard, client)
			client.Close()
		}
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client saw %v, want a reset", err)
		}
		if end := r.end(); end.Cause != plane.ChannelFailed {
			t.Errorf("cause %v, error %v", end.Cause, end.Err)
		}
	}
}

// The bytes of a sender who breaks wait for a receiver who does not read.
func testResetWhileStuck(t *testing.T, newPlane New) {
	for name, chunk := range map[string]int{"Copied": 1000, "Spliced": 1 << 20} {
		t.Run("ByClient"+name, func(t *testing.T) {
			r := newRig(t, newPlane)
			release := make(chan struct{})
			serverErr := make(chan error, 1)
			client := r.listen(r.router(r.serve(func(conn *net.TCPConn) {
				<-release
				_, err := io.Copy(io.Discard, conn)
				serverErr <- err
			}))).dial()
			defer close(release)
			r.fill(client, chunk)
			client.SetLinger(0)
			client.Close()
			if end := r.end(); end.Cause != plane.ClientFailed || !errors.Is(end.Err, syscall.ECONNRESET) {
				t.Errorf("cause %v, error %v", end.Cause, end.Err)
			}
			release <- struct{}{}
			if err := await(r, serverErr); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the server saw %v, want a reset", err)
			}
		})
		t.Run("ByChannel"+name, func(t *testing.T) {
			r := newRig(t, newPlane)
			client := r.listen(r.router(r.serve(func(conn *net.TCPConn) {
				r.fill(conn, chunk)
				conn.SetLinger(0)
			}))).dial()
			if end := r.end(); end.Cause != plane.ChannelFailed || !errors.Is(end.Err, syscall.ECONNRESET) {
				t.Errorf("cause %v, error %v", end.Cause, end.Err)
			}
			if _, err := io.Copy(io.Discard, client); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client saw %v, want a reset", err)
			}
		})
	}
}

// fill writes until the plane keeps bytes that nobody takes, and takes no more.
func (r *rig) fill(conn *net.TCPConn, chunk int) {
	bytes := make([]byte, chunk)
	end := time.Now().Add(patience)
	for n := 1; n > 0 || r.budget.Kept() == 0; {
		conn.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		var err error
		if n, err = conn.Write(bytes); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) || time.Now().After(end) {
			r.Errorf("the plane keeps %d bytes: %v", r.budget.Kept(), err)
			return
		}
	}
}

// The connection of one side is found broken when the other side's bytes
// cannot be written to it; what had come from it is delivered all the same.
func testResetOfTheOther(t *testing.T, newPlane New) {
	const size = 50_000
	r := newRig(t, newPlane)
	got := make(chan received, 1)
	d := r.listen(r.router(r.serve(func(conn *net.TCPConn) {
		chatting := make(chan struct{})
		go func() {
			defer close(chatting)
			for {
				if _, err := conn.Write([]byte("x")); err != nil {
					return
				}
			}
		}()
		time.Sleep(20 * time.Millisecond)
		got <- receive(conn)
		<-chatting
	})))
	for range 50 {
		client := d.dial()
		io.ReadFull(client, make([]byte, 1))
		client.Write(make([]byte, size))
		client.SetLinger(0)
		client.Close()
		if g := await(r, got); g.n != size { // a write may have been told of the reset
			t.Errorf("the server got %d bytes of %d, then %v", g.n, size, g.err)
		}
		if end := r.end(); end.Cause != plane.ClientFailed {
			t.Errorf("cause %v, error %v", end.Cause, end.Err)
		}
	}
}

// received is what came over a connection, and how it ended.
type received struct {
	n   int64
	err error
}

func receive(conn *net.TCPConn) received {
	n, err := io.Copy(io.Discard, struct{ io.Reader }{conn})
	return received{n, err}
}

// A client who resets before it is accepted, and sent nothing, bothers no
// channel.
func testResetAtOnce(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	var served atomic.Int32
	channel := r.serve(func(conn *net.TCPConn) {
		served.Add(1)
		echo(conn)
	})
	d := r.bind("127.0.0.1", service(r.router(channel)))
	const clients = 50
	for range clients {
		client := d.dial()
		client.SetLinger(0)
		client.Close()
	}
	d.acceptor.Serve(d.listener)
	for range clients {
		if end := r.end(); end.Cause != plane.ClientFailed || !errors.Is(end.Err, syscall.ECONNRESET) {
			t.Errorf("cause %v, error %v", end.Cause, end.Err)
		}
	}
	exchange(t, dialTo(t, channel.Addresses()[0]), "whoever came before has been accepted by now")
	if n := served.Load() - 1; n > 0 {
		t.Errorf("%d clients that were gone reached the channel", n)
	}
	if n := channel.Counters.Failures.Load(); n > 0 {
		t.Errorf("%d failures are counted", n)
	}
}

// A client who resets, and sent nothing, gives its place back.
func testResetWhileDialling(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	channel := channelTo(blackhole(t))
	s := service(r.router(channel))
	s.ConnectTimeout = time.Hour
	client := r.listenAt("127.0.0.1", s).dial()
	eventually(t, "the session dials", func() bool { return channel.Active() == 1 })
	client.SetLinger(0)
	client.Close()
	if end := r.end(); end.Cause != plane.ClientFailed || !errors.Is(end.Err, syscall.ECONNRESET) {
		t.Errorf("cause %v, error %v", end.Cause, end.Err)
	}
	if active, failures := channel.Active(), channel.Counters.Failures.Load(); active != 0 || failures != 0 {
		t.Errorf("active %d, failures %d", active, failures)
	}
}

// What came before a reset is delivered, and then the reset, however slowly
// the server takes it.
func testBytesThenReset(t *testing.T, newPlane New) {
	for name, try := range map[string]struct {
		size   int64
		buffer int // of the server, 0 = the system's
		pause  time.Duration
	}{
		"Few":        {size: 13},
		"Many":       {size: 50_000},
		"SlowServer": {size: 50_000, buffer: 4 << 10, pause: 300 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, newPlane)
			got := make(chan received, 1)
			blackholed := channelTo(blackhole(t))
			server := r.serveWith(try.buffer, func(conn *net.TCPConn) {
				time.Sleep(try.pause)
				got <- receive(conn)
			})
			s := service(r.router(blackholed, server))
			s.ConnectTimeout = 600 * time.Millisecond
			client := r.listenAt("127.0.0.1", s).dial()
			eventually(t, "the session dials", func() bool { return blackholed.Active() == 1 })
			client.Write(make([]byte, try.size))
			client.SetLinger(0)
			client.Close()
			if g := await(r, got); g.n != try.size || !errors.Is(g.err, syscall.ECONNRESET) {
				t.Errorf("the server got %d bytes of %d, then %v", g.n, try.size, g.err)
			}
			if end := r.end(); end.Cause != plane.ClientFailed || !errors.Is(end.Err, syscall.ECONNRESET) || int64(end.Sent) != try.size {
				t.Errorf("cause %v, error %v, sent %d", end.Cause, end.Err, end.Sent)
			}
		})
	}
}

// Clients who send something and reset, before or after the dial is done, as it
// happens.
func testBytesThenResetAtOnce(t *testing.T, newPlane New) {
	const clients, size = 200, 13
	r := newRig(t, newPlane)
	got := make(chan received, clients)
	d := r.listen(r.router(r.serve(func(conn *net.TCPConn) { got <- receive(conn) })))
	for range clients {
		client := d.dial()
		client.Write(make([]byte, size))
		client.SetLinger(0)
		client.Close()
	}
	for range clients {
		if g := await(r, got); g.n != size || !errors.Is(g.err, syscall.ECONNRESET) {
			t.Errorf("the server got %d bytes of %d, then %v", g.n, size, g.err)
		}
		if end := r.end(); end.Cause != plane.ClientFailed {
			t.Errorf("cause %v, error %v", end.Cause, end.Err)
		}
	}
}
