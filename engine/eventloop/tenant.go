//go:build linux

package eventloop

import (
	"time"

	"balance/engine/plane"
)

// tenant is a listener that has, or had lately, sessions on a loop.
type tenant struct {
	loop     *loop
	listener *plane.Listener
	seen     *plane.Service // what the timers of its sessions follow
	sessions int
}

func (l *loop) tenant(listener *plane.Listener) *tenant {
	t := l.tenants[listener]
	if t == nil {
		t = &tenant{loop: l, listener: listener, seen: listener.Service()}
		l.tenants[listener] = t
		if !l.reloads.timer.armed() {
			l.arm(&l.reloads.timer, reloadCheck)
		}
	}
	return t
}

// reloads is the timer by which a loop notices that a listener has another
// service, while it has tenants. A timer that was set for what held before is
// then set anew: a session follows a changed timeout at most so much late.
type reloads struct{ timer timer }

const reloadCheck = 500 * time.Millisecond

func (r *reloads) expire(l *loop) {
	changed := false
	for listener, t := range l.tenants {
		service := listener.Service()
		if t.seen.IdleTimeout != service.IdleTimeout || t.seen.HalfCloseTimeout != service.HalfCloseTimeout {
			changed = true
		}
		t.seen = service
		if t.sessions == 0 {
			delete(l.tenants, listener)
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
	if len(l.tenants) > 0 {
		l.arm(&r.timer, reloadCheck)
	}
}
