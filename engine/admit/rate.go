package admit

import (
	"encoding"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MaxCount is the highest count of a Rate, and the longest burst.
const MaxCount = 1_000_000

// Rate is a number of new connections in a time, such as "20/s". The zero Rate is
// no limit.
type Rate struct {
	Count int           // to MaxCount
	Per   time.Duration // a second, a minute or an hour
}

var rateUnits = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}

var (
	_ encoding.TextMarshaler   = Rate{}
	_ encoding.TextUnmarshaler = (*Rate)(nil)
)

// ParseRate reads a rate such as "20/s", "100/m" or "1000/h". "0/s" is the zero Rate.
func ParseRate(text string) (Rate, error) {
	digits, unit, _ := strings.Cut(text, "/")
	count, err := strconv.ParseUint(digits, 10, 31)
	per, known := rateUnits[unit]
	if err != nil || !known {
		return Rate{}, fmt.Errorf("%.60q is not a rate such as \"20/s\", \"100/m\" or \"1000/h\"", text)
	}
	if count > MaxCount {
		return Rate{}, fmt.Errorf("%.60q is more than %d", text, MaxCount)
	}
	if count == 0 {
		return Rate{}, nil
	}
	return Rate{int(count), per}, nil
}

// String returns the text that ParseRate takes.
func (r Rate) String() string {
	for unit, per := range rateUnits {
		if r.Per == per {
			return strconv.Itoa(r.Count) + "/" + unit
		}
	}
	return "0/s"
}

// MarshalText returns the text that UnmarshalText takes.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText takes what ParseRate takes.
func (r *Rate) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRate(string(text))
	return err
}

// What a source is, where Limits do not say it.
const (
	DefaultIPv4Bits = 32
	DefaultIPv6Bits = 64
)

// Limits are those of one source: of all clients whose addresses begin with the same
// bits.
type Limits struct {
	MaxSessions int // at a time; 0 for no limit
	Rate        Rate
	Burst       int // how many may come at once after a quiet time, to MaxCount; 0 for Rate.Count
	IPv4Bits    int // 1 to 32; 0 for DefaultIPv4Bits
	IPv6Bits    int // 1 to 128; 0 for DefaultIPv6Bits
}

// any reports whether there is a limit at all.
func (l *Limits) any() bool { return l != nil && (l.MaxSessions > 0 || l.Rate.Count > 0) }

// take says what a new connection makes of the bucket of its source. The bucket has
// room for a burst, and gets one connection back in each interval: Per/Count, rounded
// down to a nanosecond. All that is known of it is when it is full again.
//
// A connection takes one from the bucket. It is refused if there is less than one, and
// takes what there is. So a source that goes on faster than its rate stays out, however
// often it asks; after one quiet interval it has one connection again, and after as many
// as its burst all of it.
func (l *Limits) take(full, now int64) (after int64, ok bool) {
	if l.Rate.Count <= 0 {
		return full, true
	}
	burst := l.Burst
	if burst <= 0 {
		burst = l.Rate.Count
	}
	interval := max(int64(l.Rate.Per)/int64(l.Rate.Count), 1)
	empty := now + int64(min(burst, MaxCount))*interval // when a bucket that is empty now is full
	after = max(full, now) + interval
	return min(after, empty), after <= empty
}
