//go:build linux

package eventloop

import (
	"time"

	"balance/engine/plane"
)

// listener is a plane.Listener that has, or had lately, sessions on a loop.
type listener struct {
	*plane.Listener
	loop     *loop
	seen     *plane.Service // what the timers of its sessions follow
	sessions int
}

func (l *loop) listener(of *plane.Listener) *listener {
	t := l.listeners[of]
	if t == nil {
		t = &listener{Listener: of, loop: l, seen: of.Service()}
		l.listeners[of] = t
		if !l.services.timer.armed() {
			l.arm(&l.services.timer, serviceCheck)
		}
	}
	return t
}

// services is the timer by which a loop notices that a listener has another
// service, while it has listeners. A timer that was set for what held before is
// then set anew: a session follows a changed timeout at most so much late.
type services struct{ timer timer }

const serviceCheck = 500 * time.Millisecond

func (r *services) expire(l *loop) {
	changed := false
	for of, t := range l.listeners {
		service := of.Service()
		if t.seen.IdleTimeout != service.IdleTimeout || t.seen.HalfCloseTimeout != service.HalfCloseTimeout ||
			t.seen.MaxAge != service.MaxAge || t.seen.MaxAgeJitter != service.MaxAgeJitter {
			changed = true
		}
		t.seen = service
		if t.sessions == 0 {
			delete(l.listeners, of)
		}
	}
	if changed {
		for _, page := range l.slab.pages {
			for i := range page {
				if s := &page[i]; s.state == plane.Relaying || s.state == plane.HalfClosed {
					l.schedule(s)
				}
			}
		}
	}
	if len(l.listeners) > 0 {
		l.arm(&r.timer, serviceCheck)
	}
}
