package plane

import (
	"testing"
	"time"
)

func TestPutOff(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		told, idle time.Duration
		owed       bool
		left       time.Duration
	}{
		{0, time.Hour, false, 0},
		{0, time.Hour, true, Finishing},
		{0, 0, false, quiet},
		{0, quiet - ms, false, ms},
		{0, quiet, false, 0},
		{700 * ms, 0, false, quiet},
		{Finishing - 10*ms, 0, false, 10 * ms},
		{Finishing - 10*ms, time.Hour, true, 10 * ms},
		{Finishing, 0, false, 0},
		{Finishing + ms, 0, true, 0},
	} {
		if left := PutOff(test.told, test.idle, test.owed); left != test.left {
			t.Errorf("told %s ago, idle for %s, owed %t: %s, want %s", test.told, test.idle, test.owed, left, test.left)
		}
	}
}
