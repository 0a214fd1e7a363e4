package engine_test

import (
	"slices"
	"testing"
	"time"

	"balance/engine"
	"balance/engine/balancer"
	"balance/engine/spec"
)

// TestSlowStart takes an hour: a channel that has just begun has next to nothing.
func TestSlowStart(t *testing.T) {
	type scene struct {
		*rig
		a, b *server
		of   *verdict // on b
		l    spec.Listener
	}
	declareBoth := func(s *scene) *spec.Config {
		return declare(s.l)
	}
	disabled := func(s *scene, is bool) *spec.Config {
		s.l.Groups = []spec.Group{s.l.Groups[0]}
		s.l.Groups[0].Channels = slices.Clone(s.l.Groups[0].Channels)
		s.l.Groups[0].Channels[1].Disabled = is
		return declare(s.l)
	}
	tests := []struct {
		name  string
		start func(*scene) *spec.Config // what is applied first
		then  func(*scene)              // how b comes to serve
		slow  bool
	}{
		{"the program starts", declareBoth, func(*scene) {}, false},
		{"the first check after the program started", func(s *scene) *spec.Config {
			s.l.Groups[0].Check.Init = spec.InitDown
			for i := range s.l.Groups[0].Channels {
				s.l.Groups[0].Channels[i].MaxConns = 8 // of which one that has just begun has one
			}
			return declare(s.l)
		}, func(*scene) {}, false},
		{"a check brings it up", func(s *scene) *spec.Config {
			s.of.up.Store(false)
			return declare(s.l)
		}, func(s *scene) {
			s.becomes("web", s.b, balancer.StateDown)
			s.of.up.Store(true)
		}, true},
		{"the operator enables it", func(s *scene) *spec.Config { return disabled(s, true) }, func(s *scene) {
			if changed, err := s.Enable("web", s.b.key(), true); !changed || err != nil {
				t.Fatal(changed, err)
			}
		}, true},
		{"a reload enables it", func(s *scene) *spec.Config { return disabled(s, true) }, func(s *scene) {
			s.apply(disabled(s, false))
		}, true},
		{"a reload creates it", func(s *scene) *spec.Config {
			one := s.l
			one.Groups = []spec.Group{s.l.Groups[0]}
			one.Groups[0].Channels = one.Groups[0].Channels[:1]
			return declare(one)
		}, func(s *scene) { s.apply(declare(s.l)) }, true},
		{"a reload gives it another weight", declareBoth, func(s *scene) {
			s.l.Groups = []spec.Group{s.l.Groups[0]}
			s.l.Groups[0].Channels = slices.Clone(s.l.Groups[0].Channels)
			s.l.Groups[0].Channels[1].CheckPort = s.of.port
			s.l.Groups[0].Channels[0].Weight, s.l.Groups[0].Channels[1].Weight = spec.WeightOf(7), spec.WeightOf(7)
			s.apply(declare(s.l))
		}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			s := &scene{rig: r, a: r.server("a"), b: r.server("b"), of: r.verdict(true)}
			address := free(t, "127.0.0.1")
			s.l = checkedListener(address, quick(), []spec.Channel{s.a.checkedBy(r.verdict(true)), s.b.checkedBy(s.of)})
			s.l.Groups[0].SlowStart = time.Hour
			r.apply(test.start(s))
			test.then(s)
			r.becomes("web", s.a, balancer.StateUp)
			r.becomes("web", s.b, balancer.StateUp)
			by := sixteen(t, address)
			if by["a"]+by["b"] != 16 || test.slow != (by["b"] <= 2) || !test.slow && by["b"] != 8 {
				t.Errorf("served by %v", by)
			}
		})
	}
}

// So does one whose name resolves at last.
func TestSlowStartOfANameThatResolves(t *testing.T) {
	r := newRig(t)
	a, b := r.server("a"), r.server("b")
	address := free(t, "127.0.0.1")
	l := listener("web", address, a, b)
	l.Groups[0].Channels[1].Host = "late.example"
	l.Groups[0].SlowStart = time.Hour
	r.apply(declare(l))
	r.becomes("web", b, balancer.StateUnresolved)
	eventually(t, "the events tell of it", func() bool {
		return slices.ContainsFunc(r.Events(100), func(e engine.Event) bool { return e.What == "unresolved" })
	})
	r.names.set("late.example", "127.0.0.1")
	l.IdleTimeout = time.Hour
	r.apply(declare(l))
	eventually(t, "the events tell that it is up", func() bool {
		return slices.ContainsFunc(r.Events(100), func(e engine.Event) bool { return e.What == "up" })
	})
	if by := sixteen(t, address); by["a"]+by["b"] != 16 || by["b"] > 2 {
		t.Errorf("served by %v", by)
	}
}
