package engine

import (
	"sync"
	"time"

	"balance/engine/balancer"
	"balance/engine/plane"
	"balance/engine/spec"
)

// removeChannels takes the channels that are in the old state alone out of
// service, and ends their sessions as the listener says.
func (e *Engine) removeChannels(old, next *state) {
	for _, l := range next.listeners {
		previous := old.byShared[l.shared]
		if previous == nil || l.same {
			continue
		}
		removed := map[*balancer.Channel]bool{}
		for key, channel := range previous.channels {
			if l.channels[key] == nil {
				channel.Remove()
				removed[channel] = true
			}
		}
		e.leave(previous, removed)
		if len(removed) > 0 && !next.edited {
			e.endSessions(l.config, func(s *plane.Session) bool { return removed[s.Channel] })
		}
	}
}

// removeListeners retires the sockets that are in the old state alone, and
// ends the sessions of the listeners that are gone as those said.
func (e *Engine) removeListeners(old, next *state) {
	for _, l := range old.listeners {
		var retired sync.WaitGroup
		for _, addr := range l.addrs {
			if next.sockets[addr] != old.sockets[addr] {
				e.retire(old.sockets[addr], &retired)
			}
		}
		if next.byShared[l.shared] != nil {
			continue
		}
		all := map[*balancer.Channel]bool{}
		for _, channel := range l.channels {
			all[channel] = true
		}
		e.leave(l, all)
		belongs := func(s *plane.Session) bool { return s.Listener == l.shared }
		if l.config.OnRemove == spec.Close {
			e.endOver(plane.Removed, l.config.CloseSpread, belongs)
		}
		e.workers.Go(func() {
			retired.Wait() // who waited in the queue has a session now
			l.shared.Sources.Close()
			e.endSessions(l.config, belongs)
		})
	}
}

// retire closes a socket once its queue is empty.
func (e *Engine) retire(retiring *boundSocket, retired *sync.WaitGroup) {
	e.retiringMu.Lock()
	defer e.retiringMu.Unlock()
	e.retiring[retiring] = true
	retired.Add(1)
	e.workers.Go(func() {
		defer retired.Done()
		retiring.Retire(e.patience, retiring.acceptor, e.log)
		e.retiringMu.Lock()
		defer e.retiringMu.Unlock()
		delete(e.retiring, retiring)
	})
}

// leave has channels that are in no configuration any more checked as before,
// for as long as they have sessions.
func (e *Engine) leave(was *listener, removed map[*balancer.Channel]bool) {
	for key, at := range was.keys().All {
		if channel := was.channels[key]; removed[channel] && channel.Active() > 0 {
			health, _ := wordOf(channel)
			e.checking.leave(channel, leaver{listener: was.config, target: target(was.config, at.Group, at.Index), health: health})
		}
	}
}

// endSessions ends the sessions that match as the listener's on_remove says.
func (e *Engine) endSessions(l *spec.Listener, match func(*plane.Session) bool) {
	switch l.OnRemove {
	case spec.Close:
		e.endOver(plane.Removed, l.CloseSpread, match)
	case spec.Drain:
		e.workers.Go(func() { e.endAfter(l, match) })
	}
}

// endAfter ends the sessions that match in order after the listener's
// drain_timeout; a shutdown has a timeout of its own.
func (e *Engine) endAfter(l *spec.Listener, match func(*plane.Session) bool) {
	timer := time.NewTimer(l.DrainTimeout)
	defer timer.Stop()
	select {
	case <-timer.C:
		e.finishOver(plane.Removed, l.CloseSpread, match)
	case <-e.life.Done():
	}
}
