package spec

import (
	"cmp"
	"encoding"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"balance/engine/admit"
	"balance/engine/balancer"
)

// Table is a table of the file that declares a Config, called by the keys that
// lead to it.
type Table string

// The tables. Each but RootTable, ListenerTable, GroupTable, ChannelTable and those
// of checks in them is there once.
const (
	RootTable     Table = ""
	DefaultsTable Table = "defaults"
	ProcessTable  Table = "process"
	LogTable      Table = "log"
	ControlTable  Table = "control"
	ListenerTable Table = "listener"
	GroupTable    Table = "listener.group"
	ChannelTable  Table = "listener.group.channels"

	UnixTable          Table = "listener.unix"
	ProxyProtocolTable Table = "listener.proxy_protocol"
	AdmitTable         Table = "listener.admit"

	DefaultsCheckTable Table = "defaults.check"
	ListenerCheckTable Table = "listener.check"
	GroupCheckTable    Table = "listener.group.check"
)

// ListenerTables are the tables in a listener that hold ListenerSettings, too, in the
// order of the file.
var ListenerTables = []Table{UnixTable, ProxyProtocolTable, AdmitTable}

// Name returns the last of the keys that lead to the table.
func (t Table) Name() string { return string(t[strings.LastIndex(string(t), ".")+1:]) }

// CheckTables are the tables of CheckSettings, the nearest to a group last: the
// nearest that has a key wins.
var CheckTables = []Table{DefaultsCheckTable, ListenerCheckTable, GroupCheckTable}

// DaemonTables are the tables of DaemonSettings, in the order of the file.
var DaemonTables = []Table{DefaultsTable, ProcessTable, LogTable, ControlTable}

// Keys returns the names of all keys that may stand in a table.
func (t Table) Keys() []string {
	own := slices.Concat(in(t, DaemonSettings, false), in(t, ListenerSettings, false), in(t, GroupSettings, false), in(t, ChannelSettings, false), in(t, CheckSettings, false))
	for _, key := range structure {
		if key.table == t {
			own = append(own, key.name)
		}
	}
	inherited := in(t, ListenerSettings, true)
	if t == DefaultsTable {
		return append(inherited, own...)
	}
	return append(own, inherited...)
}

// in returns the names of the settings that may stand in a table, either of
// those that are inherited or of those that are not.
func in[T any](t Table, settings []Setting[T], inherited bool) []string {
	var names []string
	for _, s := range settings {
		if s.In(t) && s.Is(Inherited) == inherited {
			names = append(names, s.name)
		}
	}
	return names
}

// Key is a key of the file. Those that have to be called by name are variables.
type Key struct {
	table Table
	name  string
}

// Table returns the table in which the key stands.
func (k Key) Table() Table { return k.table }

// Name returns the key as it stands there.
func (k Key) Name() string { return k.name }

// Label returns the key as a listener, a group or a channel has it: with the name of
// its table, as in "admit.rate", if that is one of ListenerTables.
func (k Key) Label() string {
	if slices.Contains(ListenerTables, k.table) {
		return k.table.Name() + "." + k.name
	}
	return k.name
}

// Path returns where a key stands whose table is there once.
func (k Key) Path() Path {
	if k.table == RootTable {
		return Path{}.Key(k)
	}
	return Path{string(k.table)}.Key(k)
}

// String returns the key with its table, but for [defaults].
func (k Key) String() string { return strings.TrimSpace(k.where() + " " + k.name) }

// where is Fault.Where for a key whose table is there once.
func (k Key) where() string {
	if k.table == DefaultsTable {
		return ""
	}
	return string(k.table)
}

