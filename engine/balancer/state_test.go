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
		{StateFailing, func(c *Channel) { c.observeFailure(false, generationOf(c.state.Load())) }},
		{StateUnresolved, func(c *Channel) { c.SetAddresses(nil) }},
		{StateDisabled, func(c *Channel) { c.Declare(true) }},
		{StateDisabled, func(c *Channel) { c.Disable() }},
		{StateAutoDisabled, func(c *Channel) { c.observeFailure(true, generationOf(c.state.Load())) }},
		{StateDraining, func(c *Channel) { c.slots.take(); c.Drain() }},
		{StateRemoved, func(c *Channel) { c.Remove() }},
	}
	for set := range 1 << len(words) {
		channel := NewChannel(Key{Host: "h", Port: 1})
		channel.SetAddresses([]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")})
		want, full := StateUp, false
		for i, word := range words {
			if set&(1<<i) != 0 {
				word.say(channel)
				want = max(want, word.state)
				full = full || word.state == StateFull
			}
		}
		got := channel.State()
		if got != want || got.Enabled() != channel.Enabled() || got.Up() != (want == StateUp || want == StateFull) {
			t.Errorf("words %b: %s, enabled %t, up %t, want %s", set, got, got.Enabled(), got.Up(), want)
		}
		reason := Reason(want)
		if want == StateFailing { // it may be tried all the same
			reason = Chosen
			if full {
				reason = IsFull
			}
		}
		if channel.reason() != reason || channel.Usable() != (reason == Chosen) {
			t.Errorf("words %b, %s: a client would be told %q, usable %t", set, got, channel.reason(), channel.Usable())
		}
	}
}
