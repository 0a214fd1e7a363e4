package balancer

import (
	"slices"
	"strings"
	"testing"
)

// A channel that its check says is down is given to nobody, but while fewer
// channels of its group are up than Panic asks for.
func TestPanic(t *testing.T) {
	for _, test := range []struct {
		percent  int
		down     string
		disabled string
		want     string // what is tried
	}{
		{0, "", "", "a b c d z"},
		{0, "a b", "", "c d z"},
		{0, "a b c d z", "", ""},
		{50, "a b", "", "c d z"},
		{50, "a b c", "", "a b c d z"},
		{50, "a b c d z", "", "a b c d z"},
		{50, "a b", "c", "a b d z"}, // one of three
		{50, "a b", "a b", "c d z"},
		{100, "d", "", "a b c d z"},
		{25, "a b c z", "", "d z"}, // z is all of its group
	} {
		groups := []Group{rr("a", "b", "c", "d"), rr("z")}
		for _, group := range groups {
			for _, c := range group.Channels {
				if slices.Contains(strings.Fields(test.down), c.Key().Host) {
					c.SetHealth(Unhealthy, 1, "")
				}
				if slices.Contains(strings.Fields(test.disabled), c.Key().Host) {
					c.Disable()
				}
			}
		}
		r := NewRouter(groups, Options{Panic: test.percent}, nil)
		if got := strings.Join(tries(r, later(0), errRefused), " "); got != test.want {
			t.Errorf("%d %%, %q down, %q disabled: tried %q, want %q", test.percent, test.down, test.disabled, got, test.want)
		}
		if r.Usable() != (test.want != "") {
			t.Errorf("%d %%, %q down: usable %t", test.percent, test.down, r.Usable())
		}
	}
}

func TestReview(t *testing.T) {
	group := rr("a", "b")
	r := NewRouter([]Group{group}, Options{Panic: 60}, nil)
	group.Channels[0].SetHealth(Unhealthy, 1, "")
	if r.Panicking(0) {
		t.Error("it panics before it was reviewed")
	}
	r.Review()
	if words := r.Why(client, later(0))[0].Words; !r.Panicking(0) || words != "chosen although it is down: fewer than 60 % of the group are up" {
		t.Errorf("panicking %t, why says %q", r.Panicking(0), words)
	}
	group.Channels[0].SetHealth(Healthy, 2, "")
	r.Review()
	if r.Panicking(0) {
		t.Error("it panics with all channels up")
	}

	// A failure that takes a channel out of service is reviewed at once.
	group = rr("a", "b")
	group.Channels[1].SetHealth(Unhealthy, 1, "")
	r = NewRouter([]Group{group}, Options{Panic: 50, AutoDisable: true}, nil)
	if got := strings.Join(tries(r, later(0), errRefused), " "); got != "a b" {
		t.Errorf("tried %q", got)
	}
}

// What is held off or full can be had soon.
func TestUsable(t *testing.T) {
	for want, setUps := range map[bool][]func(*Channel){
		true: {
			func(*Channel) {},
			func(c *Channel) { c.SetLimit(1); c.slots.take() },
			func(c *Channel) { observe(c, Options{HoldOff: 10, HoldOffMax: 10}) },
		},
		false: {
			func(c *Channel) { c.Disable() },
			func(c *Channel) { fail(c) },
			func(c *Channel) { c.SetAddresses(nil) },
			func(c *Channel) { c.SetHealth(Unhealthy, 1, "") },
		},
	} {
		for i, setUp := range setUps {
			a := channels("a")
			setUp(a[0])
			if r := NewRouter([]Group{{}, {Channels: a}}, Options{}, nil); r.Usable() != want {
				t.Errorf("set-up %d: usable %t", i, !want)
			}
		}
	}
}
