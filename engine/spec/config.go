// Package spec holds what can be declared about a daemon: Config, what is valid of
// it, how one Config differs from another, and what of the one goes on in the
// other. It does nothing.
package spec

import (
	"encoding"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"balance/engine/balancer"
)

// Config is everything that can be declared about a daemon, as plain values.
// It is immutable once it has passed Validate; the engine keeps the pointer it
// was given and never writes to it.
type Config struct {
	// ShutdownTimeout is how long sessions may go on after a request to stop.
	// Zero ends them at once. The most is MaxTimeout.
	ShutdownTimeout time.Duration
	// ShutdownDelay is for how long after a request to stop the daemon still
	// accepts clients while it already says that it is not ready, at most
	// MaxTimeout.
	ShutdownDelay time.Duration
	// DataPlane moves the bytes. It and Loops cannot change while the daemon
	// runs.
	DataPlane DataPlane
	// Loops is how many event loops there are, 0 to MaxLoops; 0 means one for
	// each processor. The portable data plane has none.
	Loops     int
	Process   Process
	Log       Log
	Control   Control
	Listeners []Listener
}

// Clone returns a copy that shares nothing with the original.
func (c *Config) Clone() *Config {
	copied := *c
	copied.Listeners = slices.Clone(c.Listeners)
	for i := range copied.Listeners {
		l := &copied.Listeners[i]
		l.Listen = slices.Clone(l.Listen)
		l.Groups = slices.Clone(l.Groups)
		for g := range l.Groups {
			group := &l.Groups[g]
			group.Channels = slices.Clone(group.Channels)
			group.Check.Headers = maps.Clone(group.Check.Headers)
			group.Check.Status = slices.Clone(group.Check.Status)
			group.Check.Command = slices.Clone(group.Check.Command)
		}
	}
	return &copied
}

// Process bounds what all listeners together may take.
type Process struct {
	// MaxSessions limits the simultaneous sessions, 0 to MaxMaxConns. Beyond it
	// clients wait in the queues of the kernel. The limit of descriptors sets
	// one of its own, which holds in any case; 0 means that one.
	MaxSessions int
	// MaxBuffered is how many bytes may be kept for receivers that do not take
	// them, in buffers of 64 KiB and pipes of 1 MiB: MinBuffered or more. When
	// there are more, the sessions that have been stuck longest are reset. Zero
	// means no limit.
	MaxBuffered Size
}

// MinBuffered is what one session may keep in one direction.
const MinBuffered Size = 1 << 20

// Log says what is logged and how.
type Log struct {
	Level  LogLevel
	Format LogFormat
	// Sessions asks for one line for each session that ends.
	Sessions bool
}

// Control says how the daemon is driven while it runs.
type Control struct {
	// Watch asks for the configuration file to be applied when it changes.
	Watch bool
	// Mode is that of the control socket, 0600 to 0660. It lets nobody in who
	// is not a member of Group or ReadGroup.
	Mode FileMode
	// Group is the name or number of a group of users who may use the control
	// socket; it gets 0060 added to its mode then. Empty for none.
	Group string
	// ReadGroup is the name or number of another group of users, who may use
	// the commands that change nothing. If there are both groups, 0066 is added
	// to the mode, and the daemon looks at who connects. Empty for none. Linux
	// only.
	ReadGroup string
	// StatsFile is where the counters of the channels are kept: an absolute
	// path, or a name in the runtime directory. Empty keeps them in memory.
	// It is fixed while the daemon runs.
	StatsFile string
	// HTTP is where the status page and the metrics are served: a "host:port"
	// with a numeric port, whose empty host means every address of the machine
	// and whose port 0 means one that the kernel picks; or a unix socket, see
	// UnixPath. Empty serves neither.
	HTTP string
	// HTTPTokenFile is the absolute path of a file whose first line is the
	// token that whoever asks there has to bear, but for health, readiness and
	// the page without its data. Empty asks for none.
	HTTPTokenFile string
	// PProf serves the profiles of the Go runtime there too. Where others than
	// this machine can ask for them it needs HTTPTokenFile.
	PProf bool
}

