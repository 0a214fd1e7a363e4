package engine_test

import (
	"testing"

	"balance/engine"
	"balance/engine/spec"
)

// Checks that go to the channel itself begin as its clients do.
func TestCheckTarget(t *testing.T) {
	l := &spec.Listener{Name: "web"}
	for _, test := range []struct {
		name    string
		check   spec.Check
		channel spec.Channel
		host    string
		port    uint16
		proxy   int
	}{
		{"the channel", spec.Check{Type: spec.CheckTCP}, spec.Channel{Host: "h", Port: 1, SendProxy: spec.ProxyV1}, "h", 1, 1},
		{"no header", spec.Check{Type: spec.CheckHTTP}, spec.Channel{Host: "h", Port: 1}, "h", 1, 0},
		{"said to be there", spec.Check{Type: spec.CheckHTTP}, spec.Channel{Host: "h", Port: 1, CheckHost: "h", CheckPort: 1, SendProxy: spec.ProxyV2}, "h", 1, 2},
		{"another port", spec.Check{Type: spec.CheckHTTP, Port: 2}, spec.Channel{Host: "h", Port: 1, SendProxy: spec.ProxyV2}, "h", 2, 0},
		{"another host", spec.Check{Type: spec.CheckHTTP}, spec.Channel{Host: "h", Port: 1, CheckHost: "c", SendProxy: spec.ProxyV2}, "c", 1, 0},
		{"unix", spec.Check{Type: spec.CheckTCP, Port: 2}, spec.Channel{Host: "unix:/s", SendProxy: spec.ProxyV2}, "unix:/s", 0, 2},
		{"a program", spec.Check{Type: spec.CheckExec}, spec.Channel{Host: "h", Port: 1, SendProxy: spec.ProxyV2}, "h", 1, 0},
	} {
		got := engine.CheckTarget(l, &spec.Group{Check: test.check}, &test.channel)
		if got.Host != test.host || got.Port != test.port || got.SendProxy != test.proxy || (got.Listener != "") != (test.check.Type == spec.CheckExec) {
			t.Errorf("%s: %s %d, version %d, listener %q", test.name, got.Host, got.Port, got.SendProxy, got.Listener)
		}
	}
}
