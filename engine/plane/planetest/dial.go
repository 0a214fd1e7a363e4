package planetest

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"balance/engine/balancer"
	"balance/engine/plane"
)

func testFailover(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	refused, blackholed := channelTo(r.refused()), channelTo(blackhole(t))
	s := service(r.router(refused, blackholed, r.serve(greet("third"))))
	s.ConnectTimeout = 200 * time.Millisecond
	client := r.listenAt("127.0.0.1", s).dial()
	client.CloseWrite()
	if got := readAll(t, client); got != "third" {
		t.Errorf("got %q", got)
	}
	if end := r.end(); end.Group != 2 {
		t.Errorf("served by group %d, want 2", end.Group)
	}
	for _, c := range []*balancer.Channel{refused, blackholed} {
		if c.Active() != 0 || c.Counters.Failures.Load() != 1 || c.Counters.Sessions.Load() != 0 {
			t.Errorf("channel %s: active %d, failures %d", c.Key(), c.Active(), c.Counters.Failures.Load())
		}
	}
}

// A dial that began before the operator enabled the channel and fails after it
// is counted, and does not disable the channel again.
func testNewChance(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	channel := channelTo(blackhole(t))
	s := service(balancer.NewRouter([]balancer.Group{{Channels: []*balancer.Channel{channel}}}, balancer.Options{AutoDisable: true}, nil))
	s.ConnectTimeout = 300 * time.Millisecond
	d := r.listenAt("127.0.0.1", s)
	d.dial()
	eventually(t, "the session dials", func() bool { return channel.Active() == 1 })
	channel.Enable()
	r.end()
	if n := channel.Dials.Failed(balancer.TimedOut); n != 1 || !channel.Enabled() || channel.Failing() {
		t.Errorf("%d failures, enabled %t, failing %t", n, channel.Enabled(), channel.Failing())
	}
	d.dial()
	r.end()
	if n := channel.Dials.Failed(balancer.TimedOut); n != 2 || channel.Enabled() {
		t.Errorf("a dial that began later: %d failures, enabled %t", n, channel.Enabled())
	}
}

// A channel whose name has many addresses is one channel.
func testManyAddresses(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	good := r.serve(greet("here")).Addresses()[0]
	channel := channelTo(r.refused(), blackhole(t), good)
	s := service(r.router(channel))
	s.ConnectTimeout = time.Hour
	client := r.listenAt("127.0.0.1", s).dial()
	client.CloseWrite()
	if got := readAll(t, client); got != "here" {
		t.Errorf("got %q", got)
	}
	if channel.Counters.Failures.Load() != 0 || channel.Counters.Sessions.Load() != 1 {
		t.Errorf("failures %d, sessions %d", channel.Counters.Failures.Load(), channel.Counters.Sessions.Load())
	}
}

// However many addresses of a channel refuse, its failure is one line of
// bounded length.
func testDeadAddresses(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	refused := r.refused()
	addrs := slices.Repeat([]netip.AddrPort{refused}, 200)
	channel := channelTo(addrs...)
	client := r.listen(r.router(channel)).dial()
	readAll(t, client)
	r.end()
	if n := channel.Dials.Failed(balancer.Refused); n != 1 || channel.Counters.Failures.Load() != 1 {
		t.Errorf("%d failures because the channel refused, %d in all", n, channel.Counters.Failures.Load())
	}
	log := r.log.String()
	if !strings.Contains(log, "and 197 more") || strings.Count(log, refused.String()) > 5 || len(log) > 2000 {
		t.Errorf("the log:\n%.4000s", log)
	}
}

// A client on its way when the configuration takes away all that was left for
// it starts again with the new one.
func testRerouted(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	blackholed, removed := channelTo(blackhole(t)), r.serve(greet("old"))
	s := service(r.router(blackholed, removed))
	s.ConnectTimeout = 300 * time.Millisecond
	d := r.listenAt("127.0.0.1", s)
	client := d.dial()
	eventually(t, "the session dials", func() bool { return blackholed.Active() == 1 })
	d.listener.SetService(service(r.router(r.serve(greet("new")))))
	removed.Remove()
	client.CloseWrite()
	if got := readAll(t, client); got != "new" {
		t.Errorf("got %q", got)
	}
}

