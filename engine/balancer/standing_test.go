package balancer

import (
	"testing"
	"time"
)

// Each state has its since and its reason, and why its words.
func TestStandingTellsSinceAndWhy(t *testing.T) {
	holding := Options{HoldOff: 2 * time.Second, HoldOffMax: 2 * time.Second}
	fails := func(c *Channel, ms int, options Options) {
		c.observeFailure(errRefused, generationOf(c.state.Load()), &options, later(ms))
	}
	const answer = "GET http://db2:8008/primary answered 503, not 200-399"
	for _, test := range []struct {
		name  string
		setUp func(*Channel)
		want  Standing
		words string // at 12000
		why   string
	}{
		{"untested", func(c *Channel) {}, Standing{State: StateUntested, Since: later(-1)}, "untested", "chosen"},
		{"an answer", func(c *Channel) { c.observeAnswer(later(5)); c.observeAnswer(later(6)) }, Standing{State: StateUp, Since: later(5)}, "up", "chosen"},
		{"a check", func(c *Channel) { c.SetHealth(Healthy, later(5), "") }, Standing{State: StateUp, Since: later(5)}, "up", "chosen"},
		{"full", func(c *Channel) { c.SetLimit(1); c.slots.take(); c.NoteFull(later(7)) }, Standing{State: StateFull, Since: later(7), Reason: "1 of 1"}, "full: 1 of 1", "full, 1 of 1"},
		{"slow", func(c *Channel) { c.SetSlow(later(2000), "nothing came back") }, Standing{State: StateSlow, Since: later(2000), Reason: "nothing came back"},
			"slow for 10s: nothing came back", "chosen although it is slow for 10s: nothing came back"},
		{"not slow", func(c *Channel) { c.SetSlow(later(2), ""); c.SetSlow(0, ""); c.observeAnswer(later(4)) }, Standing{State: StateUp, Since: later(4)}, "up", "chosen"},
		{"failing", func(c *Channel) { fails(c, 3000, Options{}); fails(c, 4000, Options{}); fails(c, 5000, Options{}) },
			Standing{State: StateFailing, Since: later(3000), Reason: "connection refused, 3 times in a row"},
			"failing for 9s: connection refused, 3 times in a row", "chosen although it is failing for 9s: connection refused, 3 times in a row"},
		{"held off", func(c *Channel) { fails(c, 11000, holding); c.until.Store(later(15000)) },
			Standing{State: StateHeld, Since: later(11000), Until: later(15000), Reason: "connection refused"},
			"held off for 3s more: connection refused", "held off for 3s more: connection refused"},
		{"down", func(c *Channel) { c.SetHealth(Unhealthy, later(0), answer) }, Standing{State: StateDown, Since: later(0), Reason: answer}, "down for 12s: " + answer, "down for 12s: " + answer},
		{"up again", func(c *Channel) {
			c.observeAnswer(later(1))
			c.SetHealth(Unhealthy, later(2), answer)
			c.SetHealth(Healthy, later(3), "")
		}, Standing{State: StateUp, Since: later(3)}, "up", "chosen"},
		{"unresolved", func(c *Channel) { c.SetAddresses(nil); c.Date(later(8)); c.SetAddresses(nil); c.Date(later(9)) },
			Standing{State: StateUnresolved, Since: later(8), Reason: "its host does not resolve"}, "its host does not resolve", "its host does not resolve"},
		{"resolved", func(c *Channel) { c.SetAddresses(nil); c.SetAddresses(somewhere); c.Date(later(8)) }, Standing{State: StateUntested, Since: later(8)}, "untested", "chosen"},
		{"disabled", func(c *Channel) { c.Disable(); c.Date(later(8)); c.Disable(); c.Date(later(9)) },
			Standing{State: StateDisabled, Since: later(8), Reason: "by the operator"}, "disabled by the operator", "disabled by the operator"},
		{"declared", func(c *Channel) { c.Declare(true); c.Date(later(8)) }, Standing{State: StateDisabled, Since: later(8), Reason: "by the configuration"}, "disabled by the configuration", "disabled by the configuration"},
		{"enabled", func(c *Channel) { c.observeAnswer(later(1)); c.Disable(); c.Enable(); c.Date(later(8)) }, Standing{State: StateUp, Since: later(8)}, "up", "chosen"},
		{"autodisabled", func(c *Channel) { fails(c, 6, Options{AutoDisable: true}); c.Date(later(8)) }, Standing{State: StateAutoDisabled, Since: later(6), Reason: "connection refused"},
			"disabled because connecting to it failed: connection refused", "disabled because connecting to it failed: connection refused"},
		{"draining", func(c *Channel) { c.slots.take(); c.Drain(); c.Date(later(8)) }, Standing{State: StateDraining, Since: later(8)}, "draining", "draining"},
		{"removed", func(c *Channel) { c.Remove(); c.Date(later(8)) }, Standing{State: StateRemoved, Since: later(8)}, "removed", "removed"},
	} {
		c := channels("a")[0]
		c.Date(later(-1))
		test.setUp(c)
		now := later(12000)
		standing := c.Standing(now)
		if standing != test.want || standing.Words(now) != test.words {
			t.Errorf("%s: %+v, %q, want %+v, %q", test.name, standing, standing.Words(now), test.want, test.words)
		}
		router := NewRouter([]Group{{Channels: []*Channel{c}}}, Options{}, nil)
		if why := router.Why(client, now)[0].Words; why != test.why {
			t.Errorf("%s: why says %q, want %q", test.name, why, test.why)
		}
	}
}

func TestSetHealthReportsChanges(t *testing.T) {
	a := channels("a")[0]
	for i, step := range []struct {
		health  Health
		changed bool
	}{{Unchecked, false}, {Unhealthy, true}, {Unhealthy, false}, {Healthy, true}, {Healthy, false}, {Unchecked, true}} {
		if changed := a.SetHealth(step.health, later(i), "words"); changed != step.changed || a.Health() != step.health {
			t.Errorf("step %d: %s, changed %t", i, a.Health(), changed)
		}
	}
	if !a.SetSlow(1, "") || a.SetSlow(2, "") || !a.SetSlow(0, "") || a.SetSlow(0, "") {
		t.Error("slow is news at other times than when it is")
	}
}