// The keys that are called by name: by faults, and by who reads or writes them in
// a way of its own.
var (
	KeyDataPlane      = Key{DefaultsTable, "data_plane"}
	KeyLoops          = Key{DefaultsTable, "loops"}
	KeyControlGroup   = Key{ControlTable, "group"}
	KeyReadGroup      = Key{ControlTable, "read_group"}
	KeyStatsFile      = Key{ControlTable, "stats_file"}
	KeyHTTP           = Key{ControlTable, "http"}
	KeyHTTPTokenFile  = Key{ControlTable, "http_token_file"}
	KeyHTTPWrite      = Key{ControlTable, "http_write"}
	KeyPProf          = Key{ControlTable, "pprof"}
	KeyName           = Key{ListenerTable, "name"}
	KeyListen         = Key{ListenerTable, "listen"}
	KeySource         = Key{ListenerTable, "source"}
	KeyConnectTimeout = Key{ListenerTable, "connect_timeout"}
	KeyHoldOff        = Key{ListenerTable, "hold_off"}
	KeyHoldOffMax     = Key{ListenerTable, "hold_off_max"}
	KeyIdleTimeout    = Key{ListenerTable, "idle_timeout"}
	KeyChannelName    = Key{ChannelTable, "name"}
	KeyHost           = Key{ChannelTable, "host"}
	KeyPort           = Key{ChannelTable, "port"}
	KeyMaxConns       = Key{ChannelTable, "maxc"}
	KeyMode           = Key{GroupTable, "mode"}
	KeyHashIPv4Bits   = Key{GroupTable, "hash_ipv4_bits"}
	KeyHashIPv6Bits   = Key{GroupTable, "hash_ipv6_bits"}
	KeyHashLoad       = Key{GroupTable, "hash_load"}
	KeyCheckHost      = Key{ChannelTable, "check_host"}
	KeyCheckPort      = Key{ChannelTable, "check_port"}

	KeyUnixMode        = Key{UnixTable, "mode"}
	KeyUnixGroup       = Key{UnixTable, "group"}
	KeyAcceptProxy     = Key{ProxyProtocolTable, "accept"}
	KeyProxyTimeout    = Key{ProxyProtocolTable, "timeout"}
	KeyAllow           = Key{AdmitTable, "allow"}
	KeyDeny            = Key{AdmitTable, "deny"}
	KeyAllowFile       = Key{AdmitTable, "allow_file"}
	KeyDenyFile        = Key{AdmitTable, "deny_file"}
	KeySourceSessions  = Key{AdmitTable, "max_sessions"}
	KeyRate            = Key{AdmitTable, "rate"}
	KeyBurst           = Key{AdmitTable, "burst"}
	KeySourceIPv4Bits  = Key{AdmitTable, "ipv4_bits"}
	KeySourceIPv6Bits  = Key{AdmitTable, "ipv6_bits"}
	KeyTransparent     = Key{ListenerTable, "transparent"}
	KeyGroupServerName = Key{GroupTable, "server_name"}
	KeyALPN            = Key{GroupTable, "alpn"}
	KeyFrom            = Key{GroupTable, "from"}
	KeyGroupSendProxy  = Key{GroupTable, "send_proxy"}
	KeySendProxy       = Key{ChannelTable, "send_proxy"}

	KeyCheckType   = Key{GroupCheckTable, "type"}
	KeySend        = Key{GroupCheckTable, "send"}
	KeySendHex     = Key{GroupCheckTable, "send_hex"}
	KeyExpect      = Key{GroupCheckTable, "expect"}
	KeyPath        = Key{GroupCheckTable, "path"}
	KeyMethod      = Key{GroupCheckTable, "method"}
	KeyRequestHost = Key{GroupCheckTable, "host"}
	KeyHeaders     = Key{GroupCheckTable, "headers"}
	KeyStatus      = Key{GroupCheckTable, "status"}
	KeyTLS         = Key{GroupCheckTable, "tls"}
	KeyServerName  = Key{GroupCheckTable, "server_name"}
	KeyCAFile      = Key{GroupCheckTable, "ca_file"}
	KeyCertFile    = Key{GroupCheckTable, "cert_file"}
	KeyKeyFile     = Key{GroupCheckTable, "key_file"}
	KeyInsecure    = Key{GroupCheckTable, "insecure"}
	KeyRole        = Key{GroupCheckTable, "role"}
	KeyCommand     = Key{GroupCheckTable, "command"}
)

