package engine

import (
	"log/slog"
	"math"
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

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{
		"0B": 0, "1B": 1, "1023B": 1023, "1KiB": 1 << 10, "1537KiB": 1537 << 10, "256MiB": 256 << 20, "3GiB": 3 << 30,
		"8589934591GiB": 8589934591 << 30, "9223372036854775807B": math.MaxInt64,
	} {
		var got Size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want || got.String() != text {
			t.Errorf("%s is read as %d and printed as %s: %v", text, got, got, err)
		}
	}
	for _, text := range []string{"", "0", "B", "1", "1 MiB", " 1MiB", "-1MiB", "+1MiB", "1.5MiB", "1mib", "1MB", "8589934592GiB", "9223372036854775808B", "the integer 5"} {
		if err := new(Size).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read as a size", text)
		}
	}
}

// The limit follows each configuration.
func TestMaxBufferedIsApplied(t *testing.T) {
	e := New(Options{Log: slog.New(slog.DiscardHandler), DataPlane: Portable})
	defer e.Shutdown(t.Context())
	for _, limit := range []Size{256 << 20, MinBuffered, 0, 3 << 20} {
		l := Defaults()
		l.Name, l.Listen = "x", []string{"127.0.0.1:0"}
		l.Groups = []Group{{Channels: []Channel{{Host: "127.0.0.1", Port: 1}}}}
		c := DefaultConfig()
		c.DataPlane = Portable
		c.Listeners = []Listener{l}
		c.Process.MaxBuffered = limit
		if _, err := e.Apply(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		e.budget.Keep(int64(limit) + 1)
		if excess := e.budget.Excess(); (excess == 1) != (limit > 0) {
			t.Errorf("one byte more than %s is an excess of %d", limit, excess)
		}
		if buffered := e.Snapshot().Buffered; buffered != int64(limit)+1 {
			t.Errorf("the snapshot says that %d bytes are kept", buffered)
		}
		e.budget.Keep(-int64(limit) - 1)
	}
}
