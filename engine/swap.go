package engine

import (
	"maps"
	"slices"

	"balance/engine/balancer"
	"balance/engine/plane"
	"balance/engine/spec"
)

// swap puts the next state in force. It cannot fail.
func (e *Engine) swap(old, next *state) {
	now := e.plane.Now()
	for _, l := range next.listeners {
		l.loosen(old.byShared[l.shared], next.edited, now)
	}
	for _, l := range next.listeners {
		if previous := old.byShared[l.shared]; !l.same || l.edge != previous.edge {
			l.shared.SetService(l.service())
		}
	}
	e.reviewing.Lock()
	e.current.Store(next)
	e.reviewing.Unlock()
	e.records.Tried.Store(next.config.Log.Sessions != spec.NoSessions)
	e.records.Begin.Store(next.config.Log.SessionStart)
	e.limitSessions()
	e.budget.SetLimit(int64(next.config.Process.MaxBuffered))
	for _, l := range next.listeners {
		e.serve(l, next.sockets)
	}
	for _, l := range next.listeners {
		l.tighten(old.byShared[l.shared])
		l.router.Review()
	}
	e.removeChannels(old, next)
	e.removeListeners(old, next)
	e.review()
	e.names.retain(slices.Concat(next.config.ChannelNames(), next.config.CheckNames(), next.config.ListenNames()))
}

func (l *listener) service() *plane.Service {
	return &plane.Service{
		Name:             l.config.Name,
		Router:           l.router,
		Source:           l.config.Source,
		ConnectTimeout:   l.config.ConnectTimeout,
		ConnectDeadline:  l.config.ConnectDeadline,
		QueueSize:        l.config.Queue,
		QueueTimeout:     l.config.QueueTimeout,
		IdleTimeout:      l.config.IdleTimeout,
		HalfCloseTimeout: l.config.HalfCloseTimeout,
		MaxAge:           l.config.MaxAge,
		MaxAgeJitter:     l.config.MaxAgeJitter,
		MaxSessions:      l.config.MaxSessions,
		KeepAlive:        l.config.KeepAlive,
		UserTimeout:      l.config.TCPUserTimeout(),
		ResetUnserved:    l.config.WhenUnusable != spec.UnusableClose,
		Transparent:      l.config.Transparent,
		Edge:             l.edge,
	}
}

// loosen gives the channels that the listener had before what lets more
// clients in, and tighten the rest. One comes before the swap and the other
// after it, so that a client who sees the old limits with the new groups, or
// the other way round, is never turned away by what holds in neither
// configuration. A channel whose declaration changed gets a new chance, unless
// it was edited. One that is out of service may come back by either.
func (l *listener) loosen(previous *listener, edited bool, now int64) {
	l.redeclare(previous, func(channel *balancer.Channel, old, new spec.Channel, moved bool) {
		if !channel.Enabled() {
			channel.Warm(now)
		}
		if new.Weight > old.Weight {
			channel.SetWeight(new.Weight.Int())
		}
		if new.MaxConns == 0 || old.MaxConns != 0 && new.MaxConns > old.MaxConns {
			channel.SetLimit(new.MaxConns)
		}
		if !new.Disabled {
			channel.Declare(false)
		}
		old.CheckHost, old.CheckPort = new.CheckHost, new.CheckPort // they are about checks alone
		old.Weight, old.Name = new.Weight, new.Name                 // they say nothing of the server
		if !edited && (moved || old != new) {
			channel.Forgive()
		}
	})
}

func (l *listener) tighten(previous *listener) {
	l.redeclare(previous, func(channel *balancer.Channel, _, new spec.Channel, _ bool) {
		channel.SetName(new.Name)
		channel.SetSendProxy(int(new.SendProxy))
		channel.SetWeight(new.Weight.Int())
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

// announce logs what is listened on at the start, and what a reload changes.
func (e *Engine) announce(old, next *state, changes spec.Changes) {
	if old.config != nil && !next.edited { // who edits says so
		for _, c := range changes {
			e.log.Info("configuration changed", "change", c.String())
		}
	}
	for _, l := range next.listeners {
		for _, addr := range l.addrs {
			if old.sockets[addr] != next.sockets[addr] {
				e.log.Info("listening", "listener", l.config.Name, "address", next.sockets[addr].Address().String())
			}
		}
	}
}

func (e *Engine) retiringSockets() []*boundSocket {
	e.retiringMu.Lock()
	defer e.retiringMu.Unlock()
	return slices.Collect(maps.Keys(e.retiring))
}
