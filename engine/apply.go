package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"balance/engine/balancer"
	"balance/engine/plane"
	"balance/engine/spec"
)

// Apply changes from the configuration in force to another one, and returns
// what that changed. All that can fail comes first; on an error nothing has
// changed, sockets included. Listeners, sockets, channels and sessions that
// both configurations have are left as they are, with their counters. Names that
// were known before are resolved again soon after it.
func (e *Engine) Apply(ctx context.Context, config *spec.Config) (spec.Changes, error) {
	e.applying.Lock()
	defer e.applying.Unlock()
	if e.closed {
		return nil, ErrShutdown
	}
	first := e.Config() == nil
	changes, err := e.applyLocked(ctx, config, false)
	if err == nil && !first {
		select {
		case e.applied <- struct{}{}:
		default:
		}
	}
	return changes, err
}

// applyLocked is Apply, or the latter half of Edit.
func (e *Engine) applyLocked(ctx context.Context, config *spec.Config, edited bool) (spec.Changes, error) {
	if err := validate(config); err != nil {
		return nil, err
	}
	if err := e.fits(config); err != nil {
		return nil, err
	}
	old := e.current.Load()
	from := old.succession(config, edited)
	changes := e.preview(old, config, from)
	if old.config != nil && len(changes) == 0 {
		return nil, nil
	}
	unknown := e.names.unknown(slices.Concat(config.ChannelNames(), config.ListenNames()))
	if edited {
		// An edit takes effect at once, whatever the name service does: it
		// waits for no name but its own.
		before := old.config.ChannelNames()
		unknown = slices.DeleteFunc(unknown, func(host string) bool { return slices.Contains(before, host) })
	}
	if err := e.resolve(ctx, config, unknown, old.config == nil); err != nil {
		return nil, err
	}
	opening := &opening{engine: e, open: old.sockets, retiring: e.retiringSockets(), opened: sockets{}}
	next, err := e.prepare(ctx, old, config, from, opening)
	if err != nil {
		return nil, errors.Join(err, e.abandon(old, opening))
	}
	next.edited = edited
	e.swap(old, next)
	if err := opening.commit(); err != nil {
		e.log.Warn("another process could bind an address of this one", "error", err)
	}
	e.announce(old, next, changes)
	return changes, nil
}

func validate(config *spec.Config) error {
	var errs []error
	for _, fault := range config.Validate() {
		errs = append(errs, fault)
	}
	return errors.Join(errs...)
}

// fits tells what of the configuration cannot be had without a restart.
func (e *Engine) fits(config *spec.Config) error {
	var errs []error
	if config.DataPlane != e.dataPlane {
		errs = append(errs, spec.Refuse(spec.KeyDataPlane.Path(), "", fmt.Errorf("change data_plane from %q to %q: it needs a restart", e.dataPlane, config.DataPlane)))
	}
	if config.Loops != e.loops {
		errs = append(errs, spec.Refuse(spec.KeyLoops.Path(), "", fmt.Errorf("change loops from %d to %d: it needs a restart", e.loops, config.Loops)))
	}
	return errors.Join(errs...)
}

// Preview returns what Apply would change, and how many running sessions each
// change concerns.
func (e *Engine) Preview(config *spec.Config) (spec.Changes, error) {
	if err := errors.Join(validate(config), e.fits(config)); err != nil {
		return nil, err
	}
	old := e.current.Load()
	return e.preview(old, config, old.succession(config, false)), nil
}

// succession returns what of the state goes on in another configuration.
func (s *state) succession(config *spec.Config, edited bool) *spec.Succession {
	if s.config == nil {
		return spec.Succeed(nil, config.Listeners, edited, nil)
	}
	return spec.Succeed(s.config.Listeners, config.Listeners, edited, func(k int) (spec.Keys, func(balancer.Key) bool) {
		l := s.listeners[k]
		return l.keys(), func(key balancer.Key) bool { return l.channels[key].Active() > 0 }
	})
}

