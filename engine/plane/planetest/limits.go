package planetest

import (
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"balance/engine/balancer"
	"balance/engine/plane"

	"golang.org/x/sys/unix"
)

func testLimit(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	const limit, clients = 3, 12
	var mu sync.Mutex
	inside, most := 0, 0
	channel := r.serve(func(conn *net.TCPConn) {
		mu.Lock()
		inside++
		most = max(most, inside)
		mu.Unlock()
		echo(conn)
		mu.Lock()
		inside--
		mu.Unlock()
	})
	channel.SetLimit(limit)
	d := r.listen(r.router(channel))
	var conns []*net.TCPConn
	for range clients {
		conns = append(conns, d.dial())
	}
	for range clients - limit {
		if end := r.end(); end.Cause != plane.NoChannel {
			t.Errorf("cause %v", end.Cause)
		}
	}
	if channel.Active() != limit {
		t.Errorf("active %d, want %d", channel.Active(), limit)
	}
	for _, conn := range conns {
		conn.Close()
	}
	for range limit {
		r.end()
	}
	eventually(t, "the server has no client", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return inside == 0
	})
	exchange(t, d.dial(), "there is room again")
	mu.Lock()
	defer mu.Unlock()
	if most > limit {
		t.Errorf("the server had %d clients at once, limit %d", most, limit)
	}
}

// A client that has seen the end of its session finds the place free.
func testLimitInTurn(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	channel := r.serve(echo)
	channel.SetLimit(1)
	d := r.listen(r.router(channel))
	for i := range 300 {
		client := d.dial()
		client.CloseWrite()
		readAll(t, client)
		if active := channel.Active(); active != 0 {
			t.Fatalf("client %d has ended, active %d", i, active)
		}
		client.Close()
		if end := r.end(); end.Cause != plane.ClientClosed {
			t.Fatalf("client %d: cause %v", i, end.Cause)
		}
	}
}

// While the sessions keep too much, those go that have been stuck longest.
func testOverfull(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	echoing := r.listen(r.router(r.serve(echo)))
	flooding := r.listen(r.router(r.serve(flood)))
	busy, idle := echoing.dial(), echoing.dial()
	exchange(t, idle, "hello")
	var stuck []netip.AddrPort // clients that do not read
	kept := int64(0)
	for range 3 {
		client := flooding.dial()
		stuck = append(stuck, client.LocalAddr().(*net.TCPAddr).AddrPort())
		eventually(t, "there are bytes that nobody takes", func() bool { return r.budget.Kept() > kept })
		time.Sleep(1500 * time.Millisecond) // time is told in seconds
		kept = r.budget.Kept()
	}
	r.budget.SetLimit(kept) // which is not passed
	exchange(t, busy, "hello")
	r.budget.SetLimit(kept - 1)
	next := func() {
		t.Helper()
		if end := r.end(); end.Cause != plane.Overfull || end.Client != stuck[0] {
			t.Errorf("the session of %s ends: %s %s; want that of %s", end.Client, end.Cause.By(), end.Cause.How(), stuck[0])
		}
		stuck = stuck[1:]
	}
	next()
	eventually(t, "something is let go", func() bool { return r.budget.Excess() == 0 })
	if n := len(r.relaying(4)); n != 4 {
		t.Errorf("%d sessions are left", n)
	}
	for range 2 {
		r.budget.SetLimit(r.budget.Kept() - 1)
		next()
		eventually(t, "something is let go", func() bool { return r.budget.Excess() == 0 })
	}
	eventually(t, "all is let go", func() bool { return r.budget.Kept() == 0 })
	exchange(t, busy, "hello")
	exchange(t, idle, "hello")
	if log := r.log.String(); !strings.Contains(log, "too much is buffered") {
		t.Errorf("the log says nothing of it:\n%s", log)
	}
}