// HTTPExposed reports whether HTTP can be reached from other machines: it is
// neither a unix socket nor on the loopback. Of names "localhost" alone counts as
// the loopback (RFC 6761, 6.3); what others stand for may change.
func (c *Control) HTTPExposed() bool {
	if _, ok := UnixPath(c.HTTP); ok || c.HTTP == "" {
		return false
	}
	host, _, err := SplitListen(c.HTTP)
	if err != nil || strings.EqualFold(host, "localhost") {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return err != nil || !addr.IsLoopback()
}

// UnixPath returns the absolute path of the unix socket that an address such as
// "unix:/run/balance/http.sock" means, and whether it means one.
func UnixPath(address string) (path string, ok bool) {
	return strings.CutPrefix(address, "unix:")
}

// Listener is one service: where clients come in, and the groups of channels
// that serve them. Groups are tried in order.
type Listener struct {
	// Name is unique within a Config.
	Name string
	// Listen holds at least one address, each "host:port" with a numeric
	// port. An empty host means every address of the machine, IPv4 and IPv6.
	// Port 0 lets the kernel pick.
	Listen []string
	// Source is the local address to dial from; the zero Addr leaves the
	// choice to the kernel.
	Source netip.Addr
	// ConnectTimeout bounds the dialling of one channel, all its addresses
	// together: one millisecond to MaxConnectTimeout.
	ConnectTimeout time.Duration
	// ConnectDeadline is how long a client may wait to be connected, in the queue
	// and for all channels together, at most MaxTimeout. Zero means no bound.
	ConnectDeadline time.Duration
	// Queue is how many clients may wait for a slot when all channels that could
	// serve them are full, at most MaxQueue.
	Queue int
	// QueueTimeout is how long each of them may wait, at most MaxTimeout. Zero
	// means for ever.
	QueueTimeout time.Duration
	// IdleTimeout ends a session in which no byte moved for so long, at most
	// MaxTimeout. Zero means never.
	IdleTimeout time.Duration
	// HalfCloseTimeout ends a half-closed session in which no byte moved for
	// so long, at most MaxTimeout. Zero means never.
	HalfCloseTimeout time.Duration
	// KeepAlive is the time between TCP keep-alive probes on both sides, in
	// whole seconds, rounded up, and at most MaxKeepAlive. Zero turns them off.
	KeepAlive time.Duration
	// UserTimeout ends a session whose client or channel acknowledges nothing
	// for so long while bytes wait for it, at most MaxUserTimeout.
	UserTimeout UserTimeout
	// AutoDisable takes a channel that cannot be connected to out of service
	// until the operator enables it.
	AutoDisable bool
	// HashFailover lets a hash group try its other channels when the
	// client's own cannot serve it.
	HashFailover bool
	// OnRemove says what becomes of running sessions when their channel or
	// the listener is removed.
	OnRemove OnRemove
	// DrainTimeout is how long they may go on with OnRemove Drain, at most
	// MaxTimeout.
	DrainTimeout time.Duration
	// HoldOff is how long a channel that a client could not be connected to is
	// passed over, twice as long after each further failure in a row, up to
	// HoldOffMax, each give or take a fifth: at most MaxTimeout. Zero means never.
	HoldOff, HoldOffMax time.Duration
	// OnDown says what becomes of the sessions of a channel when a check takes it
	// down.
	OnDown KeepOrClose
	// OnReturn says what becomes of sessions in later groups when a channel of an
	// earlier one, which would take their clients, is up again.
	OnReturn KeepOrClose
	// CloseSpread is over which time sessions are ended evenly that OnDown,
	// OnReturn and OnRemove end: at most MaxTimeout. Zero ends them at once.
	CloseSpread time.Duration
	// Panic is a share in percent: while fewer of the channels of a group that
	// are in service are up by their checks, these are ignored. Zero means never.
	Panic int
	// WhenUnusable says what becomes of clients while no channel can be had.
	WhenUnusable WhenUnusable
	// StallAfter is how long a channel may send nothing after it was sent bytes
	// before it is shown as slow, at most MaxTimeout. Zero means for ever.
	StallAfter time.Duration
	// MaxAge is the age at which a session is finished, at most MaxTimeout, plus up
	// to MaxAgeJitter percent of it, 0 to 100, at random. Zero means any age.
	MaxAge       time.Duration
	MaxAgeJitter int
	// MaxSessions limits the simultaneous sessions of the listener, 0 to
	// MaxMaxConns. Beyond it clients wait in the queue of the kernel. Zero means
	// no limit.
	MaxSessions int
	// Rebalance is how much of the sessions that a channel has above its share is
	// finished a minute, 0 to 100 percent. Zero means none.
	Rebalance Percent
	Groups    []Group
}

// TCPUserTimeout returns what UserTimeout comes to. Without a word of its own it is
// when keep-alive gives up a connection on which nothing is under way: after
// one interval and nine probes (tcp_keepalive_probes in tcp(7)), an interval
// each.
func (l *Listener) TCPUserTimeout() time.Duration {
	if l.UserTimeout != AutoUserTimeout {
		return time.Duration(l.UserTimeout)
	}
	return (1 + 9) * l.KeepAlive
}

// Group is a set of channels that are chosen from in one way.
type Group struct {
	Mode balancer.Mode
	// HashIPv4Bits and HashIPv6Bits, 1 to 32 and 128, are how many leading bits of
	// a client's address count with mode hash.
	HashIPv4Bits IPv4Bits
	HashIPv6Bits IPv6Bits
	// HashLoad bounds with mode hash what a channel may carry, in percent of the
	// mean load for its weight: MinHashLoad to MaxHashLoad; 0 means no bound.
	HashLoad int
	// SlowStart is over which time a channel that came up, was enabled or created
	// gets its share, at most MaxTimeout. Zero means at once.
	SlowStart time.Duration
	// Check is what the tables of checks around the group come to.
	Check    Check
	Channels []Channel
}

// MinHashLoad is the tightest bound that leaves every client a channel. With
// MaxHashLoad a load times a weight and a number of sessions is within 64 bits.
const (
	MinHashLoad = 101
	MaxHashLoad = 10_000
)

// Settings returns those of GroupSettings that are of use to the group.
func (g *Group) Settings() []Setting[Group] {
	return slices.DeleteFunc(slices.Clone(GroupSettings), func(s Setting[Group]) bool { return g.Useless(s.Key) })
}

// Useless reports whether the setting with that key is of no use to the mode.
func (g *Group) Useless(key Key) bool {
	switch key {
	case KeyHashIPv4Bits, KeyHashIPv6Bits, KeyHashLoad:
		return g.Mode != balancer.Hash
	}
	return false
}

// Channel is one server to connect to.
type Channel struct {
	// Host is a name or the text of an IP address, without brackets.
	Host string
	// Port is never 0.
	Port uint16
	// MaxConns limits the simultaneous sessions; 0 means no limit.
	MaxConns int
	// Weight is the share of the channel among those of its group.
	Weight Weight
	// Disabled keeps the channel out of service until the operator enables
	// it.
	Disabled bool
	// CheckHost and CheckPort are where checks of this channel go; empty and 0
	// leave that to its group.
	CheckHost string
	CheckPort uint16
}

// Integer is written as an integer in the file. What it holds is that less the
// default, so that the zero value is the default.
type Integer interface {
	Int() int
	SetInt(int)
}

// Weight is a share, 0 to balancer.MaxWeight, less 1.
type Weight int

// Int returns the share.
func (w Weight) Int() int { return int(w) + 1 }

// SetInt sets the share.
func (w *Weight) SetInt(share int) { *w = WeightOf(share) }

// WeightOf returns the Weight that stands for a share.
func WeightOf(share int) Weight { return Weight(share - 1) }

// IPv4Bits is how many leading bits of an IPv4 address count, less all 32.
type IPv4Bits int

// Int returns how many bits count.
func (b IPv4Bits) Int() int { return int(b) + 32 }

// SetInt sets how many bits count.
func (b *IPv4Bits) SetInt(n int) { *b = IPv4Bits(n - 32) }

// IPv6Bits is how many leading bits of an IPv6 address count, less all 128.
type IPv6Bits int

// Int returns how many bits count.
func (b IPv6Bits) Int() int { return int(b) + 128 }

// SetInt sets how many bits count.
func (b *IPv6Bits) SetInt(n int) { *b = IPv6Bits(n - 128) }

// MaxMaxConns is the highest limit a channel can have: slots are counted in
// 32 bits.
const MaxMaxConns = balancer.MaxLimit

// MaxQueue is how many clients may wait at most: more than a process has
// descriptors for, and few enough to go through.
const MaxQueue = 1_000_000

// The longest that durations may be.
const (
	// MaxConnectTimeout is well beyond where the kernel gives up by itself:
	// about two minutes (tcp_syn_retries in tcp(7)).
	MaxConnectTimeout = time.Hour
	// MaxKeepAlive is what Linux takes (MAX_TCP_KEEPIDLE and MAX_TCP_KEEPINTVL
	// in its net/tcp.h); what is longer would be left at two hours.
	MaxKeepAlive = 32767 * time.Second
	// MaxUserTimeout is what the kernel takes: milliseconds in an int (tcp(7)).
	MaxUserTimeout = math.MaxInt32 * time.Millisecond
	// MaxTimeout, ten years, is for all others. Added to any time of a
	// process, it stays within the nanoseconds that 64 bits can hold.
	MaxTimeout = 10 * 365 * 24 * time.Hour
)

// Defaults returns a Listener that holds the documented default of each
// setting, without name, addresses or groups.
func Defaults() Listener {
	return Listener{
		ConnectTimeout:   5 * time.Second,
		QueueTimeout:     10 * time.Second,
		HalfCloseTimeout: time.Hour,
		KeepAlive:        15 * time.Second,
		UserTimeout:      AutoUserTimeout,
		DrainTimeout:     30 * time.Second,
		HoldOff:          time.Second,
		HoldOffMax:       30 * time.Second,
		StallAfter:       10 * time.Second,
		MaxAgeJitter:     10,
	}
}

// DefaultConfig returns a Config that holds the documented default of each
// setting and no listener.
func DefaultConfig() *Config {
	return &Config{
		ShutdownTimeout: 10 * time.Second,
		Control:         Control{Watch: true, Mode: 0o600},
		Process:         Process{MaxBuffered: 256 << 20},
	}
}

// String returns the channel as its classic specification, host:port with
// IPv6 addresses in brackets.
func (c Channel) String() string {
	if strings.Contains(c.Host, ":") {
		return fmt.Sprintf("[%s]:%d", c.Host, c.Port)
	}
	return fmt.Sprintf("%s:%d", c.Host, c.Port)
}

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

var (
	dataPlanes = words[DataPlane]{Auto: "auto", Portable: "portable", EventLoop: "eventloop"}
	onRemoves  = words[OnRemove]{Keep: "keep", Drain: "drain", Close: "close"}
	logLevels  = words[LogLevel]{LogDebug: "debug", LogInfo: "info", LogWarn: "warn", LogError: "error"}
	logFormats = words[LogFormat]{LogText: "text", LogJSON: "json"}
)

// words spells the values of a type that is written as a word.
type words[T comparable] map[T]string

func (w words[T]) parse(text []byte, into *T, order ...T) error {
	var allowed []string
	for _, value := range order {
		if w[value] == string(text) {
			*into = value
			return nil
		}
		allowed = append(allowed, fmt.Sprintf("%q", w[value]))
	}
	return fmt.Errorf("%q is none of %s", text, strings.Join(allowed, ", "))
}

var (
	_ encoding.TextUnmarshaler = (*LogLevel)(nil)
	_ encoding.TextUnmarshaler = (*LogFormat)(nil)
	_ encoding.TextUnmarshaler = (*OnRemove)(nil)
	_ encoding.TextUnmarshaler = (*DataPlane)(nil)
	_ encoding.TextUnmarshaler = (*FileMode)(nil)
	_ encoding.TextUnmarshaler = (*UserTimeout)(nil)
	_ encoding.TextUnmarshaler = (*Size)(nil)
	_ encoding.TextUnmarshaler = (*Percent)(nil)
)

func (d DataPlane) String() string { return dataPlanes[d] }

// MarshalText returns the word that UnmarshalText takes.
func (d DataPlane) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText takes "auto", "portable" or "eventloop".
func (d *DataPlane) UnmarshalText(text []byte) error {
	return dataPlanes.parse(text, d, Auto, Portable, EventLoop)
}

func (o OnRemove) String() string { return onRemoves[o] }

// MarshalText returns the word that UnmarshalText takes.
func (o OnRemove) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText takes "keep", "drain" or "close".
func (o *OnRemove) UnmarshalText(text []byte) error {
	return onRemoves.parse(text, o, Keep, Drain, Close)
}

func (l LogLevel) String() string { return logLevels[l] }

// MarshalText returns the word that UnmarshalText takes.
func (l LogLevel) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText takes "debug", "info", "warn" or "error".
func (l *LogLevel) UnmarshalText(text []byte) error {
	return logLevels.parse(text, l, LogDebug, LogInfo, LogWarn, LogError)
}

func (f LogFormat) String() string { return logFormats[f] }

// MarshalText returns the word that UnmarshalText takes.
func (f LogFormat) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText takes "text" or "json".
func (f *LogFormat) UnmarshalText(text []byte) error {
	return logFormats.parse(text, f, LogText, LogJSON)
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
