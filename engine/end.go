package engine

import (
	"cmp"
	"context"
	"slices"
	"time"

	"balance/engine/balancer"
	"balance/engine/plane"
)

// endPause is the least time between two steps of a spread.
const endPause = 100 * time.Millisecond

// endOver ends the sessions that match by a reset: at once, or evenly spread over a
// time. A spread concerns those that match now, and ends with the daemon's life.
func (e *Engine) endOver(cause plane.Cause, spread time.Duration, match func(*plane.Session) bool) {
	if spread <= 0 || e.life.Err() != nil {
		e.plane.Abort(cause, match)
		return
	}
	var ids []uint64
	e.plane.Sessions(func(s plane.Session) bool {
		if match(&s) {
			ids = append(ids, s.ID)
		}
		return true
	})
	e.evenly(e.life, spread, len(ids), func(done, due int) {
		batch := make(map[uint64]bool, due-done)
		for _, id := range ids[done:due] {
			batch[id] = true
		}
		e.plane.Abort(cause, func(s *plane.Session) bool { return batch[s.ID] })
	})
}

// finishOver ends the sessions that match in order, as plane.Finishing has it, and
// otherwise like endOver; in a spread those of a channel first that have been
// without a byte for longest.
func (e *Engine) finishOver(cause plane.Cause, spread time.Duration, match func(*plane.Session) bool) {
	if spread <= 0 || e.life.Err() != nil {
		e.plane.Finish(cause, match)
		return
	}
	ids, quotas := map[uint64]bool{}, map[*balancer.Channel]int{}
	e.plane.Sessions(func(s plane.Session) bool {
		if !s.Leaving && match(&s) {
			ids[s.ID] = true
			quotas[s.Channel]++
		}
		return true
	})
	e.finishEvenly(e.life, cause, spread, quotas, func(s *plane.Session) bool { return ids[s.ID] })
}

// finishEvenly ends as many of the sessions of each channel that match as its quota
// says, in order and evenly spread over a time, unless ctx ends first.
func (e *Engine) finishEvenly(ctx context.Context, cause plane.Cause, spread time.Duration, quotas map[*balancer.Channel]int, match func(*plane.Session) bool) {
	total := 0
	for _, quota := range quotas {
		total += quota
	}
	e.evenly(ctx, spread, total, func(done, due int) {
		batch := map[*balancer.Channel]int{}
		for channel, quota := range quotas {
			batch[channel] = quota*due/total - quota*done/total
		}
		e.finishIdlest(cause, batch, match)
	})
}

// finishIdlest ends in order those of the sessions that match that have been
// without a byte for longest, so many of each channel.
func (e *Engine) finishIdlest(cause plane.Cause, count map[*balancer.Channel]int, match func(*plane.Session) bool) {
	var sessions []plane.Session
	e.plane.Sessions(func(s plane.Session) bool {
		if !s.Leaving && count[s.Channel] > 0 && match(&s) {
			sessions = append(sessions, s)
		}
		return true
	})
	chosen := idlest(sessions, count)
	e.plane.Finish(cause, func(s *plane.Session) bool { return chosen[s.ID] })
}

// idlest returns the ids of those of the sessions that have been without a byte for
// longest, so many of each channel.
func idlest(sessions []plane.Session, count map[*balancer.Channel]int) map[uint64]bool {
	slices.SortFunc(sessions, func(a, b plane.Session) int {
		return cmp.Or(a.Active.Compare(b.Active), cmp.Compare(a.ID, b.ID))
	})
	chosen, of := map[uint64]bool{}, map[*balancer.Channel]int{}
	for i := range sessions {
		if s := &sessions[i]; of[s.Channel] < count[s.Channel] {
			of[s.Channel]++
			chosen[s.ID] = true
		}
	}
	return chosen
}

// evenly takes so many steps over a time, one after the other, or several at a time
// if there are many, until ctx ends: step is told how many were done before and how many
// are due.
func (e *Engine) evenly(ctx context.Context, spread time.Duration, total int, step func(done, due int)) {
	if total > 0 {
		e.watching.Go(func() { e.pace(ctx, spread, total, step) })
	}
}

func (e *Engine) pace(ctx context.Context, spread time.Duration, total int, step func(done, due int)) {
	ticker := time.NewTicker(max(spread/time.Duration(total), endPause))
	defer ticker.Stop()
	began := time.Now()
	for done := 0; done < total; {
		due := total
		if passed := time.Since(began); passed < spread {
			due = max(done, int(float64(total)*float64(passed)/float64(spread)), 1)
		}
		if due > done {
			step(done, due)
			done = due
		}
		if done == total {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
