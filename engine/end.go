package engine

import (
	"time"

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
	if len(ids) > 0 {
		e.watching.Go(func() { e.endEvenly(cause, spread, ids) })
	}
}

// endEvenly ends the sessions one after the other, or several at a time if there
// are many.
func (e *Engine) endEvenly(cause plane.Cause, spread time.Duration, ids []uint64) {
	pause := max(spread/time.Duration(len(ids)), endPause)
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	began := time.Now()
	for done := 0; done < len(ids); {
		due := len(ids)
		if passed := time.Since(began); passed < spread {
			due = max(done, int(float64(len(ids))*float64(passed)/float64(spread)), 1)
		}
		if due > done {
			batch := make(map[uint64]bool, due-done)
			for _, id := range ids[done:due] {
				batch[id] = true
			}
			done = due
			e.plane.Abort(cause, func(s *plane.Session) bool { return batch[s.ID] })
		}
		if done == len(ids) {
			return
		}
		select {
		case <-ticker.C:
		case <-e.life.Done():
			return
		}
	}
}