// The keys of tables and of arrays of them.
var (
	KeyListeners = Key{RootTable, "listener"}
	KeyGroups    = Key{ListenerTable, "group"}
	KeyChannels  = Key{GroupTable, "channels"}
	KeyCheck     = Key{GroupTable, "check"}

	structure = []Key{
		{RootTable, "defaults"}, {RootTable, "process"}, {RootTable, "log"}, {RootTable, "control"},
		KeyListeners, KeyGroups, KeyChannels,
		{ListenerTable, UnixTable.Name()}, {ListenerTable, ProxyProtocolTable.Name()}, {ListenerTable, AdmitTable.Name()},
		{DefaultsTable, KeyCheck.name}, {ListenerTable, KeyCheck.name}, KeyCheck,
	}
)

// Setting is what there is to know of one setting. The tables below are all that
// says which there are: whoever reads, prints, compares or checks configurations
// goes by them. T is what the setting is part of.
type Setting[T any] struct {
	Key
	traits Traits
	// Field returns a pointer to what the key sets: *bool, *int, *uint16,
	// *string, *[]string, *map[string]string, *time.Duration, *netip.Addr, an
	// Integer, or what is both an encoding.TextMarshaler and an
	// encoding.TextUnmarshaler.
	Field func(*T) any
	// Set gives into the value that from has.
	Set   func(into, from *T)
	same  func(a, b *T) bool
	check func(*T) string   // see Problem; nil if every value is good
	each  func(*T) []string // what is wrong with each string of an array; nil if nothing can be
	rule  bounds
}

// Traits tell what else holds for a setting.
type Traits uint8

// The traits.
const (
	// Inherited settings may stand in [defaults] too, for each listener that
	// does not say otherwise.
	Inherited Traits = 1 << iota
	// Live ones hold for sessions that run, too.
	Live
	// Identity says what something is: with another value it is another one.
	// Diff does not say that it changes, but that one goes and one comes.
	Identity
)

// Is reports whether the setting has a trait.
func (s Setting[T]) Is(trait Traits) bool { return s.traits&trait != 0 }

// In reports whether the setting may stand in a table.
func (s Setting[T]) In(t Table) bool {
	return s.table == t || t == DefaultsTable && s.Is(Inherited) || s.table == GroupCheckTable && slices.Contains(CheckTables, t)
}

// Problem says what is wrong with the value by itself; "" if nothing is.
func (s Setting[T]) Problem(of *T) string {
	if s.check == nil {
		return ""
	}
	if problem := s.check(of); problem != "" {
		return s.name + " " + problem
	}
	return ""
}

// Allowed says which values are good by themselves, such as "0 (no limit) to 100".
func (s Setting[T]) Allowed() string {
	switch field := s.Field(new(T)).(type) {
	case *bool:
		return "true or false"
	case *uint16:
		return cmp.Or(s.rule.text, "0 to 65535") + ", or the name of a service"
	case interface{ Words() []string }:
		words := field.Words()
		last := len(words) - 1
		return fmt.Sprintf("\"%s\" or %q", strings.Join(words[:last], `", "`), words[last])
	}
	return s.rule.text
}

// Bounds returns the least and the greatest integer that are good, if the setting
// is one and has them.
func (s Setting[T]) Bounds() (least, most int64, ok bool) {
	return s.rule.least, s.rule.most, s.rule.numbers
}

// Text returns the value as it is printed.
func (s Setting[T]) Text(of *T) string { return Text(s.Field(of)) }