// Receivers that trickle are never stuck for long, but may not make the plane
// keep more than twice the limit.
func testOverfullAtOnce(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	busy := r.listen(r.router(r.serve(echo))).dial()
	flooding := r.listen(r.router(r.serve(flood)))
	exchange(t, busy, "hello")
	// Windows and segments are small, so that each read makes room.
	small := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 16<<10)
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, 1000)
		})
	}}
	var trickling sync.WaitGroup
	defer trickling.Wait()
	for range 3 {
		client, err := small.DialContext(t.Context(), "tcp", flooding.socket.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		trickling.Go(func() {
			some := make([]byte, 16<<10)
			for {
				if _, err := client.Read(some); err != nil {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
	eventually(t, "there are bytes that nobody takes", func() bool { return r.budget.Kept() > 0 })
	r.budget.SetLimit(1)
	for range 3 {
		if end := r.end(); end.Cause != plane.Overfull {
			t.Errorf("a session ends: %s %s", end.Cause.By(), end.Cause.How())
		}
	}
	exchange(t, busy, "hello")
}

// Clients beyond the most sessions that there may be wait in the queue, in
// whatever order sockets, sessions and limits come and go.
func testMaxSessions(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	r.plane.SetMaxSessions(3)
	router := r.router(r.serve(echo))
	doors := []*door{r.listen(router), r.listen(router)}
	var clients []*net.TCPConn
	for i := range 10 {
		client := doors[i%2].dial()
		io.WriteString(client, "x")
		clients = append(clients, client)
	}
	r.relaying(3)
	time.Sleep(50 * time.Millisecond)
	r.relaying(3)
	r.plane.SetMaxSessions(5)
	r.relaying(5)
	r.plane.SetMaxSessions(2) // closes nobody
	served := 0
	eventually(t, "everybody has been served", func() bool {
		// Whoever is served leaves.
		clients = slices.DeleteFunc(clients, func(client *net.TCPConn) bool {
			client.SetReadDeadline(time.Now().Add(time.Millisecond))
			if n, _ := client.Read(make([]byte, 1)); n == 0 {
				return false
			}
			client.Close()
			served++
			return true
		})
		if n := len(r.relayingNow()); n > 5 {
			t.Errorf("%d sessions relay", n)
		}
		return len(clients) == 0
	})
	if served != 10 || !strings.Contains(r.log.String(), "as many sessions as there may be") {
		t.Errorf("%d clients were served; the log:\n%s", served, r.log)
	}
}

// A listener may be its own channel, limits permitting.
func testChain(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.bind("127.0.0.1", nil)
	self := func(limit int) *balancer.Channel {
		c := channelTo(d.socket.Addr())
		c.SetLimit(limit)
		return c
	}
	channels := []*balancer.Channel{self(12), self(4), self(2), self(2), r.serve(echo)}
	d.listener.SetService(service(balancer.NewRouter([]balancer.Group{
		{Channels: channels[:1]}, {Channels: channels[1:2]}, {Channels: channels[2:4]}, {Channels: channels[4:]},
	}, balancer.Options{}, nil)))
	d.acceptor.Serve(d.listener)
	client := d.dial()
	exchange(t, client, "through 20 sessions of our own")
	for i, want := range []int{12, 4, 2, 2, 1} {
		if got := channels[i].Active(); got != want {
			t.Errorf("channel %d has %d sessions, want %d", i, got, want)
		}
	}
	second := d.dial()
	exchange(t, second, "straight to the server")
	client.Close()
	for range 21 {
		if end := r.end(); end.Cause != plane.ClientClosed && end.Cause != plane.ChannelClosed {
			t.Errorf("cause %v", end.Cause)
		}
	}
	second.Close()
	r.end()
	for i, c := range channels {
		eventually(t, "all slots are given back", func() bool { return c.Active() == 0 })
		if i == 4 && c.Counters.Sessions.Load() != 2 {
			t.Errorf("the server had %d clients, want 2", c.Counters.Sessions.Load())
		}
	}
}
