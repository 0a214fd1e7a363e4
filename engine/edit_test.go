package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"balance/engine"
	"balance/engine/balancer"
	"balance/engine/spec"
)

func TestEdit(t *testing.T) {
	r := newRig(t)
	a, b := r.server("a"), r.server("b")
	address := free(t, "127.0.0.1")
	l := listener("web", address, a)
	l.OnRemove = spec.Close
	r.apply(declare(l))
	before := r.Config()
	held := dial(t, address)
	changes, err := r.Edit(t.Context(), func(c *spec.Config) error {
		c.Listeners[0].Groups[0].Channels[0] = b.channel()
		c.Listeners[0].Groups[0].Mode = balancer.Hash
		return nil
	})
	if err != nil || len(changes) != 3 {
		t.Fatalf("changes %v, %v", changes, err)
	}
	if got := served(t, address, 2); got != "b b" {
		t.Errorf("served by %q after the edit", got)
	}
	held.works() // on_remove is about files
	if before.Listeners[0].Groups[0].Channels[0] != a.channel() || before.Listeners[0].Groups[0].Mode != balancer.RoundRobin {
		t.Error("the edit wrote to the configuration that was in force")
	}
	if changes := r.apply(before); len(changes) != 3 {
		t.Errorf("the file takes back %v", changes)
	}
	held.works()
}

func TestEditThatFails(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	address := free(t, "127.0.0.1")
	r.apply(declare(listener("web", address, a)))
	before := r.Config()
	reason := errors.New("no")
	_, err := r.Edit(t.Context(), func(c *spec.Config) error {
		c.Listeners[0].Groups = nil
		return reason
	})
	if err != reason {
		t.Errorf("error %v", err)
	}
	_, err = r.Edit(t.Context(), func(c *spec.Config) error {
		c.Listeners[0].Groups[0].Channels[0].Port = 0
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "port 0") {
		t.Errorf("error %v", err)
	}
	if r.Config() != before || r.Snapshot().Generation != 1 {
		t.Error("an edit that failed changed something")
	}
	if got := served(t, address, 1); got != "a" {
		t.Errorf("served by %q", got)
	}
}

func TestEditsAtOnce(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	r.apply(declare(listener("web", free(t, "127.0.0.1"), a)))
	var editing sync.WaitGroup
	for range 50 {
		editing.Go(func() {
			r.Edit(context.Background(), func(c *spec.Config) error {
				c.Listeners[0].Groups[0].Channels[0].MaxConns++
				return nil
			})
		})
	}
	editing.Wait()
	if limit := r.status("web", a).Limit; limit != 50 {
		t.Errorf("limit %d after 50 edits that add one", limit)
	}
}

func TestEditForgetsNothing(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	gone := &server{name: "gone", addr: netip.MustParseAddrPort(free(t, "127.0.0.1"))}
	address := free(t, "127.0.0.1")
	l := listener("web", address, gone, a)
	l.AutoDisable = true
	r.apply(declare(l))
	served(t, address, 1)
	if r.status("web", gone).State != balancer.StateAutoDisabled {
		t.Fatal("the channel that fails is not disabled")
	}
	if _, err := r.Edit(t.Context(), func(c *spec.Config) error {
		c.Listeners[0].Groups[0].Channels[0].MaxConns = 5
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if c := r.status("web", gone); c.State != balancer.StateAutoDisabled || c.Limit != 5 {
		t.Errorf("after an edit of its limit: %+v", c)
	}
}

func TestEditAsksForNoNameButItsOwn(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	l := listener("web", free(t, "127.0.0.1"), a)
	l.Groups[0].Channels = append(l.Groups[0].Channels, spec.Channel{Host: "down.test", Port: 80})
	r.apply(declare(l))
	for _, c := range []struct {
		edit func(*spec.Group)
		want []string
	}{
		{func(g *spec.Group) { g.Channels[1].MaxConns = 5 }, nil},
		{func(g *spec.Group) {
			g.Channels = append(g.Channels, spec.Channel{Host: "new.test", Port: 80})
		}, []string{"new.test"}},
	} {
		r.names.taken()
		if _, err := r.Edit(t.Context(), func(config *spec.Config) error {
			c.edit(&config.Listeners[0].Groups[0])
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if asked := r.names.taken(); !slices.Equal(asked, c.want) {
			t.Errorf("the edit asked for %q, want %q", asked, c.want)
		}
	}
}

func TestCountersFromOutside(t *testing.T) {
	given := map[string]*balancer.Counters{}
	e := newEngine(t, engine.Options{
		Log:       slog.New(slog.DiscardHandler),
		DataPlane: dataPlane,
		Counters: func(listener string, key balancer.Key) *balancer.Counters {
			if key.Port == 2 {
				return nil
			}
			c := new(balancer.Counters)
			c.Sessions.Store(5)
			given[listener+" "+key.String()] = c
			return c
		},
	})
	defer e.Shutdown(t.Context())
	l := listener("web", "127.0.0.1:0")
	l.Groups = []spec.Group{{Channels: []spec.Channel{{Host: "127.0.0.1", Port: 1}, {Host: "127.0.0.1", Port: 2}}}}
	if _, err := e.Apply(t.Context(), declare(l)); err != nil {
		t.Fatal(err)
	}
	var seen []string
	e.Channels(func(listener string, group, number int, mode balancer.Mode, channel *balancer.Channel) {
		seen = append(seen, fmt.Sprintf("%s %d %d %s %s %d", listener, group, number, mode, channel.Key(), channel.Counters.Sessions.Load()))
		if want := given[listener+" "+channel.Key().String()]; want != nil && want != channel.Counters {
			t.Errorf("%s does not count with what it was given", channel.Key())
		}
	})
	if want := []string{"web 0 0 rr 127.0.0.1:1 5", "web 0 1 rr 127.0.0.1:2 0"}; !slices.Equal(seen, want) {
		t.Errorf("%q, want %q", seen, want)
	}
}

// Counters are looked up by name, and a name can go from one listener to another
// while the channel that counts with them stays.
func TestCountersFromOutsideAreNotShared(t *testing.T) {
	known := map[string]*balancer.Counters{"web": new(balancer.Counters)}
	e := newEngine(t, engine.Options{
		Log:       slog.New(slog.DiscardHandler),
		DataPlane: dataPlane,
		Counters:  func(listener string, _ balancer.Key) *balancer.Counters { return known[listener] },
	})
	defer e.Shutdown(t.Context())
	addresses := []string{free(t, "127.0.0.1"), free(t, "127.0.0.1")}
	named := func(name string, address int) spec.Listener {
		l := listener(name, addresses[address])
		l.Groups = []spec.Group{{Channels: []spec.Channel{{Host: "127.0.0.1", Port: 1}}}}
		return l
	}
	for _, config := range []*spec.Config{declare(named("web", 0)), declare(named("web", 1), named("www", 0))} {
		if _, err := e.Apply(t.Context(), config); err != nil {
			t.Fatal(err)
		}
	}
	e.Channels(func(listener string, _, _ int, _ balancer.Mode, channel *balancer.Channel) {
		if (channel.Counters == known["web"]) != (listener == "www") {
			t.Errorf("%s counts with the wrong counters", listener)
		}
	})
}
