package balancer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// later is a time in milliseconds of a clock that began a minute ago.
func later(ms int) int64 { return int64(time.Minute) + int64(ms)*int64(time.Millisecond) }

// tries has a client try the router's channels, which fail, and returns them.
func tries(r *Router, now int64, err error) (tried []string) {
	route := r.Route(client, now)
	for route.Next(now) == Dial {
		tried = append(tried, route.Channel().Key().Host)
		route.Failed(err, now)
	}
	return tried
}

// A channel is held off twice as long after each failure in a row, up to a bound,
// give or take a fifth, and the same each time that this is played.
func TestHoldOffGrows(t *testing.T) {
	play := func() (times []time.Duration) {
		group := rr("a")
		r := NewRouter([]Group{group}, Options{HoldOff: time.Second, HoldOffMax: 10 * time.Second}, nil)
		a := group.Channels[0]
		now := later(0)
		for range 100 {
			if got := tries(r, now, errRefused); len(got) != 1 {
				t.Fatalf("tried %v", got)
			}
			times = append(times, a.HeldOff(now))
			now += int64(a.HeldOff(now)) // then it is over
			if a.HeldOff(now) != 0 || a.Standing(now).State != StateFailing {
				t.Fatalf("held off for %s more, %s", a.HeldOff(now), a.Standing(now).State)
			}
		}
		return times
	}
	times := play()
	spread := map[time.Duration]bool{}
	for i, d := range times {
		want := []time.Duration{1, 2, 4, 8, 10}[min(i, 4)] * time.Second
		if d < want*8/10 || d > want*12/10 {
			t.Errorf("after %d failures it is held off for %s, want about %s", i+1, d, want)
		}
		spread[d] = true
	}
	if len(spread) < 90 {
		t.Errorf("the times do not vary: %v", times)
	}
	if !slices.Equal(times, play()) {
		t.Error("another time it is another time")
	}
	for _, never := range []Options{{}, {HoldOff: time.Second}, {HoldOffMax: time.Second}} {
		if d := never.holdOff(1, 3); d != 0 {
			t.Errorf("%+v: held off for %s", never, d)
		}
	}
}

