package engine

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"balance/engine/balancer"
	"balance/engine/health"
	"balance/engine/plane"
	"balance/engine/spec"
)

const (
	// watchEvery is how often all channels are looked at, even if nobody said
	// that something had changed: some states begin by the passing of time.
	watchEvery = time.Second
	// watchPause is the least time between two looks.
	watchPause = 20 * time.Millisecond
	// surveyEvery is how often all sessions are looked at.
	surveyEvery = watchEvery
)

// watch notices what has changed about channels, and does what follows from
// that: events, the log, clients in a queue who can go now, sessions that are to be
// closed, doors that are to be shut or opened. One goroutine does all of it, so that one thing comes after
// the other; whoever changes something says so with stir, and waits for nothing.
func (e *Engine) watch() {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		due := time.NewTimer(watchEvery)
		if e.due != 0 {
			due.Reset(time.Duration(e.due - e.plane.Now()))
		}
		select {
		case <-e.sessions.Done():
			return
		case <-ticker.C:
		case <-e.stirred:
		case <-due.C: // the ticker may have come sooner
		}
		due.Stop()
		e.look()
		select {
		case <-e.sessions.Done():
			return
		case <-time.After(watchPause):
		}
	}
}

// stir has the channels looked at soon. It does not block.
func (e *Engine) stir() {
	select {
	case e.stirred <- struct{}{}:
	default:
	}
}

// tried is told by the plane what attempts to connect came to.
func (e *Engine) tried(_ *plane.Listener, channel *balancer.Channel, change balancer.Change, err error) {
	if err != nil && !balancer.Local(err) {
		e.checking.checks.Nudge(channel)
	}
	if change != balancer.Unchanged {
		e.stir()
	}
}

// checked is told of each result of a check. One that was made where clients are
// connected and that passed ends what was held against the channel by those who
// could not be, once it is not held off any more: nobody else may come for long.
func (e *Engine) checked(channel *balancer.Channel, is balancer.Health, changed bool, result health.Result) {
	if result.Outcome == health.Passed && channel.Standing(e.plane.Now()).State == balancer.StateFailing && e.checking.atTheDoor(channel) {
		if channel.Answers(e.plane.Now()) == balancer.Recovered {
			e.falls.rise(channel)
			changed = true
		}
	}
	if changed {
		if is == balancer.Unhealthy {
			e.falls.add(channel, result.Answer, e.plane.Now())
		}
		for _, l := range e.current.Load().listeners {
			l.router.Review()
		}
		e.stir()
	}
}

// falls are the channels that checks have taken down since the watcher looked
// last, with what was so then, and those whose failing a check has ended. The zero
// value is ready for use.
type falls struct {
	mu    sync.Mutex
	all   map[*balancer.Channel]balancer.Standing // guarded by mu
	risen map[*balancer.Channel]bool              // guarded by mu; until somebody tells of it
}

func (f *falls) rise(channel *balancer.Channel) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.risen == nil {
		f.risen = make(map[*balancer.Channel]bool)
	}
	f.risen[channel] = true
}

// hasRisen reports whether a check has ended the channel's failing, once.
func (f *falls) hasRisen(channel *balancer.Channel) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	risen := f.risen[channel]
	delete(f.risen, channel)
	return risen
}

func (f *falls) add(channel *balancer.Channel, reason string, now int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = make(map[*balancer.Channel]balancer.Standing)
	}
	f.all[channel] = balancer.Standing{State: balancer.StateDown, Since: now, Reason: reason}
}

func (f *falls) take() map[*balancer.Channel]balancer.Standing {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.all
	f.all = nil
	return all
}

// sight is what the watcher saw of a channel when it looked last. It is the
// watcher's alone.
type sight struct {
	state  balancer.State
	health balancer.Health
	told   balancer.State // as newsOf has it
	look   uint64         // number of the look

	slow, full bool
	spared     bool // it is down, and its sessions go on since checks are ignored
}

// look goes over all channels once.
func (e *Engine) look() {
	e.looks++
	s := e.current.Load()
	now := e.plane.Now()
	if passed := time.Duration(now - e.surveyed); passed >= surveyEvery {
		e.surveyed = now
		e.findStalled(s, now)
		e.rebalance(s, now, min(passed, 2*surveyEvery))
		e.recordRunning(s)
	}
	falls := e.falls.take()
	e.due = 0
	for _, l := range s.listeners {
		e.lookAt(l, falls, now)
	}
	e.review()
	e.lookAtLeavers(s, falls)
	for channel, seen := range e.seen {
		if seen.look != e.looks {
			delete(e.seen, channel)
		}
	}
}

