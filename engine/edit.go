package engine

import (
	"context"
	"slices"

	"balance/engine/balancer"
	"balance/engine/spec"
)

// Edit applies the configuration in force as the function changes it; the
// function gets a copy that it may write to, and no other change comes between.
// It differs from Apply in that it ends no session, whatever on_remove says,
// and that it forgets nothing that was observed about a channel. An error of
// the function comes back as it is, and nothing has changed.
func (e *Engine) Edit(ctx context.Context, edit func(*spec.Config) error) (spec.Changes, error) {
	e.applying.Lock()
	defer e.applying.Unlock()
	if e.closed {
		return nil, ErrShutdown
	}
	config := e.Config().Clone()
	if err := edit(config); err != nil {
		return nil, err
	}
	return e.applyLocked(ctx, config, true)
}

// EditChannel is Edit of one channel, named as for Enable, wherever it stands.
func (e *Engine) EditChannel(ctx context.Context, listener string, key balancer.Key, edit func(*spec.Channel) error) (spec.Changes, error) {
	return e.Edit(ctx, func(config *spec.Config) error {
		l, err := e.listener(listener)
		if err != nil {
			return err
		}
		at, found := l.keys().Places()[key]
		if !found {
			return l.lacks(key)
		}
		i := slices.Index(e.current.Load().listeners, l) // the same: nobody else applies
		return edit(&config.Listeners[i].Groups[at.Group].Channels[at.Index])
	})
}
