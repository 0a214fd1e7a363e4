package engine

import (
	"context"
	"net/netip"
	"time"

	"balance/engine/balancer"
	"balance/engine/plane"
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

// Lookup returns the addresses of a host, which may be one itself.
func (e *Engine) Lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if !spec.IsName(host) {
		return e.names.addresses(host), nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	return e.names.resolver.LookupNetIP(ctx, "ip", host)
}

// Reset sets the counters of a channel to zero; the sessions that run stay
// counted in Active. The channel is named as for Enable.
func (e *Engine) Reset(listener string, group, channel int) error {
	c, err := e.channel(listener, group, channel)
	if err != nil {
		return err
	}
	c.Counters.Reset()
	c.Dials.Reset()
	return nil
}

// Close ends the session with this id by a reset, and reports whether there
// was one.
func (e *Engine) Close(id uint64) bool {
	return e.plane.Abort(plane.Operator, func(s *plane.Session) bool { return s.ID == id }) > 0
}

// Drain is the operator's word that a channel, named as for Enable, is to get
// no new session, and to count as disabled once its last one has ended. It
// returns how many there are.
func (e *Engine) Drain(listener string, group, channel int) (sessions int, err error) {
	c, err := e.channel(listener, group, channel)
	if err != nil {
		return 0, err
	}
	changed := c.Drain()
	e.applying.Lock()
	defer e.applying.Unlock()
	if changed && !e.closed {
		e.workers.Go(func() { e.awaitDrained(listener, c) })
	}
	return c.Active(), nil
}

// drainedEvery is how often a channel that drains is looked at.
const drainedEvery = 100 * time.Millisecond

// awaitDrained logs the end of a draining.
func (e *Engine) awaitDrained(listener string, channel *balancer.Channel) {
	ticker := time.NewTicker(drainedEvery)
	defer ticker.Stop()
	for channel.Draining() {
		select {
		case <-ticker.C:
		case <-e.life.Done():
			return
		}
	}
	if !channel.Enabled() {
		e.log.Info("channel drained", "listener", listener, "channel", channel.Key())
	}
}

// Why tells which group and channel a client would get from a listener now,
// and why each earlier channel is passed over. It reserves nothing.
func (e *Engine) Why(listener string, client netip.Addr) ([]balancer.Verdict, error) {
	l, err := e.listener(listener)
	if err != nil {
		return nil, err
	}
	return l.router.Why(balancer.Client{Addr: client}, time.Now().UnixNano()), nil
}

// Channels calls yield for each channel in the configuration in force.
func (e *Engine) Channels(yield func(listener string, group, number int, mode balancer.Mode, channel *balancer.Channel)) {
	for _, l := range e.current.Load().listeners {
		for g, group := range l.router.Groups() {
			for i, channel := range group.Channels {
				yield(l.config.Name, g, i, group.Mode, channel)
			}
		}
	}
}