func (e *Engine) lookAt(l *listener, falls map[*balancer.Channel]balancer.Standing, now int64) {
	var back, down []*balancer.Channel
	changed := false
	for g, group := range l.router.Groups() {
		for _, channel := range group.Channels {
			seen, known := e.seen[channel]
			if !known {
				seen = newSight(channel)
			}
			channel.Date(now)
			e.burden(channel, &seen, now)
			health, word := wordOf(channel)
			is := channel.Standing(now)
			changed = changed || is.State != seen.state || health != seen.health
			fall, fell := falls[channel]
			if !fell {
				fall = word
			}
			if seen.health != balancer.Unhealthy && (fell || health == balancer.Unhealthy) {
				down = append(down, channel)
				changed = true
				if is.State != balancer.StateDown && seen.state.Enabled() { // not any more
					e.tell(l.config.Name, g, channel, seen.told, fall, now)
					seen.state, seen.told = fall.State, fall.State
				}
			}
			if is.State.Up() && !seen.state.Up() {
				back = append(back, channel)
			}
			if news := newsOf(is); news != seen.told {
				if news.Up() && !seen.told.Up() {
					channel.Warm(now)
				}
				e.tell(l.config.Name, g, channel, seen.told, is, now)
				seen.told = news
			}
			seen.state, seen.health, seen.look = is.State, health, e.looks
			e.seen[channel] = seen
		}
	}
	if changed {
		l.router.Review()
	}
	if due := l.shared.Queue.Review(now); due != 0 && (e.due == 0 || due < e.due) {
		e.due = due
	}
	e.closeDown(l, down)
	e.closeMoved(l, back, now)
}

// wordOf returns the word of a channel's checks, and how the channel stands if that
// is that it is down. That none has come to its end yet takes nobody's sessions.
func wordOf(channel *balancer.Channel) (balancer.Health, balancer.Standing) {
	o := channel.Observed()
	if o.HealthReason == health.NotChecked {
		return balancer.Unchecked, balancer.Standing{}
	}
	return o.Health, balancer.Standing{State: balancer.StateDown, Since: o.HealthSince, Reason: o.HealthReason}
}

// newSight is what a channel counts as that was not there before: whatever is
// wrong with it is news, but for what the configuration says itself.
func newSight(channel *balancer.Channel) sight {
	var seen sight
	if !channel.Enabled() {
		seen.state, seen.told = balancer.StateDisabled, balancer.StateDisabled
	}
	return seen
}

// newsOf returns the one state that is told for several: what comes and goes with
// each client is no news, nor what is declared, nor that a channel waits for its
// first check.
func newsOf(is balancer.Standing) balancer.State {
	switch is.State {
	case balancer.StateUntested, balancer.StateFull, balancer.StateWeightless:
		return balancer.StateUp
	case balancer.StateHeld:
		return balancer.StateFailing
	case balancer.StateDown:
		if is.Reason == health.NotChecked {
			return balancer.StateUp
		}
	}
	return is.State
}

// tell keeps an event of a channel that is another than what was told of it last,
// and logs it, but for what the plane has logged already: that it begins to fail,
// and that it answers a client again.
func (e *Engine) tell(listener string, group int, channel *balancer.Channel, was balancer.State, is balancer.Standing, now int64) {
	state := newsOf(is)
	reason := is.Reason
	if state != is.State && state == balancer.StateUp {
		reason = "" // that of a state that is not told
	}
	e.Record(Event{Listener: listener, Channel: channel.Key().String(), Name: channel.Name(), What: state.String(), Reason: reason})
	risen := e.falls.hasRisen(channel)
	switch {
	case state == balancer.StateFailing && was == balancer.StateUp, state == balancer.StateAutoDisabled,
		state == balancer.StateUp && was == balancer.StateFailing && !risen:
		return
	}
	level := slog.LevelInfo
	if state == balancer.StateDown || state == balancer.StateSlow || state == balancer.StateUnresolved {
		level = slog.LevelWarn
	}
	attrs := append([]any{"listener", listener, "group", group}, channel.Attrs()...)
	if reason != "" {
		attrs = append(attrs, "reason", reason)
	}
	e.log.Log(e.life, level, "channel "+state.String(), attrs...)
}

// burden notes since when a channel is slow, and since when it has no slot left.
func (e *Engine) burden(channel *balancer.Channel, seen *sight, now int64) {
	owed := e.stalled[channel]
	switch {
	case owed != 0 && !seen.slow:
		channel.SetSlow(owed, "it was sent bytes and sends none back")
	case owed == 0 && seen.slow:
		channel.SetSlow(0, "")
	}
	seen.slow = owed != 0
	full := channel.Limit() > 0 && channel.Active() >= channel.Limit()
	switch {
	case full && !seen.full:
		channel.NoteFull(now)
	case !full && seen.full:
		channel.NoteFull(0)
	}
	seen.full = full
}

