package balancer

import "testing"

func TestRejection(t *testing.T) {
	for _, test := range []struct {
		want    string
		prepare func(a, b *Channel)
	}{
		{"failed", func(a, b *Channel) { b.Disable() }},
		{"failed", func(a, b *Channel) { b.SetLimit(1); b.slots.take() }},
		{"full", func(a, b *Channel) { a.Disable(); b.SetLimit(1); b.slots.take() }},
		{"failed", func(a, b *Channel) { b.SetHealth(Unhealthy, 1, "") }},
		{"down", func(a, b *Channel) { a.SetHealth(Unhealthy, 1, ""); b.SetHealth(Unhealthy, 1, "") }},
		{"down", func(a, b *Channel) { a.SetHealth(Unhealthy, 1, ""); b.Disable() }},
		{"full", func(a, b *Channel) { a.SetHealth(Unhealthy, 1, ""); b.SetLimit(1); b.slots.take() }},
		{"full", func(a, b *Channel) {
			a.Disable()
			observe(b, Options{HoldOff: 10, HoldOffMax: 10})
			b.SetLimit(1)
			b.slots.take()
		}},
		{"disabled", func(a, b *Channel) { a.SetHealth(Unhealthy, 1, ""); a.Disable(); b.Disable() }},
		{"disabled", func(a, b *Channel) { a.Disable(); b.Disable(); b.SetLimit(1); b.slots.take() }},
		{"disabled", func(a, b *Channel) { a.SetAddresses(nil); b.Disable() }},
		{"disabled", func(a, b *Channel) { a.Disable(); b.SetAddresses(nil); b.SetLimit(1); b.slots.take() }},
	} {
		group := rr("a", "b")
		test.prepare(group.Channels[0], group.Channels[1])
		route := NewRouter([]Group{group}, Options{}, nil).Route(client, 0)
		for route.Next(0) == Dial {
			route.Failed(errRefused, 0)
		}
		if got := route.Rejection().String(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
	var nowhere Route
	if got := nowhere.Rejection(); got != NoneInService {
		t.Errorf("a route without a router: %q", got)
	}
}
