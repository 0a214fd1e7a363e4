//go:build linux

package eventloop

import (
	"math/rand/v2"
	"testing"
)

func TestWheel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	spans := []int64{1, 2, 63, 64, 65, 4095, 4096, 4097, 1 << 18, 1<<24 + 7, 1 << 31}
	for range 50 {
		w := &wheel{now: random.Int64N(1 << 32)}
		timers := make([]timer, 200)
		due := map[*timer]int64{}
		set := func(m *timer) {
			when := w.now + random.Int64N(2*spans[random.IntN(len(spans))]) - 1
			w.arm(m, when)
			due[m] = max(when, w.now+1)
		}
		for i := range timers {
			set(&timers[i])
		}
		for len(due) > 0 {
			for range random.IntN(5) {
				m := &timers[random.IntN(len(timers))]
				switch {
				case len(due) < 50: // let it come to an end
				case random.IntN(2) == 0:
					w.disarm(m)
					delete(due, m)
				default:
					set(m)
				}
			}
			earliest := int64(-1)
			for _, when := range due {
				if earliest < 0 || when < earliest {
					earliest = when
				}
			}
			next, ok := w.next()
			if ok != (len(due) > 0) || ok && (next > earliest || next <= w.now) {
				t.Fatalf("next is %d, %t at %d; the earliest timer is due at %d", next, ok, w.now, earliest)
			}
			by := w.now + random.Int64N(2*spans[random.IntN(len(spans))])
			for m := w.due(by); m != nil; m = w.due(by) {
				if when, ok := due[m]; !ok || when > by || when != w.now || m.armed() {
					t.Fatalf("at %d of %d a timer expires that is due at %d", w.now, by, when)
				}
				delete(due, m)
			}
			if w.now != by {
				t.Fatalf("the time is %d, want %d", w.now, by)
			}
			for _, when := range due {
				if when <= by {
					t.Fatalf("at %d a timer is left that was due at %d", by, when)
				}
			}
		}
		if _, ok := w.next(); ok || w.occupied != [levels]uint64{} {
			t.Fatal("the wheel is empty, but says otherwise")
		}
	}
}

func TestWheelFindsTheNextWithFewSteps(t *testing.T) {
	for _, delay := range []int64{1, 100, 10_000, 1_000_000, 100_000_000} {
		w, m := &wheel{now: 12345}, new(timer)
		w.arm(m, w.now+delay)
		steps := 0
		for ; m.armed(); steps++ {
			next, _ := w.next()
			w.due(next)
		}
		if steps > levels {
			t.Errorf("a timer in %d ticks takes %d wake-ups", delay, steps)
		}
	}
}

func BenchmarkWheel(b *testing.B) {
	w, m := new(wheel), new(timer)
	for b.Loop() {
		w.arm(m, w.now+5000)
		w.arm(m, w.now+1000)
		w.disarm(m)
	}
}
