package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"balance/cmd/balance/internal/exit"
	"balance/control"
	"balance/engine"
	"balance/engine/balancer"
	"balance/engine/health"
	"balance/engine/spec"
)

// probesAtOnce is how many checks run at a time.
const probesAtOnce = 64

// probe runs each check of a configuration once, without a daemon, and prints
// what it found as the command health does. It fails if a check does.
func probe(ctx context.Context, c *spec.Config, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM) // programs of exec checks end with it
	defer stop()
	listeners, passed := probeAll(ctx, c, net.DefaultResolver)
	for _, line := range control.HealthTable(listeners, time.Now()) {
		if _, err := fmt.Fprintln(stdout, line); err != nil {
			return exit.Because(err, exit.System, stderr)
		}
	}
	if !passed {
		return exit.Failed
	}
	return exit.OK
}

// probeAll runs the checks, at most probesAtOnce at a time, and reports whether
// all of them passed.
func probeAll(ctx context.Context, c *spec.Config, resolver engine.Resolver) (listeners []engine.ListenerStatus, passed bool) {
	room := make(chan struct{}, probesAtOnce)
	var probes sync.WaitGroup
	for i := range c.Listeners {
		l := &c.Listeners[i]
		status := engine.ListenerStatus{Name: l.Name}
		for g := range l.Groups {
			group := &l.Groups[g]
			channels := make([]engine.ChannelStatus, len(group.Channels))
			for n := range channels {
				declared, channel := &group.Channels[n], &channels[n]
				channel.Key = balancer.Key{Host: declared.Host, Port: declared.Port}
				channel.State = balancer.StateUntested
				if group.Check.Type == spec.CheckNone {
					continue
				}
				room <- struct{}{}
				probes.Go(func() {
					defer func() { <-room }()
					probeChannel(ctx, l, group, declared, resolver, channel)
				})
			}
			status.Groups = append(status.Groups, engine.GroupStatus{Mode: group.Mode, Channels: channels})
		}
		listeners = append(listeners, status)
	}
	probes.Wait()
	passed = true
	for _, l := range listeners {
		for _, g := range l.Groups {
			for _, channel := range g.Channels {
				passed = passed && (channel.Check == nil || channel.State == balancer.StateUp)
			}
		}
	}
	return listeners, passed
}

// probeChannel checks a channel once.
func probeChannel(ctx context.Context, l *spec.Listener, group *spec.Group, declared *spec.Channel, resolver engine.Resolver, channel *engine.ChannelStatus) {
	target := engine.CheckTarget(l, group, declared)
	channel.Check = &health.Status{Target: target}
	addrs, err := addressesOf(ctx, target, resolver)
	if err != nil && group.Check.Type != spec.CheckExec { // which resolves names by itself
		channel.State, channel.Reason = balancer.StateUnresolved, err.Error()
		return
	}
	channel.Check.Last = health.Once(ctx, target, addrs, nil)
	switch channel.Check.Last.Outcome {
	case health.Passed:
		channel.State = balancer.StateUp
	case health.Local: // nothing is known of the channel
	default:
		channel.State = balancer.StateDown
	}
}

// addressesOf resolves the host of a target, within the time of its check. A unix
// socket has none.
func addressesOf(ctx context.Context, target health.Target, resolver engine.Resolver) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(target.Host); err == nil {
		return []netip.Addr{addr}, nil
	}
	if _, unix := spec.UnixPath(target.Host); unix {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, target.Check.Timeout)
	defer cancel()
	addrs, err := resolver.LookupNetIP(ctx, "ip", target.Host)
	if err != nil {
		return nil, fmt.Errorf("resolve %q: %w", target.Host, err)
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, nil
}
