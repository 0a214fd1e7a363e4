package planetest

import (
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"balance/engine/balancer"
	"balance/engine/plane"
)

// racing returns a door to one channel with the addresses and room for a single
// session, and how many descriptors are open before the first.
func racing(t *testing.T, r *rig, timeout time.Duration, addrs ...netip.AddrPort) (*door, *balancer.Channel, int) {
	t.Helper()
	channel := channelTo(addrs...)
	channel.SetLimit(1)
	s := service(r.router(channel))
	s.ConnectTimeout = timeout
	return r.listenAt("127.0.0.1", s), channel, openDescriptors(t)
}

// underWay waits until a session makes so many attempts to connect: they, and
// both ends of the client, are the descriptors that are new.
func underWay(t *testing.T, attempts, before int, channel *balancer.Channel) {
	t.Helper()
	if before > 0 {
		eventually(t, "the attempts are under way", func() bool { return openDescriptors(t) == before+2+attempts })
	}
	eventually(t, "the session dials", func() bool { return channel.Active() > 0 })
	if n := channel.Active(); n != 1 {
		t.Errorf("%d attempts hold %d slots", attempts, n)
	}
}

// Addresses that do not answer hold nobody up for as long as connecting may
// take, and the attempts at them end once another answers.
func testRace(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	told := make(chan struct{})
	good := r.serve(func(conn *net.TCPConn) {
		<-told
		greet("here")(conn)
	}).Addresses()[0]
	d, channel, before := racing(t, r, time.Hour, blackhole(t), blackhole(t), good)
	client := d.dial()
	r.relaying(1)
	if before > 0 {
		// The client, the server and the session's sides.
		eventually(t, "the other attempts are closed", func() bool { return openDescriptors(t) <= before+4 })
	}
	close(told)
	client.CloseWrite()
	if got := readAll(t, client); got != "here" {
		t.Errorf("got %q", got)
	}
	if end := r.end(); end.Cause != plane.ClientClosed || channel.Counters.Failures.Load() != 0 || channel.Counters.Sessions.Load() != 1 {
		t.Errorf("cause %v, failures %d, sessions %d", end.Cause, channel.Counters.Failures.Load(), channel.Counters.Sessions.Load())
	}
}

// However many addresses are silent, the channel fails once, in time.
func testRaceTimeout(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d, channel, before := racing(t, r, 2*time.Second, blackhole(t), blackhole(t))
	client := d.dial()
	underWay(t, 2, before, channel)
	if got := readAll(t, client); got != "" {
		t.Errorf("got %q", got)
	}
	end := r.end()
	if n := channel.Dials.Failed(balancer.TimedOut); n != 1 || channel.Counters.Failures.Load() != 1 || end.Cause != plane.NoChannel {
		t.Errorf("%d timeouts, %d failures, cause %v", n, channel.Counters.Failures.Load(), end.Cause)
	}
	if channel.Active() != 0 {
		t.Errorf("%d slots are held", channel.Active())
	}
}

// The first address answers after the second was tried, and is not too late.
func testRaceLateWinner(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	addr, fd := silent(t)
	d, channel, before := racing(t, r, time.Hour, addr, blackhole(t))
	client := d.dial()
	underWay(t, 2, before, channel)
	r.serveOn(listenerOf(t, fd), func(conn *net.TCPConn) { io.WriteString(conn, "late") })
	client.CloseWrite()
	if got := readAll(t, client); got != "late" {
		t.Errorf("got %q", got)
	}
	if n := channel.Counters.Failures.Load(); n != 0 {
		t.Errorf("%d failures", n)
	}
}

// listenerOf returns a listener with a descriptor of its own for a socket.
func listenerOf(t *testing.T, fd int) net.Listener {
	t.Helper()
	again, err := unix.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(again), "")
	defer file.Close()
	listener, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// With its session, all attempts end.
func testRaceAbandoned(t *testing.T, newPlane New) {
	for name, leave := range map[string]func(*rig, *net.TCPConn){
		"Client": func(_ *rig, client *net.TCPConn) {
			client.SetLinger(0)
			client.Close()
		},
		"Operator": func(r *rig, client *net.TCPConn) {
			r.plane.Abort(plane.Operator, func(*plane.Session) bool { return true })
			client.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, newPlane)
			d, channel, before := racing(t, r, time.Hour, blackhole(t), blackhole(t))
			client := d.dial()
			underWay(t, 2, before, channel)
			leave(r, client)
			r.end()
			eventually(t, "all descriptors are closed", func() bool { return openDescriptors(t) <= before })
			if channel.Active() != 0 {
				t.Errorf("%d slots are held", channel.Active())
			}
		})
	}
}