// findStalled finds the channels with sessions that were sent bytes, and got none
// back for as long as the listener says since then, and since when.
func (e *Engine) findStalled(s *state, now int64) {
	clear(e.stalled)
	if !slices.ContainsFunc(s.listeners, func(l *listener) bool { return l.config.StallAfter > 0 }) {
		return
	}
	e.plane.Sessions(func(session plane.Session) bool {
		l := s.byShared[session.Listener]
		if l == nil || l.config.StallAfter == 0 || !session.Owed || session.Channel == nil {
			return true
		}
		if idle := time.Since(session.Active); idle >= l.config.StallAfter {
			since := now - int64(idle)
			if before := e.stalled[session.Channel]; before == 0 || since < before {
				e.stalled[session.Channel] = since
			}
		}
		return true
	})
}

// closeDown ends the sessions of channels that a check has taken down, where
// that is asked for: while a group's checks are ignored they are spared, and ended
// afterwards.
func (e *Engine) closeDown(l *listener, down []*balancer.Channel) {
	if l.config.OnDown != spec.CloseSessions || len(down) == 0 && l.config.Panic == 0 {
		return
	}
	closing := map[*balancer.Channel]bool{}
	for g, group := range l.router.Groups() {
		panicking := l.router.Panicking(g)
		for _, channel := range group.Channels {
			seen := e.seen[channel]
			spared := panicking && seen.health == balancer.Unhealthy
			if !panicking && (slices.Contains(down, channel) || seen.spared && seen.health == balancer.Unhealthy) {
				closing[channel] = true
			}
			if spared != seen.spared {
				seen.spared = spared
				e.seen[channel] = seen
			}
		}
	}
	if len(closing) == 0 {
		return
	}
	e.endOver(plane.ChannelDown, l.config.CloseSpread, func(s *plane.Session) bool {
		return s.Listener == l.shared && closing[s.Channel]
	})
}

// closeMoved ends the sessions in later groups of clients whom a channel that is
// back would take now, as many as it has slots for, where that is asked for.
func (e *Engine) closeMoved(l *listener, back []*balancer.Channel, now int64) {
	if len(back) == 0 || l.config.OnReturn != spec.CloseSessions {
		return
	}
	groupOf := map[*balancer.Channel]int{}
	for g, group := range l.router.Groups() {
		for _, channel := range group.Channels {
			groupOf[channel] = g
		}
	}
	moves := moves{router: l.router, now: now, back: back, came: map[*balancer.Channel]int{}}
	e.endOver(plane.MovedBack, l.config.CloseSpread, func(s *plane.Session) bool {
		if s.Listener != l.shared || s.Channel == nil {
			return false
		}
		at, known := groupOf[s.Channel]
		if !known || at == 0 {
			return false
		}
		verdicts := l.router.Why(balancer.Client{Addr: s.Client.Addr(), Like: l.router.Groups()[at].For}, now)
		if len(verdicts) == 0 {
			return false
		}
		chosen := verdicts[len(verdicts)-1]
		if chosen.Reason != balancer.Chosen || chosen.Group >= at {
			return false
		}
		return moves.take(chosen)
	})
}

// lookAtLeavers does for the channels that have left what look does for those in
// force, and forgets those that have no session any more.
func (e *Engine) lookAtLeavers(s *state, falls map[*balancer.Channel]balancer.Standing) {
	gone := false
	down := map[*balancer.Channel]*spec.Listener{}
	c := &e.checking
	c.mu.Lock()
	for channel, l := range c.leavers {
		if channel.Active() == 0 {
			delete(c.leavers, channel)
			gone = true
			continue
		}
		health, _ := wordOf(channel)
		_, fell := falls[channel]
		if l.health != balancer.Unhealthy && (fell || health == balancer.Unhealthy) && l.listener.OnDown == spec.CloseSessions {
			down[channel] = l.listener
		}
		l.health = health
		c.leavers[channel] = l
	}
	c.mu.Unlock()
	for channel, l := range down {
		e.endOver(plane.ChannelDown, l.CloseSpread, func(s *plane.Session) bool { return s.Channel == channel })
	}
	if gone {
		c.review(s.listeners)
	}
}

// wall returns when it was that time on the clock of the plane; now is what that
// shows at the moment.
func (e *Engine) wall(then, now int64) time.Time {
	if then == 0 {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(then - now))
}
