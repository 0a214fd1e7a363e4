package planetest

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"balance/engine/balancer"
	"balance/engine/plane"
)

// There is one port to connect from, and somebody else has it for the address of
// the channel: clients wait for it, for as long as connecting may take, and
// those of other channels do not.
func testNoPort(t *testing.T, newPlane New) {
	if !ownNetwork(t) {
		return
	}
	const only = 40_000
	from := netip.MustParseAddr("127.0.0.1")
	for name, source := range map[string]netip.Addr{"AnySource": {}, "Source": from} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, newPlane)
			primary, other := r.serve(greet("served")), r.serve(greet("by another"))
			// Each client takes the one port to a door of its own.
			doorTo := func(timeout time.Duration, channels ...*balancer.Channel) *door {
				s := service(r.router(channels...))
				s.ConnectTimeout, s.Source = timeout, source
				return r.listenAt("127.0.0.1", s)
			}
			patient, hasty := doorTo(time.Hour, primary, other), doorTo(200*time.Millisecond, primary, other)
			several := primary.Addresses()[0]
			another := doorTo(time.Hour, other)
			second := doorTo(2*time.Second, channelTo(several, r.serve(greet("at the second")).Addresses()[0]), other)
			onlyPort(t, only)
			holder := dialTo(t, primary.Addresses()[0])
			answer := func(d *door, want string, cause plane.Cause) {
				t.Helper()
				client := d.dial()
				client.CloseWrite()
				if got := readAll(t, client); got != want {
					t.Errorf("the client got %q, want %q", got, want)
				}
				client.Close()
				if end := r.end(); end.Cause != cause || end.Group != 0 {
					t.Errorf("cause %v, group %d, error %v", end.Cause, end.Group, end.Err)
				}
			}
			waits := patient.dial()
			waits.CloseWrite()
			eventually(t, "the session dials", func() bool { return primary.Active() == 1 })
			answer(another, "by another", plane.ClientClosed)
			answer(hasty, "", plane.NoChannel)
			answer(second, "at the second", plane.ClientClosed)
			if n := hasty.listener.Rejected[balancer.NoneAnswered].Load(); n != 1 || primary.Failing() {
				t.Errorf("%d clients were turned away, the channel fails: %t", n, primary.Failing())
			}
			if strings.Contains(r.log.String(), ", pausing") {
				t.Error("the plane pauses")
			}
			holder.SetLinger(0)
			holder.Close()
			if got := readAll(t, waits); got != "served" {
				t.Errorf("who has waited got %q", got)
			}
			if end := r.end(); end.Group != 0 {
				t.Errorf("who has waited is served by group %d", end.Group)
			}
		})
	}
}

// An address to connect from that this machine does not have is not waited for.
func testNoSource(t *testing.T, newPlane New) {
	if !ownNetwork(t) {
		return
	}
	r := newRig(t, newPlane)
	nowhere := service(r.router(r.serve(echo)))
	nowhere.Source, nowhere.ConnectTimeout = netip.MustParseAddr("192.0.2.1"), time.Hour
	if got := readAll(t, r.listenAt("127.0.0.1", nowhere).dial()); got != "" {
		t.Errorf("the client got %q", got)
	}
	if end := r.end(); end.Cause != plane.NoChannel {
		t.Errorf("cause %v", end.Cause)
	}
	noIPv6(t)
	four := service(r.router(channelTo(netip.AddrPortFrom(netip.IPv6Loopback(), 1)), r.serve(greet("by IPv4"))))
	four.ConnectTimeout = time.Hour
	client := r.listenAt("127.0.0.1", four).dial()
	client.CloseWrite()
	if got := readAll(t, client); got != "by IPv4" {
		t.Errorf("the client got %q", got)
	}
	if end := r.end(); end.Group != 1 {
		t.Errorf("served by group %d", end.Group)
	}
}
