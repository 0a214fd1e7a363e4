package engine_test

import (
	"testing"

	"balance/engine/spec"
)

// A name comes and goes with a reload, and nothing else does; of several channels
// with one address it says which goes on as which.
func TestNamesOfChannels(t *testing.T) {
	s := newSeating(t)
	apply := func(names ...string) {
		t.Helper()
		l := parseGroups(t, "a a b")
		for i, name := range names {
			l.Groups[0].Channels[i].Name = name
		}
		if _, err := s.Apply(t.Context(), declare(l)); err != nil {
			t.Fatal(err)
		}
	}
	apply("", "", "w3")
	first := s.places()[0]
	for _, channel := range first {
		s.sit(channel)
		channel.Counters.Sessions.Add(1)
	}
	for i, names := range [][]string{{"w1", "w2", "b"}, {"x1", "w2", ""}, {"x1", "w2", "w3"}} {
		apply(names...)
		for k, channel := range s.places()[0] {
			status := s.Snapshot().Listeners[0].Groups[0].Channels[k]
			if channel != first[k] || status.Name != names[k] || channel.Name() != names[k] || status.Active != 1 || status.Sessions != 1 {
				t.Errorf("step %d: %s is called %q with %d of 1 session and %d counted, want %q", i, status.Key, status.Name, status.Active, status.Sessions, names[k])
			}
		}
	}
	apply("w2", "x1", "w3")
	if now := s.places()[0]; now[0] != first[1] || now[1] != first[0] {
		t.Error("of two channels with one address the names do not say which is which")
	}
	if _, err := s.Edit(t.Context(), func(c *spec.Config) error {
		c.Listeners[0].Groups[0].Channels[0].Name = "w3"
		return nil
	}); err == nil {
		t.Error("two channels have one name")
	}
}
