package engine

import (
	"testing"
	"time"
)

// What a listener says of the user timeout, and what its sessions get.
func TestUserTimeout(t *testing.T) {
	for _, test := range []struct {
		declared  UserTimeout
		keepAlive time.Duration
		want      time.Duration
	}{
		{AutoUserTimeout, 15 * time.Second, 150 * time.Second},
		{AutoUserTimeout, 0, 0},
		{AutoUserTimeout, MaxKeepAlive, 10 * MaxKeepAlive},
		{0, 15 * time.Second, 0},
		{UserTimeout(time.Minute), 15 * time.Second, time.Minute},
		{UserTimeout(time.Minute), 0, time.Minute},
	} {
		l := Defaults()
		l.UserTimeout, l.KeepAlive = test.declared, test.keepAlive
		if got := (&listener{config: &l}).service().UserTimeout; got != test.want || got > MaxUserTimeout {
			t.Errorf("%s with keepalive %s comes to %s, want %s", test.declared, test.keepAlive, got, test.want)
		}
	}
}