func testNoChannel(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.listen(r.router(channelTo(r.refused()), channelTo(r.refused())))
	if got := readAll(t, d.dial()); got != "" {
		t.Errorf("got %q", got)
	}
	if end := r.end(); end.Cause != plane.NoChannel || d.listener.Rejected[balancer.NoneAnswered].Load() != 1 {
		t.Errorf("cause %v, rejected %d", end.Cause, d.listener.Rejected[balancer.NoneAnswered].Load())
	}
}

// A client for whom there is no channel sees a reset where that is asked for,
// whether channels were tried or not.
func testResetUnserved(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	disabled, refused := channelTo(r.refused()), channelTo(r.refused())
	disabled.Disable()
	for _, channel := range []*balancer.Channel{disabled, refused} {
		s := service(r.router(channel))
		s.ResetUnserved = true
		d := r.listenAt("127.0.0.1", s)
		conn, err := net.Dial("tcp", d.socket.Addr().String())
		if err == nil { // or else the reset was faster than the return of connect
			conn.SetDeadline(time.Now().Add(patience))
			_, err = conn.Read(make([]byte, 1))
			conn.Close()
		}
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client saw %v, want a reset", err)
		}
		if end := r.end(); end.Cause != plane.NoChannel || end.Err != nil {
			t.Errorf("cause %v, error %v", end.Cause, end.Err)
		}
		d.listener.SetService(service(r.router(channel)))
		if got := readAll(t, d.dial()); got != "" {
			t.Errorf("got %q", got)
		}
		r.end()
	}
}

func testSource(t *testing.T, newPlane New) {
	if runtime.GOOS != "linux" {
		t.Skip("127.0.0.2 is an address of this machine on Linux only")
	}
	r := newRig(t, newPlane)
	s := service(r.router(r.serve(func(conn *net.TCPConn) {
		io.WriteString(conn, conn.RemoteAddr().(*net.TCPAddr).IP.String())
	})))
	s.Source = netip.MustParseAddr("127.0.0.2")
	if got := readAll(t, r.listenAt("127.0.0.1", s).dial()); got != "127.0.0.2" {
		t.Errorf("dialled from %s", got)
	}
}

// The kernel connects a socket to itself that dials the very port it was given
// (simultaneous open, RFC 9293, 3.5), which happens to channels that are not
// there. They must not seem to answer.
func testSelfConnect(t *testing.T, newPlane New) {
	if !ownNetwork(t) {
		return
	}
	r := newRig(t, newPlane)
	own := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), 40_000)
	own6 := netip.AddrPortFrom(netip.IPv6Loopback(), own.Port())
	channels := []*balancer.Channel{channelTo(own), channelTo(own6, own), r.serve(greet("alive"))}
	s, from := service(r.router(channels...)), service(r.router(channels...))
	from.Source = own.Addr()
	doors := []*door{r.listenAt("127.0.0.1", s), r.listenAt("127.0.0.1", from)}
	onlyPort(t, own.Port())
	const rounds = 3
	for range rounds {
		for _, d := range doors {
			client := d.dial()
			client.CloseWrite()
			if got := readAll(t, client); got != "alive" {
				t.Errorf("got %q", got)
			}
			client.Close()
			if end := r.end(); end.Group != 2 {
				t.Errorf("served by group %d, want 2", end.Group)
			}
		}
	}
	for i, c := range channels[:2] {
		sessions, failures := c.Counters.Sessions.Load(), c.Counters.Failures.Load()
		if sessions != 0 || failures != rounds*uint64(len(doors)) {
			t.Errorf("channel %d, which is not there: %d sessions, %d failures", i, sessions, failures)
		}
	}
	if l, err := net.Listen("tcp", own.String()); err != nil {
		t.Errorf("the server cannot start: %v", err)
	} else {
		l.Close()
	}
}

// The address of a client alone, not its port, chooses in a hash group.
func testHash(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	group := balancer.Group{Mode: balancer.Hash}
	for i := range 8 {
		group.Channels = append(group.Channels, r.serve(greet(strconv.Itoa(i))))
	}
	d := r.listen(balancer.NewRouter([]balancer.Group{group}, balancer.Options{}, nil))
	first := ""
	for range 10 {
		client := d.dial()
		client.CloseWrite()
		got := readAll(t, client)
		if first == "" {
			first = got
		}
		if got == "" || got != first {
			t.Errorf("served by %q, then by %q", first, got)
		}
		r.end()
	}
}