// Of dials that run at the same time one failure counts, and whatever clears
// failures begins anew.
func TestFailuresInARow(t *testing.T) {
	group := rr("a")
	a := group.Channels[0]
	r := NewRouter([]Group{group}, Options{HoldOff: time.Second, HoldOffMax: time.Minute}, nil)
	now := later(0)
	fail := func(dials int, err error) {
		routes := make([]Route, dials)
		for i := range routes {
			routes[i] = r.Route(client, now)
			routes[i].Next(now)
		}
		for i := range routes {
			routes[i].Failed(err, now)
		}
	}
	row := func(want int) {
		t.Helper()
		if got := a.Observed().Failures; got != want || a.Failing() != (want > 0) || (a.HeldOff(now) > 0) != (want > 0) {
			t.Errorf("%d failures in a row, failing %t, held off for %s, want %d", got, a.Failing(), a.HeldOff(now), want)
		}
	}
	row(0)
	fail(100, errRefused)
	row(1)
	fail(10, errRefused)
	row(2)
	fail(1, syscall.EMFILE) // says nothing of the channel
	row(2)
	for name, clears := range map[string]func(){
		"a client's dial": func() { route := r.Route(client, now); route.Next(now); route.Connected(0, now); route.Close(now) },
		"a check":         func() { a.Answers(now) },
		"the operator":    func() { a.Enable() },
		"a declaration":   func() { a.Forgive() },
	} {
		early := r.Route(client, now)
		early.Next(now)
		clears()
		row(0)
		early.Failed(errRefused, now) // it is from before
		row(0)
		fail(1, errRefused)
		row(1)
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

func TestAnswersOfAChannelThatDoesNotFail(t *testing.T) {
	a := channels("a")[0]
	if a.Answers(later(0)) != Unchanged || a.Standing(later(1)) != (Standing{State: StateUp, Since: later(0)}) {
		t.Errorf("%+v", a.Standing(later(1)))
	}
	fail(a)
	if a.Answers(later(2)) != Recovered || a.Enabled() {
		t.Error("an autodisabled channel is enabled by an answer, or that is no news")
	}
}

// A channel that is held off comes last, the soonest to be free first, whatever
// its group; and what a hash group would not offer is not.
func TestHeldChannelsComeLast(t *testing.T) {
	options := Options{HoldOff: time.Second, HoldOffMax: time.Minute}
	groups := []Group{rr("a", "b", "c"), hash("x", "y"), rr("z")}
	r := NewRouter(groups, options, nil)
	own := r.pickers[1].(*rendezvous)
	i, _ := own.reach(hashAddr(client.Addr, 0, 0), question{})
	x := groups[1].Channels[i]
	hold := func(c *Channel, ms int) {
		observe(c, options)
		c.until.Store(later(ms))
	}
	hold(groups[0].Channels[0], 300)
	hold(groups[0].Channels[2], 100)
	hold(groups[1].Channels[0], 200)
	hold(groups[1].Channels[1], 200)
	want := []string{"b", "z", "c", x.Key().Host, "a"}
	var why []string
	for _, v := range r.Why(client, later(0)) {
		why = append(why, v.Channel.Key().Host+" "+v.Words)
	}
	if got := []string{"a held off for 300ms more: connection refused", "b chosen"}; !slices.Equal(why, got) {
		t.Errorf("why says %q", why)
	}
	if got := tries(r, later(0), errRefused); !slices.Equal(got, want) {
		t.Errorf("tried %v, want %v", got, want)
	}
	groups[0].Channels[1].Disable()
	groups[2].Channels[0].Disable()
	hold(groups[0].Channels[0], 100) // since then all of them are held off anew
	r = NewRouter(groups, options, nil)
	why = nil
	for _, v := range r.Why(client, later(0)) {
		why = append(why, v.Channel.Key().Host+" "+v.Reason.String())
	}
	got := []string{"a held off", "b disabled", "c held off", x.Key().Host + " held off", "z disabled", "a chosen"}
	if !slices.Equal(why, got) {
		t.Errorf("why says %q, want %q", why, got)
	}
	if words := r.Why(client, later(0))[5].Words; words != "chosen although it is held off: nothing better is left" {
		t.Errorf("why says %q", words)
	}
}

func TestFailureWords(t *testing.T) {
	for want, err := range map[string]error{
		"connection refused":                   fmt.Errorf("dial: %w", syscall.ECONNREFUSED),
		"no answer within the connect timeout": fmt.Errorf("dial: %w", os.ErrDeadlineExceeded),
		"in time? no??":                        errors.New("in time? no\x1b\xff"),
		strings.Repeat("x", maxReason):         errors.New(strings.Repeat("x", 1000)),
	} {
		if got := FailureWords(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
	if got := FailureWords(context.DeadlineExceeded); !strings.Contains(got, "timeout") {
		t.Errorf("%q", got)
	}
}

// Another process goes on with what one has observed.
func TestObservationIsRestored(t *testing.T) {
	options := Options{HoldOff: time.Second, HoldOffMax: time.Minute}
	for range 2 {
		for _, set := range []int{0, 1, 2, 3, 4} {
			a := channels("a")[0]
			if set&1 != 0 {
				for range 3 {
					observe(a, options)
				}
			}
			a.SetHealth(Health(set/2), 7, "answered 503")
			b := channels("a")[0]
			b.Restore(a.Observed())
			for _, now := range []int64{1, later(0)} {
				got, want := b.Standing(now), a.Standing(now)
				if want.State == StateUp || want.State == StateUntested {
					got.Since, want.Since = 0, 0
				}
				if got != want {
					t.Errorf("words %b: %+v, want %+v", set, got, want)
				}
			}
			observe(a, options)
			observe(b, options)
			if a.Observed() != b.Observed() {
				t.Errorf("after one more failure %+v, want %+v", b.Observed(), a.Observed())
			}
		}
	}
}
