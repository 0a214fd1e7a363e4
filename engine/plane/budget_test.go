package plane

import (
	"testing"
	"time"
)

func TestMostStuck(t *testing.T) {
	for _, test := range []struct {
		limit, kept int64
		want        string
	}{
		{0, 1000, ""},
		{1000, 1000, ""},
		{1000, 1001, "c"},
		{1000, 1100, "c"},
		{1000, 1101, "cb"},
		{1000, 2000, "cba"}, // d is only slow
		{1000, 2300, "cba"},
		{1000, 2301, "cbad"}, // which is no excuse beyond twice the limit
		{1700, 2001, "cba"},
		{150, 301, "cb"},
	} {
		b := NewBudget()
		b.Keep(test.kept)
		b.SetLimit(test.limit)
		got := ""
		for _, s := range MostStuck(b, []Stuck[string]{
			{"a", 100, StuckAtLeast},
			{"b", 100, time.Hour},
			{"c", 100, 2 * time.Hour},
			{"d", 100, StuckAtLeast - 1},
		}) {
			got += s.Session
		}
		if got != test.want {
			t.Errorf("%d bytes with a limit of %d: %q are to end, want %q", test.kept, test.limit, got, test.want)
		}
	}
}

func TestBudgetIsDue(t *testing.T) {
	for _, test := range []struct {
		limit, kept int64
		since       time.Duration // the last look
		want        bool
	}{
		{0, 1000, time.Hour, false},
		{1000, 1000, time.Hour, false},
		{1000, 1001, StuckCheck, true},
		{1000, 2000, StuckCheck - 1, false},
		{1000, 2001, RushedCheck, true},
		{1000, 2001, RushedCheck - 1, false},
	} {
		b := NewBudget()
		b.Keep(test.kept)
		b.SetLimit(test.limit)
		if got := b.Due(test.since); got != test.want {
			t.Errorf("%d bytes with a limit of %d, %s after the last look: due %t", test.kept, test.limit, test.since, got)
		}
	}
	if (*Budget)(nil).Due(time.Hour) || (*Budget)(nil).Over() != nil {
		t.Error("no budget is passed")
	}
}

func TestBudgetTellsOfAnExcess(t *testing.T) {
	b := NewBudget()
	over := func() bool {
		select {
		case <-b.Over():
			return true
		default:
			return false
		}
	}
	b.Keep(10)
	if over() {
		t.Error("there is no limit, but it was passed")
	}
	b.SetLimit(10)
	if over() || b.Excess() != 0 {
		t.Error("the limit is passed that was just reached")
	}
	b.Keep(1)
	b.Keep(1)
	if !over() || over() || b.Excess() != 2 {
		t.Error("the limit was passed, which is to be told once")
	}
	b.Keep(-5)
	if over() || b.Kept() != 7 {
		t.Error("there is less again")
	}
	b.SetLimit(5)
	if !over() {
		t.Error("a lower limit was passed")
	}
	(*Budget)(nil).Keep(1)
}
