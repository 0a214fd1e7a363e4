package spec

import (
	"encoding"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// LogLevel is the least severity that is logged.
type LogLevel uint8

// The levels, from the least severe.
const (
	LogInfo LogLevel = iota // the zero value is the default
	LogDebug
	LogWarn
	LogError
)

// LogFormat is the form of a log line.
type LogFormat uint8

// The formats.
const (
	LogText LogFormat = iota
	LogJSON
)

// FileMode is the permissions of a file, written in octal.
type FileMode uint16

// SessionLog says which sessions are logged when they end.
type SessionLog uint8

// The failed ones are those of clients that were never connected to a channel,
// and those that broke off.
const (
	NoSessions SessionLog = iota
	FailedSessions
	AllSessions
)

// MaxLoops is the highest number of event loops.
const MaxLoops = 1024

// UserTimeout is a duration or AutoUserTimeout. Zero leaves it to the kernel,
// which retries for about a quarter of an hour, and waits for ever for a
// receiver that answers but takes nothing.
type UserTimeout time.Duration

// AutoUserTimeout stands for what keep-alive amounts to.
const AutoUserTimeout UserTimeout = -1

// Size is a number of bytes, written with a unit: B, KiB, MiB or GiB.
type Size int64

// Percent is a part of a whole, written as in "10%".
type Percent int

var sizeUnits = []struct {
	name  string
	bytes Size
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// DataPlane names what moves the bytes.
type DataPlane uint8

// The event loop is for Linux; with Auto the portable data plane takes its
// place elsewhere.
const (
	Auto DataPlane = iota
	Portable
	EventLoop
)

// OnRemove is what becomes of the sessions of a channel that is removed.
type OnRemove uint8

// Sessions are kept until they end by themselves, ended after a timeout, or
// ended at once.
const (
	Keep OnRemove = iota
	Drain
	Close
)

// RefuseBy is how a client is sent away.
type RefuseBy uint8

// The client sees a reset, or an end of stream.
const (
	ByReset RefuseBy = iota
	ByClose
)

// SendProxy is which PROXY header a channel is sent.
type SendProxy uint8

// None, or one of version 1 or 2.
const (
	NoProxy SendProxy = iota
	ProxyV1
	ProxyV2
)

var (
	refuses     = words[RefuseBy]{{ByReset, "reset"}, {ByClose, "close"}}
	sendProxies = words[SendProxy]{{NoProxy, ""}, {ProxyV1, "v1"}, {ProxyV2, "v2"}}
	dataPlanes  = words[DataPlane]{{Auto, "auto"}, {Portable, "portable"}, {EventLoop, "eventloop"}}
	onRemoves   = words[OnRemove]{{Keep, "keep"}, {Drain, "drain"}, {Close, "close"}}
	logLevels   = words[LogLevel]{{LogDebug, "debug"}, {LogInfo, "info"}, {LogWarn, "warn"}, {LogError, "error"}}
	sessionLogs = words[SessionLog]{{AllSessions, "all"}, {FailedSessions, "failed"}, {NoSessions, "none"}}
	logFormats  = words[LogFormat]{{LogText, "text"}, {LogJSON, "json"}}
)

// words spells the values of a type that is written as a word, in the order in which
// people are told.
type words[T comparable] []struct {
	value T
	word  string
}

// of returns the word for a value; "" if it has none.
func (w words[T]) of(value T) string {
	for _, one := range w {
		if one.value == value {
			return one.word
		}
	}
	return ""
}

func (w words[T]) all() []string {
	all := make([]string, len(w))
	for i, one := range w {
		all[i] = one.word
	}
	return all
}

func (w words[T]) parse(text []byte, into *T) error {
	for _, one := range w {
		if one.word == string(text) {
			*into = one.value
			return nil
		}
	}
	return fmt.Errorf("%q is none of \"%s\"", text, strings.Join(w.all(), `", "`))
}

var (
	_ encoding.TextUnmarshaler = (*RefuseBy)(nil)
	_ encoding.TextUnmarshaler = (*SendProxy)(nil)
	_ encoding.TextUnmarshaler = (*LogLevel)(nil)
	_ encoding.TextUnmarshaler = (*LogFormat)(nil)
	_ encoding.TextUnmarshaler = (*SessionLog)(nil)
	_ encoding.TextUnmarshaler = (*OnRemove)(nil)
	_ encoding.TextUnmarshaler = (*DataPlane)(nil)
	_ encoding.TextUnmarshaler = (*FileMode)(nil)
	_ encoding.TextUnmarshaler = (*UserTimeout)(nil)
	_ encoding.TextUnmarshaler = (*Size)(nil)
	_ encoding.TextUnmarshaler = (*Percent)(nil)
)

// Words returns those that UnmarshalText takes.
func (RefuseBy) Words() []string { return refuses.all() }

func (r RefuseBy) String() string { return refuses.of(r) }

// MarshalText returns the word that UnmarshalText takes.
func (r RefuseBy) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText takes "reset" or "close".
func (r *RefuseBy) UnmarshalText(text []byte) error { return refuses.parse(text, r) }

// Words returns those that UnmarshalText takes.
func (SendProxy) Words() []string { return sendProxies.all() }

func (s SendProxy) String() string { return sendProxies.of(s) }

// MarshalText returns the word that UnmarshalText takes.
func (s SendProxy) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes "", "v1" or "v2".
func (s *SendProxy) UnmarshalText(text []byte) error { return sendProxies.parse(text, s) }

// Words returns those that UnmarshalText takes.
func (DataPlane) Words() []string { return dataPlanes.all() }

func (d DataPlane) String() string { return dataPlanes.of(d) }

// MarshalText returns the word that UnmarshalText takes.
func (d DataPlane) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText takes "auto", "portable" or "eventloop".
func (d *DataPlane) UnmarshalText(text []byte) error {
	return dataPlanes.parse(text, d)
}

// Words returns those that UnmarshalText takes.
func (OnRemove) Words() []string { return onRemoves.all() }

func (o OnRemove) String() string { return onRemoves.of(o) }

// MarshalText returns the word that UnmarshalText takes.
func (o OnRemove) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText takes "keep", "drain" or "close".
func (o *OnRemove) UnmarshalText(text []byte) error {
	return onRemoves.parse(text, o)
}

// Words returns those that UnmarshalText takes.
func (LogLevel) Words() []string { return logLevels.all() }

func (l LogLevel) String() string { return logLevels.of(l) }

// MarshalText returns the word that UnmarshalText takes.
func (l LogLevel) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText takes "debug", "info", "warn" or "error".
func (l *LogLevel) UnmarshalText(text []byte) error {
	return logLevels.parse(text, l)
}

// Words returns those that UnmarshalText takes.
func (LogFormat) Words() []string { return logFormats.all() }

func (f LogFormat) String() string { return logFormats.of(f) }

// MarshalText returns the word that UnmarshalText takes.
func (f LogFormat) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText takes "text" or "json".
func (f *LogFormat) UnmarshalText(text []byte) error {
	return logFormats.parse(text, f)
}

// Words returns those that UnmarshalText takes.
func (SessionLog) Words() []string { return sessionLogs.all() }

func (s SessionLog) String() string { return sessionLogs.of(s) }

// MarshalText returns the word that UnmarshalText takes.
func (s SessionLog) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes "all", "failed" or "none".
func (s *SessionLog) UnmarshalText(text []byte) error {
	return sessionLogs.parse(text, s)
}

func (m FileMode) String() string { return fmt.Sprintf("%04o", uint16(m)) }

// MarshalText returns the digits that UnmarshalText takes.
func (m FileMode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText takes octal digits such as "0660".
func (m *FileMode) UnmarshalText(text []byte) error {
	mode, err := strconv.ParseUint(string(text), 8, 12)
	if err != nil {
		return fmt.Errorf("%q is not a file mode such as \"0660\"", text)
	}
	*m = FileMode(mode)
	return nil
}

func (u UserTimeout) String() string {
	if u == AutoUserTimeout {
		return "auto"
	}
	return shortDuration(time.Duration(u))
}

// MarshalText returns the text that UnmarshalText takes.
func (u UserTimeout) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText takes "auto" or a duration such as "1m30s".
func (u *UserTimeout) UnmarshalText(text []byte) error {
	if string(text) == AutoUserTimeout.String() {
		*u = AutoUserTimeout
		return nil
	}
	duration, err := time.ParseDuration(string(text))
	if err != nil || duration < 0 {
		return fmt.Errorf("%q is neither \"auto\" nor a duration such as \"1m30s\"", text)
	}
	*u = UserTimeout(duration)
	return nil
}

// String returns the size in the largest unit of which it is a whole number.
func (s Size) String() string {
	for _, unit := range sizeUnits {
		if s != 0 && s%unit.bytes == 0 {
			return fmt.Sprintf("%d%s", s/unit.bytes, unit.name)
		}
	}
	return "0B"
}

// MarshalText returns the text that UnmarshalText takes.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes digits and a unit, such as "256MiB".
func (s *Size) UnmarshalText(text []byte) error {
	for _, unit := range sizeUnits {
		digits, ok := strings.CutSuffix(string(text), unit.name)
		if !ok {
			continue
		}
		number, err := strconv.ParseUint(digits, 10, 63)
		if err != nil || Size(number) > math.MaxInt64/unit.bytes {
			break
		}
		*s = Size(number) * unit.bytes
		return nil
	}
	return fmt.Errorf("%.60q is not a size such as \"256MiB\"", text)
}

func (p Percent) String() string { return fmt.Sprintf("%d%%", int(p)) }

// MarshalText returns the text that UnmarshalText takes.
func (p Percent) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText takes digits and a percent sign, such as "10%".
func (p *Percent) UnmarshalText(text []byte) error {
	digits, ok := strings.CutSuffix(string(text), "%")
	number, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || !ok {
		return fmt.Errorf("%.60q is not a percentage such as \"10%%\"", text)
	}
	*p = Percent(number)
	return nil
}
