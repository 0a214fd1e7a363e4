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

// ChannelAt names a channel by its listener and its key.
type ChannelAt struct {
	Listener string
	Key      balancer.Key
}

// EditChannel is EditChannels of one.
func (e *Engine) EditChannel(ctx context.Context, listener string, key balancer.Key, edit func(*spec.Channel) error) (spec.Changes, error) {
	return e.EditChannels(ctx, []ChannelAt{{listener, key}}, edit)
}

// EditChannels is Edit of channels, wherever they stand: of all or, on an error, of
// none.
func (e *Engine) EditChannels(ctx context.Context, channels []ChannelAt, edit func(*spec.Channel) error) (spec.Changes, error) {
	return e.Edit(ctx, func(config *spec.Config) error {
		for _, c := range channels {
			l, err := e.listener(c.Listener)
			if err != nil {
				return err
			}
			at, found := l.keys().Places()[c.Key]
			if !found {
				return l.lacks(c.Key)
			}
			i := slices.Index(e.current.Load().listeners, l) // the same: nobody else applies
			if err := edit(&config.Listeners[i].Groups[at.Group].Channels[at.Index]); err != nil {
				return err
			}
		}
		return nil
	})
}