// Text returns the text of a value, given the field of a Setting: that of a
// string in the file, or its number or truth value. Of a map it tells the keys
// alone: a value there may be a secret.
func Text(field any) string {
	switch field := field.(type) {
	case *bool:
		return strconv.FormatBool(*field)
	case *int:
		return strconv.Itoa(*field)
	case *uint16:
		return strconv.Itoa(int(*field))
	case Integer:
		return strconv.Itoa(field.Int())
	case *string:
		return *field
	case *[]string:
		return strings.Join(*field, " ")
	case *map[string]string:
		return strings.Join(slices.Sorted(maps.Keys(*field)), " ")
	case *time.Duration:
		return shortDuration(*field)
	default:
		text, _ := field.(encoding.TextMarshaler).MarshalText()
		return string(text)
	}
}

// same reports whether all settings have the same values.
func same[T any](settings []Setting[T], a, b *T) bool {
	return !slices.ContainsFunc(settings, func(s Setting[T]) bool { return !s.same(a, b) })
}

// setting declares a setting. Without a rule every value is good.
func setting[T any, V comparable](key Key, field func(*T) *V, rule *rule[V], traits ...Traits) Setting[T] {
	return settingOf(key, field, func(a, b V) bool { return a == b }, rule, traits...)
}

// settingOf declares a setting whose values are compared by same.
func settingOf[T, V any](key Key, field func(*T) *V, same func(a, b V) bool, rule *rule[V], traits ...Traits) Setting[T] {
	s := Setting[T]{Key: key, Field: func(of *T) any { return field(of) }}
	s.Set = func(into, from *T) { *field(into) = *field(from) }
	s.same = func(a, b *T) bool { return same(*field(a), *field(b)) }
	if rule != nil {
		s.rule = rule.bounds
	}
	if rule != nil && rule.problem != nil {
		s.check = func(of *T) string { return rule.problem(*field(of)) }
	}
	if rule != nil && rule.element != nil {
		s.each = func(of *T) []string {
			list, _ := any(*field(of)).([]string)
			problems := make([]string, len(list))
			for i, element := range list {
				problems[i] = rule.element(element)
			}
			return problems
		}
	}
	for _, trait := range traits {
		s.traits |= trait
	}
	return s
}

// DaemonSettings are those that are there once, in the order of the file.
var DaemonSettings = []Setting[Config]{
	setting(Key{DefaultsTable, "shutdown_timeout"}, func(c *Config) *time.Duration { return &c.ShutdownTimeout }, durations(0, MaxTimeout)),
	setting(Key{DefaultsTable, "shutdown_delay"}, func(c *Config) *time.Duration { return &c.ShutdownDelay }, durations(0, MaxTimeout)),
	setting(KeyDataPlane, func(c *Config) *DataPlane { return &c.DataPlane }, nil),
	setting(KeyLoops, func(c *Config) *int { return &c.Loops }, numbers[int](0, MaxLoops, "one for each processor")),

	setting(Key{ProcessTable, "max_sessions"}, func(c *Config) *int { return &c.Process.MaxSessions }, numbers[int](0, MaxMaxConns, "as many as the descriptors allow")),
	setting(Key{ProcessTable, "max_buffered"}, func(c *Config) *Size { return &c.Process.MaxBuffered }, by(maxBuffered, "\"0B\" (no limit), or \"1MiB\" and more")),

	setting(Key{LogTable, "level"}, func(c *Config) *LogLevel { return &c.Log.Level }, nil),
	setting(Key{LogTable, "format"}, func(c *Config) *LogFormat { return &c.Log.Format }, nil),
	setting(Key{LogTable, "sessions"}, func(c *Config) *SessionLog { return &c.Log.Sessions }, nil),
	setting(Key{LogTable, "session_start"}, func(c *Config) *bool { return &c.Log.SessionStart }, nil),
	setting(Key{LogTable, "session_interval"}, func(c *Config) *time.Duration { return &c.Log.SessionInterval }, by(sessionInterval, fmt.Sprintf("\"0s\" (none), or %q and more", shortDuration(MinSessionInterval)))),

	setting(Key{ControlTable, "watch"}, func(c *Config) *bool { return &c.Control.Watch }, nil),
	setting(Key{ControlTable, "confirm_within"}, func(c *Config) *time.Duration { return &c.Control.ConfirmWithin }, durations(0, MaxTimeout)),
	setting(Key{ControlTable, "mode"}, func(c *Config) *FileMode { return &c.Control.Mode }, by(socketMode, "\"0600\" to \"0660\"")),
	setting(KeyControlGroup, func(c *Config) *string { return &c.Control.Group }, by(groupOfUsers, "the name or the number of a group of users")),
	setting(KeyReadGroup, func(c *Config) *string { return &c.Control.ReadGroup }, by(groupOfUsers, "the name or the number of a group of users")),
	setting(KeyStatsFile, func(c *Config) *string { return &c.Control.StatsFile }, by(statsFile, "an absolute path, or the name of a file in the runtime directory")),
	setting(KeyHTTP, func(c *Config) *string { return &c.Control.HTTP }, said[string]("host:port with the number of a port, or unix: and an absolute path")), // see validator.control
	setting(KeyHTTPTokenFile, func(c *Config) *string { return &c.Control.HTTPTokenFile }, by(absoluteFile, "an absolute path")),
	setting(KeyHTTPWrite, func(c *Config) *bool { return &c.Control.HTTPWrite }, nil),
	setting(KeyPProf, func(c *Config) *bool { return &c.Control.PProf }, nil),
}

