package spec

import (
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
		if got := l.TCPUserTimeout(); got != test.want || got > MaxUserTimeout {
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

// The zero values are the defaults, and what is set comes back, even what is wrong.
func TestIntegers(t *testing.T) {
	for field, want := range map[Integer]int{new(Weight): 1, new(IPv4Bits): 32, new(IPv6Bits): 128} {
		if got := field.Int(); got != want {
			t.Errorf("a %T that is not set is %d, want %d", field, got, want)
		}
		for _, n := range []int{0, 1, 32, 1000, -1, math.MaxInt, math.MinInt} {
			if field.SetInt(n); field.Int() != n {
				t.Errorf("a %T that is set to %d is %d", field, n, field.Int())
			}
		}
	}
	if WeightOf(7).Int() != 7 {
		t.Error("the weight of 7 is", WeightOf(7).Int())
	}
}

func TestPercent(t *testing.T) {
	for text, want := range map[string]Percent{"0%": 0, "7%": 7, "100%": 100} {
		var got Percent
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want || got.String() != text {
			t.Errorf("%s is read as %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "%", "7", "-1%", "1.5%", "7 %", "99999999999%"} {
		if err := new(Percent).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is a percentage", text)
		}
	}
}
