package health

import (
	"testing"
	"time"
)

func half() float64 { return 0.5 } // no jitter

var epoch = time.Unix(1_000_000, 0)

func at(d time.Duration) time.Time { return epoch.Add(d) }

// scheduled returns a schedule of so many turns that are all due at the epoch.
func scheduled(n int, down int) (*schedule, []*turn) {
	s := &schedule{random: half}
	var all []*turn
	for range n {
		t := newTurn(nil)
		t.down = down
		s.add(t, epoch)
		all = append(all, t)
	}
	return s, all
}

func started(s *schedule, now time.Time) (n int) {
	for s.start(now) != nil {
		n++
	}
	return n
}

func TestScheduleStartsWhatIsDue(t *testing.T) {
	s := &schedule{random: half}
	turns := map[*turn]time.Duration{}
	for _, due := range []time.Duration{3, 1, 2} {
		turn := newTurn(nil)
		turns[turn] = due
		s.add(turn, at(due))
	}
	for now := range time.Duration(5) {
		if next, any := s.wake(); any != (now < 4) || any && !next.Equal(at(max(now, 1))) {
			t.Errorf("at %d: wake returned %v, %v", now, next, any)
		}
		turn := s.start(at(now))
		if got := turn != nil; got != (now >= 1 && now <= 3) || got && turns[turn] != now {
			t.Errorf("at %d: started the turn that is due at %d (%v)", now, turns[turn], got)
		}
	}
}

func TestScheduleIsBounded(t *testing.T) {
	s, _ := scheduled(maxRunning+10, 0)
	if n := started(s, epoch); n != maxRunning {
		t.Errorf("%d run at a time, want %d", n, maxRunning)
	}
	if _, any := s.wake(); any {
		t.Error("the schedule wants to be looked at though there is no place")
	}
}

// TestDownDoNotHoldUp has more targets that are down than may run, and one that
// is up and due later.
func TestDownDoNotHoldUp(t *testing.T) {
	s, _ := scheduled(maxRunning+10, 1)
	if n := started(s, epoch); n != maxRunningDown {
		t.Errorf("%d that are down run at a time, want %d", n, maxRunningDown)
	}
	up := newTurn(nil)
	s.add(up, at(time.Second))
	if s.start(at(time.Second)) != up {
		t.Error("one that is up was held up by those that are down")
	}
}

func TestScheduleEnd(t *testing.T) {
	const interval, fast = 2 * time.Second, 500 * time.Millisecond
	for _, test := range []struct {
		name   string
		random float64
		first  bool
		took   time.Duration
		want   time.Duration
	}{
		{"from beginning to beginning", 0.5, false, 300 * time.Millisecond, interval},
		{"no less than nine tenths", 0, false, 0, interval * 9 / 10},
		{"no more than eleven tenths", 1, false, 0, interval * 11 / 10},
		{"the first is spread from a half", 0, true, 0, interval / 2},
		{"the first is spread to one and a half", 1, true, 0, interval * 3 / 2},
		{"one that took too long goes on at once", 0.5, false, 7 * time.Second, 7 * time.Second},
	} {
		s, turns := scheduled(1, 0)
		s.random = func() float64 { return test.random }
		turns[0].first = test.first
		s.start(epoch)
		s.end(turns[0], at(test.took), false, interval, fast)
		if got := turns[0].next.Sub(epoch).Round(time.Microsecond); got != test.want {
			t.Errorf("%s: next after %s, want %s", test.name, got, test.want)
		}
		if s.running != [2]int{} {
			t.Errorf("%s: %v still run", test.name, s.running)
		}
	}
}

func TestNudge(t *testing.T) {
	const interval, fast = 2 * time.Second, 500 * time.Millisecond
	s, turns := scheduled(1, 0)
	turn := turns[0]
	turn.first = false
	s.start(epoch)
	s.nudge(turn, epoch, fast)
	s.nudge(turn, epoch, fast)
	s.end(turn, at(10*time.Millisecond), false, interval, fast)
	if !turn.next.Equal(at(10 * time.Millisecond)) {
		t.Errorf("nudged while it ran: next after %s, want at once", turn.next.Sub(epoch))
	}
	if s.start(turn.next) != turn {
		t.Fatal("it did not start")
	}
	s.end(turn, at(20*time.Millisecond), false, interval, fast)
	if want := at(10*time.Millisecond + interval); !turn.next.Equal(want) {
		t.Errorf("nudged twice while it ran: after one more, next after %s, want %s", turn.next.Sub(epoch), want.Sub(epoch))
	}
	s.nudge(turn, at(30*time.Millisecond), fast)
	if want := at(10*time.Millisecond + fast); !turn.next.Equal(want) {
		t.Errorf("nudged again soon after: next after %s, want %s", turn.next.Sub(epoch), want.Sub(epoch))
	}
	s.start(turn.next)
	s.end(turn, turn.next, false, interval, fast)
	if !s.nudge(turn, at(1700*time.Millisecond), fast) || !turn.next.Equal(at(1700*time.Millisecond)) {
		t.Errorf("nudged a while later: next after %s, want at once", turn.next.Sub(epoch))
	}
}

func TestDrop(t *testing.T) {
	s, turns := scheduled(2, 0)
	s.drop(turns[1])
	if n := started(s, epoch); n != 1 {
		t.Errorf("%d started of two, one of which was dropped", n)
	}
	s.drop(turns[0])
	if s.running[0] != 1 {
		t.Error("a turn that was dropped while it runs has lost its place")
	}
	s.leave(turns[0])
	if s.running[0] != 0 {
		t.Error("a turn that has left keeps its place")
	}
}