// ListenerSettings are those of a listener, but for its groups.
var ListenerSettings = []Setting[Listener]{
	setting(KeyName, func(l *Listener) *string { return &l.Name }, said[string]("printable text, unique")),                                                                                          // see validator.name
	settingOf(KeyListen, func(l *Listener) *[]string { return &l.Listen }, slices.Equal, said[[]string]("one string or an array of them, each host:port, or unix: and an absolute path"), Identity), // of its sockets; for its values see validator.bind
	setting(KeySource, func(l *Listener) *netip.Addr { return &l.Source }, by(source, "an IP address of this machine")),
	setting(KeyConnectTimeout, func(l *Listener) *time.Duration { return &l.ConnectTimeout }, durations(time.Millisecond, MaxConnectTimeout), Inherited),
	setting(Key{ListenerTable, "connect_deadline"}, func(l *Listener) *time.Duration { return &l.ConnectDeadline }, durations(0, MaxTimeout), Inherited),
	setting(Key{ListenerTable, "queue"}, func(l *Listener) *int { return &l.Queue }, numbers[int](0, MaxQueue, "nobody waits"), Inherited),
	setting(Key{ListenerTable, "queue_timeout"}, func(l *Listener) *time.Duration { return &l.QueueTimeout }, durations(0, MaxTimeout), Inherited),
	setting(KeyIdleTimeout, func(l *Listener) *time.Duration { return &l.IdleTimeout }, durations(0, MaxTimeout), Inherited, Live),
	setting(Key{ListenerTable, "half_close_timeout"}, func(l *Listener) *time.Duration { return &l.HalfCloseTimeout }, durations(0, MaxTimeout), Inherited, Live),
	setting(Key{ListenerTable, "keepalive"}, func(l *Listener) *time.Duration { return &l.KeepAlive }, durations(0, MaxKeepAlive), Inherited),
	setting(Key{ListenerTable, "user_timeout"}, func(l *Listener) *UserTimeout { return &l.UserTimeout }, by(userTimeout, "\"auto\", or \"0s\" to \"596h\""), Inherited),
	setting(Key{ListenerTable, "auto_disable"}, func(l *Listener) *bool { return &l.AutoDisable }, nil, Inherited),
	setting(Key{ListenerTable, "hash_failover"}, func(l *Listener) *bool { return &l.HashFailover }, nil, Inherited),
	setting(Key{ListenerTable, "on_remove"}, func(l *Listener) *OnRemove { return &l.OnRemove }, nil, Inherited),
	setting(Key{ListenerTable, "drain_timeout"}, func(l *Listener) *time.Duration { return &l.DrainTimeout }, durations(0, MaxTimeout), Inherited),
	setting(KeyHoldOff, func(l *Listener) *time.Duration { return &l.HoldOff }, durations(0, MaxTimeout), Inherited),
	setting(KeyHoldOffMax, func(l *Listener) *time.Duration { return &l.HoldOffMax }, durations(0, MaxTimeout), Inherited),
	setting(Key{ListenerTable, "on_down"}, func(l *Listener) *KeepOrClose { return &l.OnDown }, nil, Inherited, Live),
	setting(Key{ListenerTable, "on_return"}, func(l *Listener) *KeepOrClose { return &l.OnReturn }, nil, Inherited, Live),
	setting(Key{ListenerTable, "close_spread"}, func(l *Listener) *time.Duration { return &l.CloseSpread }, durations(0, MaxTimeout), Inherited),
	setting(Key{ListenerTable, "panic"}, func(l *Listener) *int { return &l.Panic }, numbers[int](0, 100, "never"), Inherited),
	setting(Key{ListenerTable, "when_unusable"}, func(l *Listener) *WhenUnusable { return &l.WhenUnusable }, nil, Inherited),
	setting(Key{ListenerTable, "stall_after"}, func(l *Listener) *time.Duration { return &l.StallAfter }, durations(0, MaxTimeout), Inherited, Live),
	setting(Key{ListenerTable, "max_age"}, func(l *Listener) *time.Duration { return &l.MaxAge }, durations(0, MaxTimeout), Inherited, Live),
	setting(Key{ListenerTable, "max_age_jitter"}, func(l *Listener) *int { return &l.MaxAgeJitter }, numbers[int](0, 100, ""), Inherited, Live),
	setting(Key{ListenerTable, "max_sessions"}, func(l *Listener) *int { return &l.MaxSessions }, numbers[int](0, MaxMaxConns, "no limit"), Inherited),
	setting(Key{ListenerTable, "rebalance"}, func(l *Listener) *Percent { return &l.Rebalance }, by(percentage, "\"0%\" to \"100%\""), Inherited, Live),
	setting(Key{ListenerTable, "preface_timeout"}, func(l *Listener) *time.Duration { return &l.PrefaceTimeout }, durations(time.Millisecond, MaxTimeout), Inherited),
	setting(KeyTransparent, func(l *Listener) *bool { return &l.Transparent }, nil, Inherited),

	setting(KeyUnixMode, func(l *Listener) *FileMode { return &l.Unix.Mode }, by(unixMode, "\"0600\" to \"0666\"")),
	setting(KeyUnixGroup, func(l *Listener) *string { return &l.Unix.Group }, by(groupOfUsers, "the name or the number of a group of users")),
	settingOf(KeyAcceptProxy, func(l *Listener) *[]string { return &l.ProxyProtocol.Accept }, slices.Equal, each(network, "an array of networks and addresses")),
	setting(KeyProxyTimeout, func(l *Listener) *time.Duration { return &l.ProxyProtocol.Timeout }, durations(time.Millisecond, MaxTimeout)),
	settingOf(KeyAllow, func(l *Listener) *[]string { return &l.Admit.Allow }, slices.Equal, each(network, "an array of networks and addresses")),
	settingOf(KeyDeny, func(l *Listener) *[]string { return &l.Admit.Deny }, slices.Equal, each(network, "an array of networks and addresses")),
	setting(KeyAllowFile, func(l *Listener) *string { return &l.Admit.AllowFile }, by(absoluteFile, "an absolute path")),
	setting(KeyDenyFile, func(l *Listener) *string { return &l.Admit.DenyFile }, by(absoluteFile, "an absolute path")),
	setting(KeySourceSessions, func(l *Listener) *int { return &l.Admit.MaxSessions }, numbers[int](0, MaxMaxConns, "no limit")),
	setting(KeyRate, func(l *Listener) *admit.Rate { return &l.Admit.Rate }, by(rate, "a number of connections and a time, such as \"20/s\", \"100/m\" or \"1000/h\"; \"0/s\" (no limit)")),
	setting(KeyBurst, func(l *Listener) *int { return &l.Admit.Burst }, numbers[int](0, admit.MaxCount, "as many as the rate counts")),
	setting(KeySourceIPv4Bits, func(l *Listener) *IPv4Bits { return &l.Admit.IPv4Bits }, integers[IPv4Bits](1, 32, "")),
	setting(KeySourceIPv6Bits, func(l *Listener) *SourceIPv6Bits { return &l.Admit.IPv6Bits }, integers[SourceIPv6Bits](1, 128, "")),
	setting(Key{AdmitTable, "refuse"}, func(l *Listener) *RefuseBy { return &l.Admit.Refuse }, nil),
}

