package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"balance/engine/balancer"
	"balance/engine/health"
	"balance/engine/plane"
	"balance/engine/socket"
	"balance/engine/spec"
)

// resolve looks up names of the configuration. At the start a listener whose
// first group has no address at all is an error; later the name service may be
// down just when somebody has to change the configuration.
func (e *Engine) resolve(ctx context.Context, config *spec.Config, unknown []string, first bool) error {
	failures := e.names.lookup(ctx, unknown)
	for _, host := range config.ChannelNames() {
		if err := failures[host]; err != nil {
			e.log.Warn("cannot resolve, its channels are unusable until it does", "host", host, "error", err)
		}
	}
	for _, host := range config.CheckNames() {
		if err := failures[host]; err != nil {
			e.log.Warn("cannot resolve, its checks fail until it does", "host", host, "error", err)
		}
	}
	var errs []error
	for i := range config.Listeners {
		l := &config.Listeners[i]
		where := fmt.Sprintf("listener %q", l.Name)
		for k, key := range l.ListenKeys() {
			if err := failures[key.Host]; err != nil {
				errs = append(errs, spec.Refuse(listenPath(i, k), where, fmt.Errorf("resolve %q to listen on: %w: %w", key.Host, ErrUnresolved, err)))
			}
		}
		if first && !e.anyAddress(&l.Groups[0]) {
			var hosts []string
			for _, channel := range l.Groups[0].Channels {
				hosts = append(hosts, fmt.Sprintf("%q", channel.Host))
			}
			errs = append(errs, spec.Refuse(spec.ListenerAt(i).Group(0), where+" group 0",
				fmt.Errorf("resolve %s: %w", strings.Join(hosts, ", "), ErrUnresolved)))
		}
	}
	return errors.Join(errs...)
}

// listenPath is the path of an address to listen on, as in Fault.
func listenPath(listener, address int) spec.Path {
	return spec.ListenerAt(listener).Key(spec.KeyListen).Element(address)
}

func (e *Engine) anyAddress(group *spec.Group) bool {
	return slices.ContainsFunc(group.Channels, func(c spec.Channel) bool { return len(e.names.addresses(c.Host)) > 0 })
}

// prepare makes the next state without changing anything that is in force. Its
// new sockets are open, but nobody accepts from them.
func (e *Engine) prepare(ctx context.Context, old *state, config *spec.Config, from *spec.Succession, lists *lists, opening *opening) (*state, error) {
	next := &state{generation: old.generation + 1, config: config, byShared: map[*plane.Listener]*listener{}, sockets: sockets{}, lists: lists}
	var errs []error
	counting := e.counting(old)
	for i := range config.Listeners {
		l := &listener{config: &config.Listeners[i], shared: new(plane.Listener)}
		l.shared.Queue.Sooner = e.stir
		var previous *listener
		if k := from.Matches[i]; k >= 0 {
			previous = old.listeners[k]
			l.shared = previous.shared
			l.same = from.Same[i]
		}
		if previous == nil {
			l.shared.Sources = e.sources.Sources()
		}
		l.edge = edgeOf(l.config, lists.of(l.config), previous, l.same)
		e.route(l, previous, from.New[i], counting, old.config == nil)
		addrs, err := e.listen(ctx, i, l.config, opening)
		if err != nil {
			errs = append(errs, err)
		}
		l.addrs = addrs
		next.listeners = append(next.listeners, l)
		next.byShared[l.shared] = l
	}
	if err := errors.Join(errs...); err != nil {
		for _, l := range next.listeners {
			if old.byShared[l.shared] == nil {
				l.shared.Sources.Close()
			}
		}
		return nil, err
	}
	for _, l := range next.listeners {
		for _, addr := range l.addrs {
			if next.sockets[addr] = opening.opened[addr]; next.sockets[addr] == nil {
				next.sockets[addr] = old.sockets[addr]
			}
		}
	}
	return next, nil
}

