// Package spec holds what can be declared about a daemon: Config, what is valid of
// it, how one Config differs from another, and what of the one goes on in the
// other. It does nothing.
package spec

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"balance/engine/admit"
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

// Files returns the files beside the one that declares the configuration which are
// read when it is applied, and are watched with it: each once, in the order of the
// file.
func (c *Config) Files() []string {
	var files []string
	for i := range c.Listeners {
		for _, file := range []string{c.Listeners[i].Admit.AllowFile, c.Listeners[i].Admit.DenyFile} {
			if file != "" && !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	return files
}

// Clone returns a copy that shares nothing with the original.
func (c *Config) Clone() *Config {
	copied := *c
	copied.Listeners = slices.Clone(c.Listeners)
	for i := range copied.Listeners {
		l := &copied.Listeners[i]
		l.Listen = slices.Clone(l.Listen)
		l.ProxyProtocol.Accept = slices.Clone(l.ProxyProtocol.Accept)
		l.Admit.Allow = slices.Clone(l.Admit.Allow)
		l.Admit.Deny = slices.Clone(l.Admit.Deny)
		l.Groups = slices.Clone(l.Groups)
		for g := range l.Groups {
			group := &l.Groups[g]
			group.Channels = slices.Clone(group.Channels)
			group.ServerName = slices.Clone(group.ServerName)
			group.ALPN = slices.Clone(group.ALPN)
			group.From = slices.Clone(group.From)
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
	// Sessions says of which sessions there is a line when they end.
	Sessions SessionLog
	// SessionStart asks for a line for each session that is connected to a channel.
	SessionStart bool
	// SessionInterval is how long a session lasts from one line about it to the
	// next, at least MinSessionInterval. Zero means that there is none.
	SessionInterval time.Duration
}

// MinSessionInterval is how often sessions are looked at.
const MinSessionInterval = time.Second

// Control says how the daemon is driven while it runs.
type Control struct {
	// Watch asks for the configuration file to be applied when it changes.
	Watch bool
	// ConfirmWithin is how long a change of the file that touches routing stays in
	// force unless somebody confirms it, at most MaxTimeout. Zero means for ever.
	ConfirmWithin time.Duration
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
	// HTTPWrite lets those who bear the token change there what an operator may
	// change while the daemon runs. It needs HTTPTokenFile.
	HTTPWrite bool
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
	// port, or a unix socket, see UnixPath. An empty host means every address of
	// the machine, IPv4 and IPv6. Port 0 lets the kernel pick.
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
	// PrefaceTimeout is how long a client has for its ClientHello, where a group
	// looks at one, until it counts as one that names nothing: one millisecond to
	// MaxTimeout.
	PrefaceTimeout time.Duration
	// Transparent dials channels from the client's own address. Linux only; it takes
	// CAP_NET_ADMIN.
	Transparent   bool
	Unix          Unix
	ProxyProtocol ProxyProtocol
	Admit         Admit
	Groups        []Group
}

// Unix says how the unix sockets of a listener are made.
type Unix struct {
	// Mode is that of the file, 0600 to 0666.
	Mode FileMode
	// Group is the name or the number of the group of users that the file belongs
	// to; empty leaves that to the kernel.
	Group string
}

// ProxyProtocol says whose connections begin with a PROXY header (haproxy,
// doc/proxy-protocol.txt).
type ProxyProtocol struct {
	// Accept are the networks of the peers that must begin with one, as
	// admit.ParseNetwork takes them. The client is then whom the header names.
	Accept []string
	// Timeout is how long they have for it: one millisecond to MaxTimeout.
	Timeout time.Duration
}

// Admit says which clients are let in.
type Admit struct {
	// Allow and Deny are networks, as admit.ParseNetwork takes them. The longest
	// match decides, Deny on a tie; where there is nothing to allow, who is not
	// denied is let in.
	Allow, Deny []string
	// AllowFile and DenyFile are absolute paths of files with more of them, as
	// admit.ParseList reads them; empty for none.
	AllowFile, DenyFile string
	// MaxSessions limits the sessions of one source, 0 to MaxMaxConns; 0 means no
	// limit.
	MaxSessions int
	// Rate limits the new connections of one source, those that are refused
	// counted too. The zero Rate does not.
	Rate admit.Rate
	// Burst is how many may come at once, 0 to admit.MaxCount; 0 means as many as
	// Rate counts.
	Burst int
	// IPv4Bits and IPv6Bits, 1 to 32 and 128, are how many leading bits of an
	// address make a source.
	IPv4Bits IPv4Bits
	IPv6Bits SourceIPv6Bits
	// Refuse is how clients are sent away.
	Refuse RefuseBy
}

// Settings returns those of ListenerSettings that are of use to the listener.
func (l *Listener) Settings() []Setting[Listener] {
	return slices.DeleteFunc(slices.Clone(ListenerSettings), func(s Setting[Listener]) bool { return l.Useless(s.Key) != nil })
}

// Useless returns nil if the setting with that key is of use to the listener, and
// else the keys of which one would have to be set for that.
func (l *Listener) Useless(key Key) (without []Key) {
	switch key {
	case KeyUnixMode, KeyUnixGroup:
		if !slices.ContainsFunc(l.ListenKeys(), func(k ListenKey) bool { _, unix := k.Unix(); return unix }) {
			return []Key{KeyListen}
		}
	case KeyProxyTimeout:
		if len(l.ProxyProtocol.Accept) == 0 {
			return []Key{KeyAcceptProxy}
		}
	case KeyBurst:
		if l.Admit.Rate == (admit.Rate{}) {
			return []Key{KeyRate}
		}
	case KeySourceIPv4Bits, KeySourceIPv6Bits:
		if l.Admit.MaxSessions == 0 && l.Admit.Rate == (admit.Rate{}) {
			return []Key{KeySourceSessions, KeyRate}
		}
	}
	return nil
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
	// ServerName are the names of servers in the ClientHello of clients that the
	// group is for: exact, or "*." and a domain, for one label before it. Without
	// any it is for all clients; likewise ALPN with protocols and From with networks
	// of clients, as admit.ParseNetwork takes them.
	ServerName, ALPN, From []string
	// SendProxy is the PROXY header that channels are sent which do not say
	// otherwise.
	SendProxy SendProxy
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
	// Name is what operators call the channel, at most maxChannelName bytes of
	// letters, digits, '-', '_' and '.'; no other channel of the listener has it.
	// Empty means that the channel has none.
	Name string
	// Host is a name or the text of an IP address, without brackets, or a unix
	// socket, see UnixPath.
	Host string
	// Port is never 0, but with a unix socket, which has none.
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
	// SendProxy is the PROXY header that is sent to the channel before anything
	// else. In a file it is that of the group where the channel does not say
	// otherwise.
	SendProxy SendProxy
}

// Settings returns those of ChannelSettings that are of use to the channel.
func (c *Channel) Settings() []Setting[Channel] {
	return slices.DeleteFunc(slices.Clone(ChannelSettings), func(s Setting[Channel]) bool { return s.Key == KeyPort && c.IsUnix() })
}

// IsUnix reports whether the channel is a unix socket.
func (c *Channel) IsUnix() bool {
	_, ok := UnixPath(c.Host)
	return ok
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

// SourceIPv6Bits is how many leading bits of an IPv6 address make a source, less
// the 64 of a network (RFC 4291, 2.5.1).
type SourceIPv6Bits int

// Int returns how many bits count.
func (b SourceIPv6Bits) Int() int { return int(b) + 64 }

// SetInt sets how many bits count.
func (b *SourceIPv6Bits) SetInt(n int) { *b = SourceIPv6Bits(n - 64) }

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
		PrefaceTimeout:   3 * time.Second,
		Unix:             Unix{Mode: 0o660},
		ProxyProtocol:    ProxyProtocol{Timeout: 3 * time.Second},
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
// IPv6 addresses in brackets, or unix: and a path.
func (c Channel) String() string {
	if c.IsUnix() {
		return c.Host
	}
	if strings.Contains(c.Host, ":") {
		return fmt.Sprintf("[%s]:%d", c.Host, c.Port)
	}
	return fmt.Sprintf("%s:%d", c.Host, c.Port)
}
