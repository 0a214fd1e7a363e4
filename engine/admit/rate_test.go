package admit

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseRate(t *testing.T) {
	for text, want := range map[string]Rate{
		"20/s":      {20, time.Second},
		"100/m":     {100, time.Minute},
		"1000/h":    {1000, time.Hour},
		"1000000/s": {1_000_000, time.Second},
		"0/s":       {},
		"0/h":       {},
	} {
		if got, err := ParseRate(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"1000001/s":                       `"1000001/s" is more than 1000000`,
		"":                                `"" is not a rate such as "20/s", "100/m" or "1000/h"`,
		"20":                              `"20" is not a rate such as "20/s", "100/m" or "1000/h"`,
		"20/":                             `"20/" is not a rate such as "20/s", "100/m" or "1000/h"`,
		"/s":                              `"/s" is not a rate such as "20/s", "100/m" or "1000/h"`,
		"20/d":                            `"20/d" is not a rate such as "20/s", "100/m" or "1000/h"`,
		"-1/s":                            `"-1/s" is not a rate such as "20/s", "100/m" or "1000/h"`,
		"1.5/s":                           `"1.5/s" is not a rate such as "20/s", "100/m" or "1000/h"`,
		"1/s/s":                           `"1/s/s" is not a rate such as "20/s", "100/m" or "1000/h"`,
		" 1/s":                            `" 1/s" is not a rate such as "20/s", "100/m" or "1000/h"`,
		strings.Repeat("9", 99):           `"` + strings.Repeat("9", 60) + `" is not a rate such as "20/s", "100/m" or "1000/h"`,
		"99999999999999999999999999999/s": `"99999999999999999999999999999/s" is not a rate such as "20/s", "100/m" or "1000/h"`,
	} {
		if got, err := ParseRate(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func FuzzParseRate(f *testing.F) {
	for _, seed := range []string{"20/s", "0/m", "007/h", "1000000/s", "1000001/s", "/", "1/s\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rate, err := ParseRate(text)
		if err != nil {
			return
		}
		var again Rate
		written, _ := rate.MarshalText()
		if err := again.UnmarshalText(written); err != nil || again != rate {
			t.Errorf("%q is %v, and then %v: %v", text, rate, again, err)
		}
		if rate.Count < 0 || rate.Count > MaxCount || (rate.Count == 0) != (rate.Per == 0) {
			t.Errorf("%q is %v", text, rate)
		}
	})
}

// TestTake has the boundaries, to the nanosecond.
func TestTake(t *testing.T) {
	const s = int64(time.Second)
	for _, test := range []struct {
		name   string
		limits Limits
		at     []int64
		want   string // a letter for each: y or n
	}{
		{"no rate", Limits{}, []int64{0, 0, 0}, "yyy"},
		{"a burst is the count of the rate", Limits{Rate: Rate{3, time.Second}}, []int64{0, 0, 0, 0}, "yyyn"},
		{"a burst of one", Limits{Rate: Rate{2, time.Second}, Burst: 1}, []int64{0, s / 2, s, 3*s/2 - 1}, "yyyn"},
		{"a burst above the count", Limits{Rate: Rate{1, time.Second}, Burst: 3}, []int64{0, 0, 0, 0, s, s}, "yyynyn"},
		{"one a second, all that time", Limits{Rate: Rate{1, time.Second}, Burst: 2}, []int64{0, 0, s, 2 * s, 3 * s, 3 * s}, "yyyyyn"},
		{"just too early, and then late enough", Limits{Rate: Rate{1, time.Second}}, []int64{0, s - 1, 2*s - 2, 3*s - 2}, "ynny"},
		{"a refused one takes what there is", Limits{Rate: Rate{1, time.Second}, Burst: 2}, []int64{0, 0, s / 2, s, 3 * s / 2, 5 * s / 2}, "yynnny"},
		{"full again after a burst of intervals", Limits{Rate: Rate{1, time.Second}, Burst: 2}, []int64{0, 0, 0, 2 * s, 2 * s, 2 * s}, "yynyyn"},
		{"never more than full", Limits{Rate: Rate{1, time.Second}, Burst: 2}, []int64{0, 99 * s, 99 * s, 99 * s}, "yyyn"},
		{"a third of a second, rounded down", Limits{Rate: Rate{3, time.Second}, Burst: 1}, []int64{0, 333_333_333, 666_666_665}, "yyn"},
		{"an hour", Limits{Rate: Rate{1, time.Hour}}, []int64{5, 3600*s + 4, 7200*s + 4}, "yny"},
		{"the most there is", Limits{Rate: Rate{1, time.Hour}, Burst: math.MaxInt}, []int64{1 << 61, 1 << 61}, "yy"},
	} {
		full, got := int64(0), ""
		for _, now := range test.at {
			after, ok := test.limits.take(full, now)
			got += map[bool]string{true: "y", false: "n"}[ok]
			full = after
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

// TestPenaltyIsBounded hammers as it likes. After one quiet interval the source has one
// connection, and after a burst of them all of it.
func TestPenaltyIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := drawLimits(t)
		interval := int64(limits.Rate.Per) / int64(limits.Rate.Count)
		burst := limits.Burst
		if burst == 0 {
			burst = limits.Rate.Count
		}
		full, now := rapid.Int64Range(0, 1<<60).Draw(t, "full"), int64(0)
		for _, gap := range rapid.SliceOfN(rapid.Int64Range(0, interval-1), burst+1, burst+20).Draw(t, "gaps") {
			now += gap
			full, _ = limits.take(full, now)
		}
		if _, ok := limits.take(full, now+interval); !ok {
			t.Error("refused after a quiet interval")
		}
		now += int64(burst) * interval
		for i := range burst + 1 {
			after, ok := limits.take(full, now)
			if ok != (i < burst) {
				t.Errorf("connection %d of a full bucket: %v", i, ok)
			}
			full = after
		}
	})
}

func drawLimits(t *rapid.T) Limits {
	return Limits{
		Rate: Rate{
			rapid.IntRange(1, 5).Draw(t, "count"),
			rapid.SampledFrom([]time.Duration{time.Second, time.Minute, time.Hour}).Draw(t, "per"),
		},
		Burst: rapid.IntRange(0, 4).Draw(t, "burst"),
	}
}
