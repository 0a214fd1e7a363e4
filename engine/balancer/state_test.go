package balancer

import (
	"net/netip"
	"testing"
)

// TestStateIsTheOneOfTheHighestRank gives a channel every set of words. The one
// that ranks highest is its state, and what Usable, Enabled and Why have to say
// goes with it.
func TestStateIsTheOneOfTheHighestRank(t *testing.T) {
	words := []struct {
		state State
		say   func(*Channel)
	}{
		{StateFull, func(c *Channel) { c.slots.take(); c.SetLimit(1) }},
		{StateSlow, func(c *Channel) { c.SetSlow(1, "") }},
		{StateFailing, func(c *Channel) { observe(c, Options{}) }},
		{StateHeld, func(c *Channel) { observe(c, Options{HoldOff: 10, HoldOffMax: 10}) }},
		{StateDown, func(c *Channel) { c.SetHealth(Unhealthy, 1, "") }},
		{StateUnresolved, func(c *Channel) { c.SetAddresses(nil) }},
		{StateDisabled, func(c *Channel) { c.Declare(true) }},
		{StateDisabled, func(c *Channel) { c.Disable() }},
		{StateAutoDisabled, func(c *Channel) { observe(c, Options{AutoDisable: true}) }},
		{StateDraining, func(c *Channel) { c.slots.take(); c.Drain() }},
		{StateRemoved, func(c *Channel) { c.Remove() }},
	}
	for set := range 1 << len(words) {
		channel := NewChannel(Key{Host: "h", Port: 1})
		channel.SetAddresses([]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")})
		want, obstacle := StateUntested, StateUp
		for i, word := range words {
			if set&(1<<i) != 0 {
				word.say(channel)
				want = max(want, word.state)
				if word.state != StateFailing && word.state != StateSlow {
					obstacle = max(obstacle, word.state) // the others may be tried all the same
				}
			}
		}
		got := channel.Standing(1).State
		if got != want || got.Enabled() != channel.Enabled() || got.Up() != (want <= StateSlow) {
			t.Errorf("words %b: %s, enabled %t, up %t, want %s", set, got, got.Enabled(), got.Up(), want)
		}
		ask := question{obstacles: obstacles, now: 1}
		if ask.verdict(channel) != Reason(obstacle) || ask.admits(channel, channel.state.Load()) != (obstacle == StateUp) {
			t.Errorf("words %b, %s: a client would be told %q, admitted %t", set, got, State(ask.verdict(channel)), ask.admits(channel, channel.state.Load()))
		}
	}
}

// observe has a dial of the channel fail.
func observe(c *Channel, options Options) Change {
	return c.observeFailure(errRefused, generationOf(c.state.Load()), &options, 1)
}