// GroupSettings are those of a group, but for its check and its channels.
var GroupSettings = []Setting[Group]{
	setting(KeyMode, func(g *Group) *balancer.Mode { return &g.Mode }, nil),
	setting(KeyHashIPv4Bits, func(g *Group) *IPv4Bits { return &g.HashIPv4Bits }, integers[IPv4Bits](1, 32, "")),
	setting(KeyHashIPv6Bits, func(g *Group) *IPv6Bits { return &g.HashIPv6Bits }, integers[IPv6Bits](1, 128, "")),
	setting(KeyHashLoad, func(g *Group) *int { return &g.HashLoad }, by(hashLoad, "0 (no bound), or 101 to 10000")),
	setting(Key{GroupTable, "slow_start"}, func(g *Group) *time.Duration { return &g.SlowStart }, durations(0, MaxTimeout)),
	settingOf(KeyGroupServerName, func(g *Group) *[]string { return &g.ServerName }, slices.Equal, each(serverName, "an array of names, each whole or such as \"*.example.net\"")),
	settingOf(KeyALPN, func(g *Group) *[]string { return &g.ALPN }, slices.Equal, each(protocol, "an array of names of protocols, each of at most 255 bytes")),
	settingOf(KeyFrom, func(g *Group) *[]string { return &g.From }, slices.Equal, each(network, "an array of networks and addresses")),
	setting(KeyGroupSendProxy, func(g *Group) *SendProxy { return &g.SendProxy }, nil),
}

