package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"balance/engine/balancer"
	"balance/engine/health"
	"balance/engine/spec"
)

// checking is what is checked: the channels in force, and those that have left
// while sessions of theirs still run.
type checking struct {
	checks *health.Checks

	mu      sync.Mutex
	leavers map[*balancer.Channel]leaver // guarded by mu
}

// leaver is a channel that is in no configuration any more.
type leaver struct {
	listener *spec.Listener // as it was
	target   health.Target  // without a check its type is none
	health   balancer.Health
}

// CheckTarget returns what is to be checked of a channel; its type is none if that is
// nothing. A check that goes to the channel itself begins like its clients do, with a
// PROXY header if they have one; a program is left to do so by itself.
func CheckTarget(l *spec.Listener, g *spec.Group, c *spec.Channel) health.Target {
	t := health.Target{Source: l.Source, Check: g.Check}
	t.Host, t.Port = g.CheckOf(c)
	switch {
	case t.Check.Type == spec.CheckExec:
		t.Listener = l.Name
	case t.Host == c.Host && t.Port == c.Port:
		t.SendProxy = int(c.SendProxy)
	}
	return t
}

// target is CheckTarget of a channel by its numbers.
func target(l *spec.Listener, group, number int) health.Target {
	g := &l.Groups[group]
	return CheckTarget(l, g, &g.Channels[number])
}

// LoadChecks returns a Fault for each check of the configuration whose files
// cannot be read, or do not hold what they should; but for those that a running
// configuration, which may be nil, has as well.
func LoadChecks(config, running *spec.Config) error {
	loaded := map[string]error{}
	if running != nil {
		for i := range running.Listeners {
			for g := range running.Listeners[i].Groups {
				loaded[running.Listeners[i].Groups[g].Check.Text()] = nil
			}
		}
	}
	var errs []error
	for i := range config.Listeners {
		for g := range config.Listeners[i].Groups {
			check := &config.Listeners[i].Groups[g].Check
			text := check.Text()
			err, known := loaded[text]
			if !known {
				err = health.Load(check)
				loaded[text] = err
			}
			if err != nil {
				where := fmt.Sprintf("listener %q group %d", config.Listeners[i].Name, g)
				errs = append(errs, spec.Refuse(spec.ListenerAt(i).Group(g).Key(spec.KeyCheck), where, fmt.Errorf("check: %w", err)))
			}
		}
	}
	return errors.Join(errs...)
}

// review tells the checks what there is to check now.
func (c *checking) review(listeners []*listener) {
	c.mu.Lock()
	defer c.mu.Unlock()
	targets := map[*balancer.Channel]health.Target{}
	add := func(channel *balancer.Channel, t health.Target) {
		if t.Check.Type != spec.CheckNone {
			targets[channel] = t
		}
	}
	for channel, gone := range c.leavers {
		add(channel, gone.target)
	}
	for _, l := range listeners {
		for g, group := range l.router.Groups() {
			for i, channel := range group.Channels {
				add(channel, target(l.config, g, i))
			}
		}
	}
	c.checks.Set(targets)
}

// atTheDoor reports whether a channel is checked where clients are connected.
func (c *checking) atTheDoor(channel *balancer.Channel) bool {
	status, checked := c.checks.Status(channel)
	return checked && status.Target.Host == channel.Key().Host && status.Target.Port == channel.Key().Port
}

// leave goes on checking a channel that is removed for as long as it has
// sessions.
func (c *checking) leave(channel *balancer.Channel, was leaver) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leavers[channel] = was
}

// Check runs the check of a channel, named as for Enable, now, and calls step
// for each of its steps. The result counts.
func (e *Engine) Check(ctx context.Context, listener string, key balancer.Key, step func(health.Step)) (health.Result, error) {
	channel, err := e.channel(listener, key)
	if err != nil {
		return health.Result{}, err
	}
	result, checked := e.checking.checks.Now(ctx, channel, step)
	if !checked {
		return health.Result{}, fmt.Errorf("listener %q: channel %s has no check", listener, key)
	}
	return result, nil
}
