package plane

import (
	"slices"
	"testing"
	"time"
)

func TestTimeLeft(t *testing.T) {
	const s = time.Second
	for _, test := range []struct {
		idle, half time.Duration
		state      State
		left       time.Duration // two seconds after the last byte
		cause      Cause
	}{
		{9 * s, 5 * s, Dialing, 0, 0},
		{9 * s, 5 * s, Closed, 0, 0},
		{0, 5 * s, Relaying, 0, 0},
		{9 * s, 5 * s, Relaying, 7 * s, IdleTimeout},
		{1 * s, 0, Relaying, -1 * s, IdleTimeout},
		{0, 0, HalfClosed, 0, 0},
		{9 * s, 0, HalfClosed, 7 * s, IdleTimeout},
		{9 * s, 5 * s, HalfClosed, 3 * s, HalfCloseTimeout},
		{0, 5 * s, HalfClosed, 3 * s, HalfCloseTimeout},
		{5 * s, 9 * s, HalfClosed, 3 * s, IdleTimeout},
		{5 * s, 5 * s, HalfClosed, 3 * s, IdleTimeout},
	} {
		service := &Service{IdleTimeout: test.idle, HalfCloseTimeout: test.half}
		if left, cause := service.TimeLeft(test.state, 2*s); left != test.left || cause != test.cause {
			t.Errorf("idle %s, half %s, %s: %s and cause %d, want %s and %d", test.idle, test.half, test.state, left, cause, test.left, test.cause)
		}
	}
}

// ending notes what becomes of it.
type ending struct{ done []string }

func (e *ending) LeaveChannel()  { e.done = append(e.done, "channel") }
func (e *ending) FreeSlot(int64) { e.done = append(e.done, "slot") }
func (e *ending) LeaveClient()   { e.done = append(e.done, "client") }
func (e *ending) End() End       { return End{Cause: ClientClosed} }
func (e *ending) Forget()        { e.done = append(e.done, "forget") }

func TestOrderOfTheEnd(t *testing.T) {
	for _, told := range []bool{true, false} {
		e := &ending{}
		var places Places
		places.SetLimit(1)
		places.Take(1)
		places.Freed = func() { e.done = append(e.done, "place") }
		places.Wait(1)
		options := &Options{}
		want := []string{"channel", "slot", "client", "forget", "place"}
		if told {
			options.Ended = func(End) { e.done = append(e.done, "told") }
			want = slices.Insert(want, 3, "told")
		}
		options.EndSession(e, &places, 1)
		if !slices.Equal(e.done, want) || places.Free() != 1 {
			t.Errorf("%v, want %v; %d places are free", e.done, want, places.Free())
		}
	}
}
