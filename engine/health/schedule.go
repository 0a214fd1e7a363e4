package health

import (
	"container/heap"
	"time"
)

const (
	// maxRunning is how many checks run at a time, in total.
	maxRunning = 64
	// maxRunningDown is how many of them may be of targets that are down: these
	// may well last until their timeout, and are not to hold up the others.
	maxRunningDown = maxRunning / 2
	// firstStarts is how far apart the first checks of targets begin that are new
	// at the same time, unless that would take longer than their interval.
	firstStarts = 10 * time.Millisecond
)

// schedule says what is to be checked when. It has no clock: whoever asks tells
// the time. A turn is waiting or running, never both, so what is late waits once,
// and is served in the order in which it was due.
type schedule struct {
	random  func() float64 // in [0, 1)
	waiting [2]turns       // of those that are down: [1]
	running [2]int
}

// turn is the place of one target in the schedule.
type turn struct {
	target *target
	down   int       // 1 if the target is down and not on its way up, else 0
	next   time.Time // when its next check begins
	index  int       // among those waiting; -1 while it runs, and before and after all
	began  time.Time // when its last check did
	first  bool      // no check has ended yet
	nudged time.Time // when a check began last that a nudge asked for
	again  bool      // a nudge came while it runs, or asked for the check that waits
}

func newTurn(t *target) *turn { return &turn{target: t, index: -1, first: true} }

// add has a turn begin at a time.
func (s *schedule) add(t *turn, next time.Time) {
	t.next = next
	heap.Push(&s.waiting[t.down], t)
}

// start returns a turn whose time has come, and which runs from now on until end
// or leave; nil if there is none, or no place for it.
func (s *schedule) start(now time.Time) *turn {
	i := s.ready(now)
	if i < 0 {
		return nil
	}
	t := heap.Pop(&s.waiting[i]).(*turn)
	s.running[i]++
	t.began = now
	if t.again {
		t.again, t.nudged = false, now
	}
	return t
}

// ready returns of which kind, up or down, the turn is that start would return;
// -1 if there is none. Of two kinds that can start the one goes first that was
// due first.
func (s *schedule) ready(now time.Time) int {
	i := s.first()
	if i < 0 || s.waiting[i][0].next.After(now) {
		return -1
	}
	return i
}

// first returns of which kind the turn is that is to be started first, of those
// for which there is a place.
func (s *schedule) first() int {
	i := -1
	if s.running[0]+s.running[1] == maxRunning {
		return i
	}
	if len(s.waiting[0]) > 0 {
		i = 0
	}
	if len(s.waiting[1]) > 0 && s.running[1] < maxRunningDown &&
		(i < 0 || s.waiting[1][0].next.Before(s.waiting[0][0].next)) {
		i = 1
	}
	return i
}

// wake returns when start is to be called next, unless a turn ends before; false
// if not at all.
func (s *schedule) wake() (time.Time, bool) {
	i := s.first()
	if i < 0 {
		return time.Time{}, false
	}
	return s.waiting[i][0].next, true
}

// end puts a turn back that ran, for the interval after the time when it began;
// at once if it took longer than that.
func (s *schedule) end(t *turn, now time.Time, down bool, interval, fast time.Duration) {
	s.running[t.down]--
	t.down = 0
	if down {
		t.down = 1
	}
	// Once, targets are spread over their interval; later a tenth of jitter
	// keeps them, and those of other balances, from falling into step.
	share := 0.9 + s.random()/5
	if t.first {
		share = 0.5 + s.random()
		t.first = false
	}
	next := t.began.Add(time.Duration(float64(interval) * share))
	if t.again {
		next = t.soon(now, fast)
	}
	if next.Before(now) {
		next = now
	}
	s.add(t, next)
}

// nudge has a turn begin at once, or, if it runs, once more after it has ended.
// Nudges alone do not make checks of one target begin more often than after its
// fast interval. It reports whether it brought the next check of one that waits
// forward.
func (s *schedule) nudge(t *turn, now time.Time, fast time.Duration) bool {
	t.again = true
	if t.index < 0 {
		return false
	}
	soon := t.soon(now, fast)
	if !soon.Before(t.next) {
		return false
	}
	t.next = soon
	heap.Fix(&s.waiting[t.down], t.index)
	return true
}

// soon returns when a check may begin that a nudge asks for.
func (t *turn) soon(now time.Time, fast time.Duration) time.Time {
	if free := t.nudged.Add(fast); free.After(now) {
		return free
	}
	return now
}

// drop forgets a turn. One that runs keeps its place until leave.
func (s *schedule) drop(t *turn) {
	if t.index >= 0 {
		heap.Remove(&s.waiting[t.down], t.index)
	}
}

// leave gives back the place of a turn that was dropped while it ran.
func (s *schedule) leave(t *turn) { s.running[t.down]-- }

// turns is a heap of those that wait, the next one first.
type turns []*turn

func (h turns) Len() int           { return len(h) }
func (h turns) Less(i, j int) bool { return h[i].next.Before(h[j].next) }
func (h turns) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *turns) Push(x any) {
	t := x.(*turn)
	t.index = len(*h)
	*h = append(*h, t)
}
func (h *turns) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.index = -1
	return t
}
