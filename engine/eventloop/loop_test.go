//go:build linux

package eventloop

import "testing"

// The clock runs on while a process is stopped. Its timers are not due before
// it has been told of what came in time.
func TestHeard(t *testing.T) {
	type wait struct {
		events int
		all    bool
		began  int64
		upTo   int64 // expected
	}
	for _, test := range []struct {
		name       string
		registered int
		waits      []wait
	}{
		{"nothing happens", 3, []wait{{0, true, 10, 10}, {0, true, 20, 20}}},
		{"a full batch leaves some behind", 600, []wait{{1, true, 10, 10}, {256, false, 20, 10}, {44, true, 30, 30}}},
		{"a signal ends the wait", 3, []wait{{0, true, 10, 10}, {0, false, 20, 10}, {1, true, 30, 30}}},
		{"always more, but each was told once", 600, []wait{
			{256, false, 10, 0}, {256, false, 20, 0}, {256, false, 30, 10}, {256, false, 40, 10}, {256, false, 50, 10}, {256, false, 60, 40},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var h heard
			for i, w := range test.waits {
				h.turn(w.events, w.all, w.began, test.registered)
				if h.upTo != w.upTo {
					t.Errorf("after wait %d: heard up to %d, expected %d", i, h.upTo, w.upTo)
				}
			}
		})
	}
}