// route builds the router of a listener over the channels that it had before
// and new ones. Those of the first configuration may have been observed before.
func (e *Engine) route(l, previous *listener, keys spec.Keys, counting map[*balancer.Counters]bool, first bool) {
	if l.same {
		l.channels, l.router = previous.channels, previous.router
		return
	}
	var older *balancer.Router
	if previous != nil {
		older = previous.router
	}
	l.channels = map[balancer.Key]*balancer.Channel{}
	groups := make([]balancer.Group, len(l.config.Groups))
	for g := range groups {
		declared := &l.config.Groups[g]
		groups[g] = balancer.Group{
			Mode:         declared.Mode,
			HashIPv4Bits: declared.HashIPv4Bits.Int(),
			HashIPv6Bits: declared.HashIPv6Bits.Int(),
			HashLoad:     declared.HashLoad,
			SlowStart:    declared.SlowStart,
			For:          balancer.NewAudience(declared.ServerName, declared.ALPN, networks(declared.From)),
		}
	}
	for key, at := range keys.All {
		var channel *balancer.Channel
		if previous != nil {
			channel = previous.channels[key]
		}
		if channel == nil {
			declared := l.config.Groups[at.Group].Channels[at.Index]
			channel = balancer.NewChannel(key)
			channel.SetName(declared.Name)
			channel.SetSendProxy(int(declared.SendProxy))
			e.count(l.config.Name, channel, counting)
			channel.Declare(declared.Disabled)
			channel.SetLimit(declared.MaxConns)
			channel.SetWeight(declared.Weight.Int())
			if !first {
				channel.Warm(e.plane.Now())
			}
			t := target(l.config, at.Group, at.Index)
			if first && e.observed != nil {
				e.restore(l.config, channel, t)
			}
			if t.Check.Type != spec.CheckNone && t.Check.Init == spec.InitDown && channel.Health() == balancer.Unchecked {
				channel.SetHealth(balancer.Unhealthy, e.plane.Now(), health.NotChecked)
			}
			e.point(channel)
		}
		l.channels[key] = channel
		groups[at.Group].Channels = append(groups[at.Group].Channels, channel)
	}
	l.router = balancer.NewRouter(groups, balancer.Options{
		AutoDisable:  l.config.AutoDisable,
		HashFailover: l.config.HashFailover,
		HoldOff:      l.config.HoldOff,
		HoldOffMax:   l.config.HoldOffMax,
		Panic:        l.config.Panic,
		Queue:        &l.shared.Queue,
	}, older)
}

// counting returns what the channels of a state count with.
func (e *Engine) counting(s *state) map[*balancer.Counters]bool {
	counting := map[*balancer.Counters]bool{}
	if e.counters == nil {
		return counting
	}
	for _, l := range s.listeners {
		for _, channel := range l.channels {
			counting[channel.Counters] = true
		}
	}
	return counting
}

// count gives a new channel the counters that it goes on with, if there are any.
// Those that a channel counts with are not for another: it may have them from a
// listener that had this one's name.
func (e *Engine) count(listener string, channel *balancer.Channel, counting map[*balancer.Counters]bool) {
	if e.counters == nil {
		return
	}
	if counters := e.counters(listener, channel.Key()); counters != nil && !counting[counters] {
		channel.Counters = counters
		counting[counters] = true
	}
}

// listen opens the sockets of a listener that are not open yet and returns the
// keys of all.
func (e *Engine) listen(ctx context.Context, number int, l *spec.Listener, opening *opening) ([]socket.Address, error) {
	var addrs []socket.Address
	var errs []error
	where := fmt.Sprintf("listener %q", l.Name)
	group, err := socket.LookupGroup(l.Unix.Group)
	if err != nil {
		errs = append(errs, spec.Refuse(spec.ListenerAt(number).Key(spec.KeyUnixGroup), where, err))
	}
	file := socket.File{Mode: fs.FileMode(l.Unix.Mode), Group: group}
	for k, key := range l.ListenKeys() {
		refuse := func(err error) { errs = append(errs, spec.Refuse(listenPath(number, k), where, err)) }
		if path, isUnix := key.Unix(); isUnix {
			addr := socket.Address{Path: path}
			addrs = append(addrs, addr)
			if err := opening.listen(ctx, addr, file); err != nil {
				refuse(err)
			}
			continue
		}
		hosts := []netip.Addr{{}}
		if key.Host != "" {
			hosts = e.names.addresses(key.Host)
		}
		var skipped error
		found := 0
		for _, host := range hosts {
			addr := socket.Address{TCP: netip.AddrPortFrom(host, key.Port)}
			err := opening.listen(ctx, addr, file)
			switch {
			case err == nil:
				addrs = append(addrs, addr)
				found++
			case spec.IsName(key.Host) && unavailable(err):
				skipped = err
			default:
				refuse(err)
			}
		}
		if found == 0 && skipped != nil {
			refuse(skipped)
		}
	}
	return addrs, errors.Join(errs...)
}
