package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"balance/config"
	"balance/control"
	"balance/engine"
	"balance/engine/balancer"
)

// A change that is to be confirmed:
//
//	applied ──► waiting ──► kept       confirm, or the daemon ends
//	               │
//	               ├──────► undone     the time is over, a listener serves nobody any more, or a rollback
//	               └──────► replaced   by another change, which waits in its place if it is to be confirmed
//
// What comes back is always what was in force before the first change that nobody
// has confirmed.

// lookEvery is how often it is looked whether listeners still serve.
const lookEvery = 250 * time.Millisecond

// waiting is a change that waits to be confirmed.
type waiting struct {
	control.Unconfirmed
	back   config.Document // what comes back
	served map[string]bool // listeners that served before, see serving
	stop   context.CancelFunc
}

// point is what was in force at a moment.
type point struct {
	number   int
	document config.Document
	served   map[string]bool
}

// here returns what is in force. The caller holds mu and has recorded the edits.
func (r *reloader) here() point {
	p := point{document: config.Document{Config: r.inForce}, served: serving(r.engine.Snapshot())}
	if entries := r.entries(); len(entries) > 0 {
		last := entries[len(entries)-1]
		p.number, p.document.Name, p.document.Data = last.Number, nameOf(last), last.Data
	}
	return p
}

// await begins to wait for a confirmation of what is in force, for which it goes
// back to the point else. The caller holds mu.
func (r *reloader) await(a act, from point) {
	entries := r.entries()
	w := &waiting{back: from.document, served: from.served}
	now := time.Now()
	w.Unconfirmed = control.Unconfirmed{
		Number: entries[len(entries)-1].Number, Back: from.number,
		By: a.by.String(), Why: a.why, Since: now, Until: now.Add(a.within),
	}
	var ctx context.Context
	ctx, w.stop = context.WithCancel(r.life)
	r.waiting = w
	r.unconfirmed.Store(&w.Unconfirmed)
	r.log.Warn("the change is undone unless it is confirmed", "change", w.Number, "by", w.By, "within", a.within, "back_to", w.Back)
	r.engine.Record(engine.Event{What: "unconfirmed", Reason: fmt.Sprintf("change %d is undone in %s unless it is confirmed", w.Number, a.within), By: w.By})
	r.clocks.Go(func() { r.keepTime(ctx, w) })
}

// settle ends the wait, if there is one. The caller holds mu.
func (r *reloader) settle() {
	if r.waiting != nil {
		r.waiting.stop()
		r.waiting = nil
		r.unconfirmed.Store(nil)
	}
}

// keepTime undoes the change when it is not confirmed in time, or at once when a
// listener that served before serves nobody any more. It ends with the wait.
func (r *reloader) keepTime(ctx context.Context, w *waiting) {
	within := w.Until.Sub(w.Since)
	half, end, look := time.NewTimer(within/2), time.NewTimer(within), time.NewTicker(lookEvery)
	defer half.Stop()
	defer end.Stop()
	defer look.Stop()
	for {
		select {
		case <-half.C:
			r.log.Warn("the change is still not confirmed", "change", w.Number, "by", w.By, "left", time.Until(w.Until).Round(time.Second))
		case <-end.C:
			r.undo(w, fmt.Sprintf("nobody confirmed it within %s", within))
			return
		case <-look.C:
			if name := w.lost(r.engine.Snapshot()); name != "" {
				r.undo(w, fmt.Sprintf("listener %q has lost its last usable channel", name))
				return
			}
		case <-ctx.Done():
			if r.life.Err() != nil {
				r.log.Warn("the daemon ends while a change is not confirmed; the next start takes the file as it is", "change", w.Number)
			}
			return
		}
	}
}

// undo goes back, unless the change was confirmed or replaced meanwhile.
func (r *reloader) undo(w *waiting, because string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting != w {
		return
	}
	r.recordEdits()
	r.settle()
	why := fmt.Sprintf("undo of change %d: %s", w.Number, because)
	_, err := r.put(r.life, act{by: itself, what: "undo", why: why, document: w.back})
	switch {
	case err == nil:
		r.returned = true
		r.log.Warn("the change was undone", "change", w.Number, "by", w.By, "reason", because, "back_to", w.Back, "file_differs", r.fileDiffers())
	case r.life.Err() == nil:
		r.failed(itself, "undo", err)
		r.log.Error("the change could not be undone and stays in force", "change", w.Number)
	}
}

var errNothingWaits = errors.New("there is no change that waits to be confirmed")

// confirm keeps the change that waits, and returns its number.
func (r *reloader) confirm(by engine.Actor) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting == nil {
		return 0, errNothingWaits
	}
	number := r.waiting.Number
	r.settle()
	r.engine.Note(engine.Act{By: by, What: "confirm", Change: fmt.Sprintf("change %d is kept", number)})
	return number, nil
}

// serving returns the names and the addresses of the listeners that have a channel
// that serves: a listener goes on under either.
func serving(s engine.Snapshot) map[string]bool {
	served := map[string]bool{}
	for i := range s.Listeners {
		if l := &s.Listeners[i]; slices.ContainsFunc(channels(l), serves) {
			for _, name := range namesOf(l) {
				served[name] = true
			}
		}
	}
	return served
}

// lost returns the name of a listener that served before and has no channel any
// more that serves, nor one that still waits for its first check; empty if there
// is none.
func (w *waiting) lost(s engine.Snapshot) string {
	for i := range s.Listeners {
		l := &s.Listeners[i]
		before := slices.ContainsFunc(namesOf(l), func(name string) bool { return w.served[name] })
		if before && !slices.ContainsFunc(channels(l), func(c engine.ChannelStatus) bool { return serves(c) || isNew(c) }) {
			return l.Name
		}
	}
	return ""
}

func namesOf(l *engine.ListenerStatus) []string {
	names := []string{l.Name}
	for _, addr := range l.Addresses {
		names = append(names, addr.String())
	}
	return names
}

func channels(l *engine.ListenerStatus) []engine.ChannelStatus {
	var all []engine.ChannelStatus
	for _, g := range l.Groups {
		all = append(all, g.Channels...)
	}
	return all
}

// serves reports whether a channel answers, as far as anybody knows. One that is
// full or slow does.
func serves(c engine.ChannelStatus) bool {
	switch c.State {
	case balancer.StateUp, balancer.StateUntested, balancer.StateFull, balancer.StateSlow:
		return true
	}
	return false
}

// isNew reports whether a channel is down only until its first check has ended.
func isNew(c engine.ChannelStatus) bool {
	return c.State == balancer.StateDown && c.Check != nil && c.Check.Last.Time.IsZero()
}
