package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"balance/control"
	"balance/engine/balancer"
	"balance/engine/spec"
)

// twoNames knows db.example; it has nothing to say of other names.
type twoNames struct{}

func (twoNames) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if host == "db.example" {
		return []netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1")}, nil
	}
	return nil, errors.New("no such host")
}

func TestProbe(t *testing.T) {
	server, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	gone, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	port := func(l net.Listener) uint16 { return uint16(l.Addr().(*net.TCPAddr).Port) }
	checked := spec.Group{Check: spec.DefaultCheck(), Channels: []spec.Channel{
		{Host: "127.0.0.1", Port: port(server)},
		{Host: "db.example", Port: port(server)},
		{Host: "127.0.0.2", Port: 1, CheckHost: "127.0.0.1", CheckPort: port(server), Disabled: true},
	}}
	checked.Check.Type = spec.CheckTCP
	checked.Check.Timeout = patience
	bad := spec.Group{Check: checked.Check, Channels: []spec.Channel{{Host: "127.0.0.1", Port: port(gone)}, {Host: "nowhere.example", Port: 1}}}
	unchecked := spec.Group{Channels: []spec.Channel{{Host: "127.0.0.1", Port: port(gone)}}}
	run := func(groups ...spec.Group) (states []balancer.State, passed bool, table string) {
		listeners, passed := probeAll(context.Background(), &spec.Config{Listeners: []spec.Listener{{Name: "web"}, {Name: "db", Groups: groups}}}, twoNames{})
		for _, g := range listeners[1].Groups {
			for _, c := range g.Channels {
				states = append(states, c.State)
			}
		}
		return states, passed, strings.Join(control.HealthTable(listeners, time.Now()), "\n")
	}
	states, passed, table := run(checked, unchecked)
	if !passed || len(states) != 4 || states[0] != balancer.StateUp || states[1] != balancer.StateUp || states[2] != balancer.StateUp || states[3] != balancer.StateUntested {
		t.Errorf("%v, passed %t\n%s", states, passed, table)
	}
	if !strings.Contains(table, "no check") {
		t.Errorf("nothing tells that there is no check:\n%s", table)
	}
	states, passed, table = run(bad, checked)
	if passed || len(states) != 5 || states[0] != balancer.StateDown || states[1] != balancer.StateUnresolved || states[2] != balancer.StateUp {
		t.Errorf("%v, passed %t\n%s", states, passed, table)
	}
	if !strings.Contains(table, `resolve "nowhere.example": no such host`) || !strings.Contains(table, "refused") {
		t.Errorf("nothing tells why:\n%s", table)
	}
}

// TestProbeIsBounded has more channels than are checked at a time, and names
// that hold up whoever asks for them.
func TestProbeIsBounded(t *testing.T) {
	group := spec.Group{Check: spec.DefaultCheck(), Channels: make([]spec.Channel, 3*probesAtOnce)}
	group.Check.Type = spec.CheckTCP
	for i := range group.Channels {
		group.Channels[i] = spec.Channel{Host: "held.example", Port: 1}
	}
	held := &heldNames{full: make(chan struct{})}
	listeners, passed := probeAll(context.Background(), &spec.Config{Listeners: []spec.Listener{{Name: "web", Groups: []spec.Group{group}}}}, held)
	if passed || len(listeners[0].Groups[0].Channels) != len(group.Channels) {
		t.Errorf("%d channels, passed %t", len(listeners[0].Groups[0].Channels), passed)
	}
	if n := held.most.Load(); n != probesAtOnce {
		t.Errorf("%d checks at a time", n)
	}
}

// heldNames holds up all who ask until there are as many as there may be.
type heldNames struct {
	now, most atomic.Int64
	full      chan struct{}
	once      sync.Once
}

func (h *heldNames) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	n := h.now.Add(1)
	defer h.now.Add(-1)
	for most := h.most.Load(); n > most && !h.most.CompareAndSwap(most, n); most = h.most.Load() {
	}
	if n >= probesAtOnce {
		h.once.Do(func() { close(h.full) })
	}
	select {
	case <-h.full:
	case <-ctx.Done():
	}
	return nil, errors.New("no such host")
}