// audience are those of GroupSettings that say whom a group is for.
var audience = slices.DeleteFunc(slices.Clone(GroupSettings), func(s Setting[Group]) bool {
	return s.Key != KeyGroupServerName && s.Key != KeyALPN && s.Key != KeyFrom
})

// ChannelSettings are those of a channel.
var ChannelSettings = []Setting[Channel]{
	setting(KeyChannelName, func(c *Channel) *string { return &c.Name }, by(channelName, "letters, digits, \"-\", \"_\" and \".\", at most 63 of them; unique in the listener")), // see validator.channelNames
	setting(KeyHost, func(c *Channel) *string { return &c.Host }, by(host, "a name, an IP address, or unix: and an absolute path"), Identity),
	setting(KeyPort, func(c *Channel) *uint16 { return &c.Port }, numbers[uint16](1, 65535, ""), Identity),
	setting(KeyMaxConns, func(c *Channel) *int { return &c.MaxConns }, numbers[int](0, MaxMaxConns, "no limit")),
	setting(Key{ChannelTable, "weight"}, func(c *Channel) *Weight { return &c.Weight }, integers[Weight](0, balancer.MaxWeight, "no new clients")),
	setting(Key{ChannelTable, "disabled"}, func(c *Channel) *bool { return &c.Disabled }, nil),
	setting(KeyCheckHost, func(c *Channel) *string { return &c.CheckHost }, by(hostOrNone, "a name or an IP address")),
	setting(KeyCheckPort, func(c *Channel) *uint16 { return &c.CheckPort }, nil),
	setting(KeySendProxy, func(c *Channel) *SendProxy { return &c.SendProxy }, nil),
}