// keys returns the identities of the channels.
func (l *listener) keys() spec.Keys {
	groups := l.router.Groups()
	all := make(spec.Keys, len(groups))
	for g := range groups {
		for _, channel := range groups[g].Channels {
			all[g] = append(all[g], channel.Key())
		}
	}
	return all
}

func (e *Engine) preview(old *state, config *spec.Config, from *spec.Succession) spec.Changes {
	changes := from.Diff(old.config, config)
	if old.config == nil || len(changes) == 0 {
		return changes
	}
	running := map[*plane.Listener]int{}
	onChannel := map[*balancer.Channel]int{}
	e.plane.Sessions(func(s plane.Session) bool {
		running[s.Listener]++
		onChannel[s.Channel]++
		return true
	})
	delete(onChannel, nil) // sessions that have tried none yet
	for i := range changes {
		c := &changes[i]
		switch {
		case c.Before < 0:
		case c.Channel != "":
			c.Sessions = onChannel[old.listeners[c.Before].channels[c.ChannelKey]]
		case c.Live:
			c.Sessions = running[old.listeners[c.Before].plane]
		}
	}
	return changes
}

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
func (e *Engine) prepare(ctx context.Context, old *state, config *spec.Config, from *spec.Succession, opening *opening) (*state, error) {
	next := &state{generation: old.generation + 1, config: config, byPlane: map[*plane.Listener]*listener{}, sockets: sockets{}}
	var errs []error
	counting := e.counting(old)
	for i := range config.Listeners {
		l := &listener{config: &config.Listeners[i], plane: new(plane.Listener)}
		var previous *listener
		if k := from.Matches[i]; k >= 0 {
			previous = old.listeners[k]
			l.plane = previous.plane
			l.same = from.Same[i]
		}
		e.route(l, previous, from.New[i], counting)
		addrs, err := e.listen(ctx, i, l.config, opening)
		if err != nil {
			errs = append(errs, err)
		}
		l.addrs = addrs
		next.listeners = append(next.listeners, l)
		next.byPlane[l.plane] = l
	}
	if err := errors.Join(errs...); err != nil {
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
// and new ones.
func (e *Engine) route(l, previous *listener, keys spec.Keys, counting map[*balancer.Counters]bool) {
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
		groups[g].Mode = l.config.Groups[g].Mode
	}
	for key, at := range keys.All {
		var channel *balancer.Channel
		if previous != nil {
			channel = previous.channels[key]
		}
		if channel == nil {
			declared := l.config.Groups[at.Group].Channels[at.Index]
			channel = balancer.NewChannel(key)
			e.count(l.config.Name, channel, counting)
			channel.Declare(declared.Disabled)
			channel.SetLimit(declared.MaxConns)
			e.point(channel)
		}
		l.channels[key] = channel
		groups[at.Group].Channels = append(groups[at.Group].Channels, channel)
	}
	l.router = balancer.NewRouter(groups, balancer.Options{
		AutoDisable:  l.config.AutoDisable,
		HashFailover: l.config.HashFailover,
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
func (e *Engine) listen(ctx context.Context, number int, l *spec.Listener, opening *opening) ([]netip.AddrPort, error) {
	var addrs []netip.AddrPort
	var errs []error
	for k, key := range l.ListenKeys() {
		refuse := func(err error) {
			errs = append(errs, spec.Refuse(listenPath(number, k), fmt.Sprintf("listener %q", l.Name), err))
		}
		hosts := []netip.Addr{{}}
		if key.Host != "" {
			hosts = e.names.addresses(key.Host)
		}
		var skipped error
		found := 0
		for _, host := range hosts {
			addr := netip.AddrPortFrom(host, key.Port)
			err := opening.listen(ctx, addr)
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

// swap puts the next state in force. It cannot fail.
func (e *Engine) swap(old, next *state) {
	for _, l := range next.listeners {
		l.loosen(old.byPlane[l.plane], next.edited)
	}
	for _, l := range next.listeners {
		if !l.same {
			l.plane.SetService(l.service())
		}
	}
	e.current.Store(next)
	e.logSessions.Store(next.config.Log.Sessions)
	e.limitSessions()
	e.budget.SetLimit(int64(next.config.Process.MaxBuffered))
	for _, l := range next.listeners {
		for _, addr := range l.addrs {
			next.sockets[addr].acceptor.Serve(l.plane)
		}
	}
	for _, l := range next.listeners {
		l.tighten(old.byPlane[l.plane])
	}
	e.removeChannels(old, next)
	e.removeListeners(old, next)
	e.names.retain(slices.Concat(next.config.ChannelNames(), next.config.ListenNames()))
}

func (l *listener) service() *plane.Service {
	return &plane.Service{
		Name:             l.config.Name,
		Router:           l.router,
		Source:           l.config.Source,
		ConnectTimeout:   l.config.ConnectTimeout,
		IdleTimeout:      l.config.IdleTimeout,
		HalfCloseTimeout: l.config.HalfCloseTimeout,
		KeepAlive:        l.config.KeepAlive,
		UserTimeout:      l.config.TCPUserTimeout(),
	}
}

// loosen gives the channels that the listener had before what lets more
// clients in, and tighten the rest. One comes before the swap and the other
// after it, so that a client who sees the old limits with the new groups, or
// the other way round, is never turned away by what holds in neither
// configuration. A channel whose declaration changed gets a new chance, unless
// it was edited.
func (l *listener) loosen(previous *listener, edited bool) {
	l.redeclare(previous, func(channel *balancer.Channel, old, new spec.Channel, moved bool) {
		if new.MaxConns == 0 || old.MaxConns != 0 && new.MaxConns > old.MaxConns {
			channel.SetLimit(new.MaxConns)
		}
		if !new.Disabled {
			channel.Declare(false)
		}
		if !edited && (moved || old != new) {
			channel.Forgive()
		}
	})
}

func (l *listener) tighten(previous *listener) {
	l.redeclare(previous, func(channel *balancer.Channel, _, new spec.Channel, _ bool) {
		channel.SetLimit(new.MaxConns)
		channel.Declare(new.Disabled)
	})
}

// redeclare calls declare for each channel that the listener had before, with
// what was and is declared of it, and whether it moved to another group.
func (l *listener) redeclare(previous *listener, declare func(channel *balancer.Channel, old, new spec.Channel, moved bool)) {
	if previous == nil || l.same {
		return
	}
	before := previous.keys().Places()
	for key, at := range l.keys().All {
		if was, known := before[key]; known {
			declare(l.channels[key], previous.config.Groups[was.Group].Channels[was.Index],
				l.config.Groups[at.Group].Channels[at.Index], was.Group != at.Group)
		}
	}
}

// announce logs what is listened on at the start, and the changes later.
func (e *Engine) announce(old, next *state, changes spec.Changes) {
	if old.config != nil {
		for _, c := range changes {
			e.log.Info("configuration changed", "change", c.String())
		}
	}
	for _, l := range next.listeners {
		for _, addr := range l.addrs {
			if old.sockets[addr] == nil {
				e.log.Info("listening", "listener", l.config.Name, "address", address(next.sockets[addr].Addr()))
			}
		}
	}
}

// address prints a socket's address; the zero Addr as no host.
func address(addr netip.AddrPort) string {
	if !addr.Addr().IsValid() {
		return fmt.Sprintf(":%d", addr.Port())
	}
	return addr.String()
}

func (e *Engine) retiringSockets() []*boundSocket {
	e.retiringMu.Lock()
	defer e.retiringMu.Unlock()
	return slices.Collect(maps.Keys(e.retiring))
}
