package engine

import (
	"errors"
	"fmt"
	"time"

	"balance/engine/balancer"
	"balance/engine/plane"
)

// ErrNoChannel is wrapped by the errors of calls that name a channel which the
// listener does not have.
var ErrNoChannel = errors.New("no such channel")

// Enable is the operator's word that a channel, named by the listener's name and
// its key, is to serve or not. It reports false if that was so already. It
// survives every Apply that keeps the channel.
func (e *Engine) Enable(listener string, key balancer.Key, enable bool) (changed bool, err error) {
	c, err := e.channel(listener, key)
	if err != nil {
		return false, err
	}
	if enable {
		if !c.Enabled() {
			c.Warm(e.plane.Now())
		}
		changed = c.Enable()
	} else {
		changed = c.Disable()
	}
	e.review()
	e.stir()
	return changed, nil
}

// Drain is the operator's word that a channel, named as for Enable, is to get
// no new session, and to count as disabled once its last one has ended. It
// returns how many there are.
func (e *Engine) Drain(listener string, key balancer.Key) (sessions int, err error) {
	c, err := e.channel(listener, key)
	if err != nil {
		return 0, err
	}
	changed := c.Drain()
	e.review()
	e.stir()
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
		e.log.Info("channel drained", append([]any{"listener", listener}, channel.Attrs()...)...)
	}
}

// Reset sets the counters of a channel, named as for Enable, to zero; the
// sessions that run stay counted in Active.
func (e *Engine) Reset(listener string, key balancer.Key) error {
	c, err := e.channel(listener, key)
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

// CloseAll ends the sessions that match by a reset, and returns how many there
// were.
func (e *Engine) CloseAll(match func(*plane.Session) bool) int {
	return e.plane.Abort(plane.Operator, match)
}

// NameOf returns what operators call a channel, named as for Enable; empty if it
// has no name, or there is no such channel.
func (e *Engine) NameOf(listener string, key balancer.Key) string {
	c, err := e.channel(listener, key)
	if err != nil {
		return ""
	}
	return c.Name()
}

// channel returns a channel in force.
func (e *Engine) channel(listener string, key balancer.Key) (*balancer.Channel, error) {
	l, err := e.listener(listener)
	if err != nil {
		return nil, err
	}
	if channel := l.channels[key]; channel != nil {
		return channel, nil
	}
	return nil, l.lacks(key)
}

func (l *listener) lacks(key balancer.Key) error {
	return fmt.Errorf("listener %q: %w %s", l.config.Name, ErrNoChannel, key)
}

// listener returns a listener in force.
func (e *Engine) listener(name string) (*listener, error) {
	for _, l := range e.current.Load().listeners {
		if l.config.Name == name {
			return l, nil
		}
	}
	return nil, fmt.Errorf("there is no listener %q", name)
}