// CheckSettings are those of a check. What they are to one another and to its type
// see validator.check and Check.Useless.
var CheckSettings = []Setting[Check]{
	setting(KeyCheckType, func(c *Check) *CheckType { return &c.Type }, nil),
	setting(Key{GroupCheckTable, "interval"}, func(c *Check) *time.Duration { return &c.Interval }, durations(MinCheckInterval, MaxTimeout)),
	setting(Key{GroupCheckTable, "fast_interval"}, func(c *Check) *time.Duration { return &c.FastInterval }, durations(MinCheckInterval, MaxTimeout)),
	setting(Key{GroupCheckTable, "down_interval"}, func(c *Check) *time.Duration { return &c.DownInterval }, durations(MinCheckInterval, MaxTimeout)),
	setting(Key{GroupCheckTable, "timeout"}, func(c *Check) *time.Duration { return &c.Timeout }, durations(time.Millisecond, MaxConnectTimeout)),
	setting(Key{GroupCheckTable, "rise"}, func(c *Check) *int { return &c.Rise }, numbers[int](1, MaxCheckCount, "")),
	setting(Key{GroupCheckTable, "fall"}, func(c *Check) *int { return &c.Fall }, numbers[int](1, MaxCheckCount, "")),
	setting(Key{GroupCheckTable, "init"}, func(c *Check) *CheckInit { return &c.Init }, nil),
	setting(Key{GroupCheckTable, "port"}, func(c *Check) *uint16 { return &c.Port }, nil),
	setting(KeySend, func(c *Check) *string { return &c.Send }, by(toSend, "text of at most 16384 bytes")),
	setting(KeySendHex, func(c *Check) *string { return &c.SendHex }, by(toSendHex, "hexadecimal digits")),
	setting(KeyExpect, func(c *Check) *string { return &c.Expect }, by(expression, "a regular expression (RE2)")),
	setting(KeyPath, func(c *Check) *string { return &c.Path }, by(requestPath, "the path of a request")),
	setting(KeyMethod, func(c *Check) *string { return &c.Method }, by(requestMethod, "the method of a request")),
	setting(KeyRequestHost, func(c *Check) *string { return &c.Host }, by(requestHost, "host, or host:port")),
	settingOf(KeyHeaders, func(c *Check) *map[string]string { return &c.Headers }, maps.Equal, by(requestHeaders, "a table of strings")),
	settingOf(KeyStatus, func(c *Check) *StatusRanges { return &c.Status }, slices.Equal, by(statuses, "numbers from 100 to 599, and ranges of them")),
	setting(KeyTLS, func(c *Check) *bool { return &c.TLS }, nil),
	setting(KeyServerName, func(c *Check) *string { return &c.ServerName }, by(hostOrNone, "a name or an IP address")),
	setting(KeyCAFile, func(c *Check) *string { return &c.CAFile }, by(absoluteFile, "an absolute path")),
	setting(KeyCertFile, func(c *Check) *string { return &c.CertFile }, by(absoluteFile, "an absolute path")),
	setting(KeyKeyFile, func(c *Check) *string { return &c.KeyFile }, by(absoluteFile, "an absolute path")),
	setting(KeyInsecure, func(c *Check) *bool { return &c.Insecure }, nil),
	setting(KeyRole, func(c *Check) *string { return &c.Role }, by(role, "\"\", \"master\" or \"slave\"")),
	settingOf(KeyCommand, func(c *Check) *[]string { return &c.Command }, slices.Equal, by(command, "an array of strings, the first the name or the absolute path of a program")),
}
