package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"balance/engine/balancer"
	"balance/engine/plane"
	"balance/engine/socket"
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

// Reread is Apply with the configuration in force: what the files hold that it names
// may be something else.
func (e *Engine) Reread(ctx context.Context) (spec.Changes, error) {
	e.applying.Lock()
	defer e.applying.Unlock()
	if e.closed {
		return nil, ErrShutdown
	}
	return e.applyLocked(ctx, e.Config(), false)
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
	var running *spec.Config
	if edited {
		running = old.config // what an operator changes does not hang on files that others need
	}
	if err := LoadChecks(config, running); err != nil {
		return nil, err
	}
	lists, err := loadLists(ctx, config, old.lists, edited)
	if err != nil {
		return nil, err
	}
	if err := transparent(config); err != nil {
		return nil, err
	}
	from := old.succession(config, edited)
	changes := e.preview(old, config, from, lists)
	serving, lost := old.sockets, []*boundSocket(nil)
	if !edited { // an operator's word does not hang on files either
		serving, lost = old.sockets.reachable(ctx)
	}
	if old.config != nil && len(changes) == 0 && lists.same(old.lists) && len(lost) == 0 {
		e.checking.review(old.listeners) // reads files again
		return nil, nil
	}
	unknown := e.names.unknown(slices.Concat(config.ChannelNames(), config.CheckNames(), config.ListenNames()))
	if edited {
		// An edit takes effect at once, whatever the name service does: it
		// waits for no name but its own.
		before := slices.Concat(old.config.ChannelNames(), old.config.CheckNames())
		unknown = slices.DeleteFunc(unknown, func(host string) bool { return slices.Contains(before, host) })
	}
	if err := e.resolve(ctx, config, unknown, old.config == nil); err != nil {
		return nil, err
	}
	opening := &opening{engine: e, open: serving, retiring: append(e.retiringSockets(), lost...), opened: sockets{}}
	next, err := e.prepare(ctx, old, config, from, lists, opening)
	if err != nil {
		return nil, errors.Join(err, e.abandon(old, opening))
	}
	next.edited = edited
	e.swap(old, next)
	if err := opening.commit(); err != nil {
		e.log.Warn("another process could bind an address of this one", "error", err)
	}
	e.announce(old, next, changes)
	e.checking.review(next.listeners)
	e.stir()
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
	lists, err := loadLists(context.Background(), config, old.lists, false)
	if err != nil {
		return nil, err
	}
	return e.preview(old, config, old.succession(config, false), lists), nil
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

// transparent tells that nobody can dial from the address of a client, where a listener
// is to.
func transparent(config *spec.Config) error {
	var errs []error
	for i := range config.Listeners {
		if l := &config.Listeners[i]; l.Transparent {
			if err := socket.CheckTransparent(); err != nil {
				errs = append(errs, spec.Refuse(spec.ListenerAt(i).Key(spec.KeyTransparent), fmt.Sprintf("listener %q", l.Name),
					fmt.Errorf("transparent: dial from the address of a client: %w", err)))
			}
		}
	}
	return errors.Join(errs...)
}

func (e *Engine) preview(old *state, config *spec.Config, from *spec.Succession, lists *lists) spec.Changes {
	changes := from.Diff(old.config, config)
	if old.config != nil {
		changes = append(changes, lists.differ(old.lists, old.config, config, from.Matches)...)
	}
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
			c.Sessions = running[old.listeners[c.Before].shared]
		}
	}
	return changes
}
