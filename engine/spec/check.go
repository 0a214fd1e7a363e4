package spec

import (
	"encoding"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Check says how it is found out whether the channels of a group live, before
// clients do. The zero Check does nothing. What is of no use to its type counts
// for nothing: see Settings.
type Check struct {
	Type CheckType
	// Interval is the time between the beginnings of two checks of a channel
	// whose state is settled, FastInterval while it is changing, DownInterval
	// while it is down: each one of MinCheckInterval to MaxTimeout.
	Interval, FastInterval, DownInterval time.Duration
	// Timeout bounds one check, all of it: a millisecond to MaxConnectTimeout.
	Timeout time.Duration
	// Rise is how many checks in a row have to succeed to bring a channel up, and
	// Fall how many have to fail to take it down: 1 to MaxCheckCount. The very
	// first result counts alone.
	Rise, Fall int
	// Init is what a channel is before the first result.
	Init CheckInit
	// Port is where checks go; 0 means to that of the channel. A channel may say
	// otherwise. A unix socket has none.
	Port uint16
	// Send, or SendHex in hexadecimal digits, is what a TCP check sends once it
	// is connected.
	Send, SendHex string
	// Expect is a regular expression (package regexp) that the first 64 KiB of the
	// answer, of HTTP its body, have to match. Empty expects nothing.
	Expect string
	// Path, Method, Host and Headers are those of an HTTP request. An empty Host
	// stands for that of the channel, as which a unix socket has localhost; likewise
	// ServerName.
	Path, Method, Host string
	Headers            map[string]string
	// Status is which HTTP statuses are good.
	Status StatusRanges
	// TLS asks for TLS in TCP and HTTP checks. An empty ServerName stands for
	// the host of the channel, an empty CAFile for the roots of the system.
	TLS        bool
	ServerName string
	CAFile     string
	CertFile   string
	KeyFile    string
	Insecure   bool // do not verify the certificate
	// Role is what a Redis server has to be, "master" or "slave"; empty for any.
	Role string
	// Command is a program and its arguments, for Exec. In the arguments {host}
	// and {port} stand for where the check goes: of a unix socket the host is as it is
	// declared, and the port is empty.
	Command []string
}

// MinCheckInterval is the shortest time between two checks of one channel.
const MinCheckInterval = 10 * time.Millisecond

// MaxCheckCount bounds Rise and Fall.
const MaxCheckCount = 1000

// DefaultCheck returns a Check that holds the documented default of each setting.
func DefaultCheck() Check {
	return Check{
		Interval: 2 * time.Second, FastInterval: 500 * time.Millisecond, DownInterval: 5 * time.Second,
		Timeout: 2 * time.Second, Rise: 2, Fall: 3,
		Path: "/", Method: "GET", Status: StatusRanges{{200, 399}},
	}
}

// Settings returns those of CheckSettings that are of use to the check.
func (c *Check) Settings() []Setting[Check] {
	return slices.DeleteFunc(slices.Clone(CheckSettings), func(s Setting[Check]) bool {
		_, useless := c.Useless(s.Key)
		return useless
	})
}

// Useless reports whether the setting with that key is of no use to the check, and
// by which one: KeyCheckType or KeyTLS.
func (c *Check) Useless(key Key) (by Key, useless bool) {
	types, special := usedBy[key]
	switch {
	case key == KeyCheckType:
		return Key{}, false
	case c.Type == CheckNone || special && !slices.Contains(types, c.Type):
		return KeyCheckType, true
	case !c.TLS && slices.Contains(keysOfTLS, key):
		return KeyTLS, true
	}
	return Key{}, false
}

// usedBy lists the types for each key that is not of use to all of them.
var usedBy = map[Key][]CheckType{
	KeySend: {CheckTCP}, KeySendHex: {CheckTCP}, KeyExpect: {CheckTCP, CheckHTTP},
	KeyPath: {CheckHTTP}, KeyMethod: {CheckHTTP}, KeyRequestHost: {CheckHTTP}, KeyHeaders: {CheckHTTP}, KeyStatus: {CheckHTTP},
	KeyTLS: {CheckTCP, CheckHTTP}, KeyServerName: {CheckTCP, CheckHTTP}, KeyCAFile: {CheckTCP, CheckHTTP},
	KeyCertFile: {CheckTCP, CheckHTTP}, KeyKeyFile: {CheckTCP, CheckHTTP}, KeyInsecure: {CheckTCP, CheckHTTP},
	KeyRole: {CheckRedis}, KeyCommand: {CheckExec},
}

// keysOfTLS are those that are of use with TLS only.
var keysOfTLS = []Key{KeyServerName, KeyCAFile, KeyCertFile, KeyKeyFile, KeyInsecure}

// Plain returns the check with nothing that is of no use to it: that is how a
// Config has it.
func (c Check) Plain() Check { return c.onto(Check{}) }

// onto returns other with what is of use to c.
func (c Check) onto(other Check) Check {
	for _, s := range c.Settings() {
		s.Set(&other, &c)
	}
	return other
}

// Equal reports whether two checks do the same.
func (c *Check) Equal(other *Check) bool {
	return same(c.Settings(), c, other) // the type and, where it matters, tls are among them
}

// Text returns all of what the check does in one text, which equal checks have
// in common and others do not. It holds what is secret in headers.
func (c *Check) Text() string {
	var b strings.Builder
	for _, s := range c.Settings() {
		fmt.Fprintf(&b, "%s=", s.name)
		switch field := s.Field(c).(type) {
		case *[]string:
			fmt.Fprintf(&b, "%q ", *field)
		case *map[string]string:
			fmt.Fprintf(&b, "%q ", *field) // in the order of its keys
		default:
			fmt.Fprintf(&b, "%q ", Text(field))
		}
	}
	return b.String()
}

// CheckOf returns where checks of a channel of the group go. A unix socket has no port,
// whatever those of others are checked at.
func (g *Group) CheckOf(c *Channel) (host string, port uint16) {
	host, port = c.CheckHost, c.CheckPort
	if host == "" {
		host = c.Host
	}
	if _, unix := UnixPath(host); unix {
		return host, 0
	}
	if port == 0 {
		port = g.Check.Port
	}
	if port == 0 {
		port = c.Port
	}
	return host, port
}

// CheckType is what a check does.
type CheckType uint8

// The types. Those after CheckExec speak the first words of a protocol, without
// credentials.
const (
	CheckNone CheckType = iota
	CheckTCP
	CheckHTTP
	CheckExec
	CheckRedis
	CheckPostgres
	CheckMySQL
	CheckSMTP
	CheckLDAP
)

// CheckInit is what a channel is before it was checked.
type CheckInit uint8

// A channel is up or down before the first result.
const (
	InitUp CheckInit = iota
	InitDown
)

// StatusRanges are HTTP statuses, written as "200-399" or "200,204,300-399".
type StatusRanges []StatusRange

// StatusRange are the statuses from First to Last.
type StatusRange struct{ First, Last int }

// Contains reports whether a status is among them.
func (r StatusRanges) Contains(status int) bool {
	for _, one := range r {
		if one.First <= status && status <= one.Last {
			return true
		}
	}
	return false
}

// KeepOrClose is what becomes of running sessions when something happens to
// their channel.
type KeepOrClose uint8

// Sessions are kept, or ended by a reset.
const (
	KeepSessions KeepOrClose = iota
	CloseSessions
)

// WhenUnusable is what becomes of clients while a listener has no channel that
// could serve them.
type WhenUnusable uint8

// Clients are closed or reset after they were accepted, or refused as if nobody
// listened, until a channel is up.
const (
	UnusableClose WhenUnusable = iota
	UnusableReset
	UnusableRefuse
)

var (
	checkTypes = words[CheckType]{{CheckNone, "none"}, {CheckTCP, "tcp"}, {CheckHTTP, "http"}, {CheckExec, "exec"}, {CheckRedis, "redis"},
		{CheckPostgres, "postgres"}, {CheckMySQL, "mysql"}, {CheckSMTP, "smtp"}, {CheckLDAP, "ldap"}}
	checkInits   = words[CheckInit]{{InitUp, "up"}, {InitDown, "down"}}
	keepOrCloses = words[KeepOrClose]{{KeepSessions, "keep"}, {CloseSessions, "close"}}
	whenUnusable = words[WhenUnusable]{{UnusableClose, "close"}, {UnusableReset, "reset"}, {UnusableRefuse, "refuse"}}
)

var (
	_ encoding.TextUnmarshaler = (*CheckType)(nil)
	_ encoding.TextUnmarshaler = (*CheckInit)(nil)
	_ encoding.TextUnmarshaler = (*StatusRanges)(nil)
	_ encoding.TextUnmarshaler = (*KeepOrClose)(nil)
	_ encoding.TextUnmarshaler = (*WhenUnusable)(nil)
)

// Words returns those that UnmarshalText takes.
func (CheckType) Words() []string { return checkTypes.all() }

func (t CheckType) String() string { return checkTypes.of(t) }

// MarshalText returns the word that UnmarshalText takes.
func (t CheckType) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText takes "none", "tcp", "http", "exec", "redis", "postgres", "mysql",
// "smtp" or "ldap".
func (t *CheckType) UnmarshalText(text []byte) error {
	return checkTypes.parse(text, t)
}

// Words returns those that UnmarshalText takes.
func (CheckInit) Words() []string { return checkInits.all() }

func (i CheckInit) String() string { return checkInits.of(i) }

// MarshalText returns the word that UnmarshalText takes.
func (i CheckInit) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText takes "up" or "down".
func (i *CheckInit) UnmarshalText(text []byte) error {
	return checkInits.parse(text, i)
}

// Words returns those that UnmarshalText takes.
func (KeepOrClose) Words() []string { return keepOrCloses.all() }

func (k KeepOrClose) String() string { return keepOrCloses.of(k) }

// MarshalText returns the word that UnmarshalText takes.
func (k KeepOrClose) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText takes "keep" or "close".
func (k *KeepOrClose) UnmarshalText(text []byte) error {
	return keepOrCloses.parse(text, k)
}

// Words returns those that UnmarshalText takes.
func (WhenUnusable) Words() []string { return whenUnusable.all() }

func (w WhenUnusable) String() string { return whenUnusable.of(w) }

// MarshalText returns the word that UnmarshalText takes.
func (w WhenUnusable) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// UnmarshalText takes "close", "reset" or "refuse".
func (w *WhenUnusable) UnmarshalText(text []byte) error {
	return whenUnusable.parse(text, w)
}

// Statuses are three digits (RFC 9110, section 15), and one list of them has so
// many ranges.
const (
	minStatus       = 100
	maxStatus       = 599
	maxStatusRanges = 100
)

func (r StatusRanges) String() string {
	var ranges []string
	for _, one := range r {
		text := strconv.Itoa(one.First)
		if one.Last != one.First {
			text += "-" + strconv.Itoa(one.Last)
		}
		ranges = append(ranges, text)
	}
	return strings.Join(ranges, ",")
}

// MarshalText returns the text that UnmarshalText takes.
func (r StatusRanges) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText takes statuses and ranges of them, such as "200,204,300-399". There
// may be blanks at the commas.
func (r *StatusRanges) UnmarshalText(text []byte) error {
	parts := strings.SplitN(string(text), ",", maxStatusRanges+1)
	if len(parts) > maxStatusRanges {
		return fmt.Errorf("%.60q has more than %d ranges", text, maxStatusRanges)
	}
	var ranges StatusRanges
	for _, part := range parts {
		first, last, ranged := strings.Cut(strings.TrimSpace(part), "-")
		if !ranged {
			last = first
		}
		one := StatusRange{status(first), status(last)}
		if one.First == 0 || one.Last < one.First {
			return fmt.Errorf("%.60q is not a list of statuses from %d to %d and ranges of them, such as \"200,204,300-399\"", text, minStatus, maxStatus)
		}
		ranges = append(ranges, one)
	}
	*r = ranges
	return nil
}

// status returns the status that text is, or 0.
func status(text string) int {
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil || len(text) != 3 || number < minStatus || number > maxStatus {
		return 0
	}
	return int(number)
}
