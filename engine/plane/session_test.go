package plane

import (
	"slices"
	"testing"
	"time"
)

func TestTimeLeft(t *testing.T) {
	const s = time.Second
	for _, test := range []struct {
		idle, half, age time.Duration
		state           State
		left            time.Duration // two seconds after the last byte, at the age of five
		cause           Cause
	}{
		{9 * s, 5 * s, 0, Dialing, 0, 0},
		{9 * s, 5 * s, 0, Closed, 0, 0},
		{0, 5 * s, 0, Relaying, 0, 0},
		{9 * s, 5 * s, 0, Relaying, 7 * s, IdleTimeout},
		{1 * s, 0, 0, Relaying, -1 * s, IdleTimeout},
		{0, 0, 0, HalfClosed, 0, 0},
		{9 * s, 0, 0, HalfClosed, 7 * s, IdleTimeout},
		{9 * s, 5 * s, 0, HalfClosed, 3 * s, HalfCloseTimeout},
		{0, 5 * s, 0, HalfClosed, 3 * s, HalfCloseTimeout},
		{5 * s, 9 * s, 0, HalfClosed, 3 * s, IdleTimeout},
		{5 * s, 5 * s, 0, HalfClosed, 3 * s, IdleTimeout},
		{0, 0, 9 * s, Dialing, 0, 0},
		{0, 0, 9 * s, Relaying, 4 * s, MaxAge},
		{0, 0, 4 * s, Relaying, -1 * s, MaxAge},
		{0, 5 * s, 9 * s, HalfClosed, 3 * s, HalfCloseTimeout},
		{9 * s, 0, 9 * s, HalfClosed, 4 * s, MaxAge},
		{5 * s, 0, 9 * s, Relaying, 3 * s, IdleTimeout},
	} {
		service := &Service{IdleTimeout: test.idle, HalfCloseTimeout: test.half, MaxAge: test.age}
		if left, cause := service.TimeLeft(test.state, 1, 5*s, 2*s); left != test.left || cause != test.cause {
			t.Errorf("idle %s, half %s, age %s, %s: %s and cause %d, want %s and %d", test.idle, test.half, test.age, test.state, left, cause, test.left, test.cause)
		}
	}
}

// The jitter is another for each session, the same each time, and all of what is
// allowed.
func TestMaxAgeJitter(t *testing.T) {
	for _, age := range []time.Duration{time.Second, time.Hour, 87600 * time.Hour} {
		service := &Service{MaxAge: age, MaxAgeJitter: 20}
		const sessions = 1000
		below, least, most := 0, service.maxAge(1), service.maxAge(1)
		for id := uint64(1); id <= sessions; id++ {
			got := service.maxAge(id)
			if got != service.maxAge(id) || got < age || got > age+age/5 {
				t.Fatalf("session %d of %s: %s, then %s", id, age, got, service.maxAge(id))
			}
			least, most = min(least, got), max(most, got)
			if got < age+age/10 {
				below++
			}
		}
		if below < sessions*4/10 || below > sessions*6/10 || least > age+age/100 || most < age+age*19/100 {
			t.Errorf("age %s: %d of %d below the mean, %s to %s", age, below, sessions, least, most)
		}
	}
	if got := (&Service{MaxAge: time.Hour}).maxAge(7); got != time.Hour {
		t.Errorf("without jitter: %s", got)
	}
}

// ending notes what becomes of it.
type ending struct{ done []string }

func (e *ending) LeaveChannel()      { e.done = append(e.done, "channel") }
func (e *ending) FreeSlot(int64)     { e.done = append(e.done, "slot") }
func (e *ending) LeaveClient()       { e.done = append(e.done, "client") }
func (e *ending) End() End           { return End{Cause: ClientClosed} }
func (e *ending) Searched() *Search  { return nil }
func (e *ending) Greeted() *Greeting { return nil }
func (e *ending) Forget()            { e.done = append(e.done, "forget") }

func TestOrderOfTheEnd(t *testing.T) {
	for _, told := range []bool{true, false} {
		e := &ending{}
		var places Places
		places.SetLimit(1)
		l := new(Listener)
		l.SetService(&Service{})
		places.Take(l, 1)
		places.Freed = func() { e.done = append(e.done, "place") }
		if places.Want(l) {
			t.Error("there is a place")
		}
		options := &Options{}
		want := []string{"channel", "slot", "client", "forget", "place"}
		if told {
			options.Ended = func(End) { e.done = append(e.done, "told") }
			want = slices.Insert(want, 3, "told")
		}
		options.EndSession(e, &places, l, 1)
		if !slices.Equal(e.done, want) || places.Free(l) != 1 {
			t.Errorf("%v, want %v; %d places are free", e.done, want, places.Free(l))
		}
	}
}
