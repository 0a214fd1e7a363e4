package spec

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"
)

// Fault is one thing that is wrong with a Config.
type Fault struct {
	// Path is where the fault stands in the file that declares the Config.
	Path Path
	// Where says the same with names: `listener "pop3" group 1 channel 2`.
	Where string
	// Problem is what was found and what is allowed.
	Problem string
	// Cause is the error behind it, which Problem tells; nil for a fault that
	// the Config has by itself.
	Cause error
}

// Refuse returns a fault that shows when the configuration is applied.
func Refuse(path Path, where string, cause error) Fault {
	return Fault{Path: path, Where: where, Problem: cause.Error(), Cause: cause}
}

// Unwrap returns the cause.
func (f Fault) Unwrap() error { return f.Cause }

func (f Fault) Error() string {
	if f.Where == "" {
		return f.Problem
	}
	return f.Where + ": " + f.Problem
}

// Validate returns everything that is wrong with the configuration, in the
// order of the file.
func (c *Config) Validate() []Fault {
	v := validator{config: c, names: map[string]int{}}
	for _, s := range DaemonSettings {
		if problem := s.Problem(c); problem != "" {
			v.fault(s.Path(), s.where(), "%s", problem)
		}
	}
	v.control(&c.Control)
	if len(c.Listeners) == 0 {
		v.fault(KeyListeners.Path(), "", "there is no listener: at least one is needed")
	}
	for i := range c.Listeners {
		v.listener(i, &c.Listeners[i])
	}
	return v.faults
}

type validator struct {
	config *Config
	faults []Fault
	names  map[string]int // name of a listener to its index
	bound  []boundAddress
}

// boundAddress is an address that something in the configuration claims.
type boundAddress struct {
	ListenKey
	owner string
}

func (v *validator) fault(path Path, where, format string, args ...any) {
	v.faults = append(v.faults, Fault{Path: path, Where: where, Problem: fmt.Sprintf(format, args...)})
}

// settings checks each value in the table at path by itself.
func settings[T any](v *validator, settings []Setting[T], of *T, path Path, where string) {
	for _, s := range settings {
		where := where
		if slices.Contains(ListenerTables, s.table) {
			where += " " + s.table.Name()
		}
		if problem := s.Problem(of); problem != "" {
			v.fault(path.Key(s.Key), where, "%s", problem)
		}
		if s.each == nil {
			continue
		}
		for i, problem := range s.each(of) {
			if problem != "" {
				v.fault(path.Key(s.Key).Element(i), where, "%s %s", s.name, problem)
			}
		}
	}
}

// control checks what the settings of [control] are to one another.
func (v *validator) control(c *Control) {
	fault := func(key Key, format string, args ...any) {
		v.fault(key.Path(), key.where(), format, args...)
	}
	if c.ReadGroup != "" && c.ReadGroup == c.Group && groupOfUsers(c.ReadGroup) == "" {
		fault(KeyReadGroup, "read_group %q is the group whose members may do everything", c.ReadGroup)
	}
	if path, ok := UnixPath(c.HTTP); ok {
		if problem := badSocket(path); problem != "" {
			fault(KeyHTTP, "http %.60q%s", c.HTTP, problem)
		} else {
			v.claim(KeyHTTP.Path(), KeyHTTP.where(), KeyHTTP, c.HTTP, KeyHTTP.String(), ListenKey{Host: "unix:" + filepath.Clean(path)})
		}
	} else if c.HTTP != "" {
		v.bind(KeyHTTP.Path(), KeyHTTP.where(), KeyHTTP, c.HTTP, KeyHTTP.String())
	}
	if c.HTTPWrite && c.HTTPTokenFile == "" {
		fault(KeyHTTPWrite, "http_write needs http_token_file: whoever reaches the page could change what is served")
	}
	if c.PProf && c.HTTPExposed() && c.HTTPTokenFile == "" {
		fault(KeyPProf, "pprof on %.60q needs http_token_file: other machines can reach it", c.HTTP)
	}
}

// badSocket returns what is wrong with the path of a unix socket, or "".
func badSocket(path string) string {
	switch {
	case !filepath.IsAbs(path) || strings.HasSuffix(path, "/"):
		return ": the path of a unix socket must be absolute, as in \"unix:/run/balance/http.sock\""
	case len(path) > maxUnixPath:
		return fmt.Sprintf(": the path of a unix socket has at most %d bytes, this one %d", maxUnixPath, len(path))
	case !isPrintable(path):
		return " has characters that cannot be printed"
	}
	return ""
}

// badListenSocket is badSocket for a path that says what something is: one socket
// is not to have two of them.
func badListenSocket(path string) string {
	if problem := badSocket(path); problem != "" {
		return problem
	}
	if short := filepath.Clean(path); short != path {
		return fmt.Sprintf(": the path of a unix socket has to be in its shortest form, %q", short)
	}
	return ""
}

// maxUnixPath is what the address of a unix socket holds, without the null byte
// (unix(7)).
const maxUnixPath = len(syscall.RawSockaddrUnix{}.Path) - 1

const maxPath = 4095 // PATH_MAX of Linux, without the null byte

func isPrintable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

// printable returns text as it is, or quoted if it has characters that cannot be
// printed.
func printable(text string) string {
	if isPrintable(text) {
		return text
	}
	return strconv.Quote(text)
}

func (v *validator) listener(i int, l *Listener) {
	path := ListenerAt(i)
	where := fmt.Sprintf("listener %q", l.Name)
	if l.Name == "" {
		where = fmt.Sprintf("listener %d", i)
	}
	v.name(path.Key(KeyName), where, i, l.Name)
	if len(l.Listen) == 0 {
		v.fault(path.Key(KeyListen), where, "listen is missing: at least one \"host:port\" is needed")
	}
	for k, address := range l.Listen {
		v.bind(path.Key(KeyListen).Element(k), where, KeyListen, address, fmt.Sprintf("listener %q", l.Name))
	}
	settings(v, ListenerSettings, l, path, where)
	if l.HoldOff > l.HoldOffMax && l.HoldOffMax >= 0 {
		v.fault(path.Key(KeyHoldOff), where, "hold_off %q is longer than hold_off_max %q", shortDuration(l.HoldOff), shortDuration(l.HoldOffMax))
	}
	if l.Transparent && l.Source.IsValid() {
		v.fault(path.Key(KeySource), where, "source and transparent are both set: one says the address to dial from, the other that it is the client's")
	}
	if len(l.Groups) == 0 {
		v.fault(path.Key(KeyGroups), where, "there is no group: at least one [[listener.group]] is needed")
	}
	for g := range l.Groups {
		v.group(path.Group(g), fmt.Sprintf("%s group %d", where, g), &l.Groups[g])
	}
	v.channelNames(path, where, l)
}

// channelNames checks that a name stands for one channel of a listener, and is
// not the host of another one.
func (v *validator) channelNames(path Path, where string, l *Listener) {
	named, hosts := map[string]Place{}, map[string][]Place{}
	for at, c := range l.Channels {
		host := strings.ToLower(canonicalHost(c.Host))
		hosts[host] = append(hosts[host], at)
	}
	for at, c := range l.Channels {
		if c.Name == "" {
			continue
		}
		fault := func(format string, args ...any) {
			v.fault(path.Group(at.Group).Channel(at.Index).Key(KeyChannelName), where+" "+at.String(), format, args...)
		}
		if first, taken := named[c.Name]; taken {
			fault("the name %q is taken by %s already", c.Name, first)
			continue
		}
		named[c.Name] = at
		for _, other := range hosts[strings.ToLower(c.Name)] {
			if other != at {
				fault("the name %q is the host of %s", c.Name, other)
				break
			}
		}
	}
}

func (v *validator) group(path Path, where string, g *Group) {
	settings(v, GroupSettings, g, path, where)
	v.check(path.Key(KeyCheck), where+" check", &g.Check)
	if len(g.Channels) == 0 {
		v.fault(path.Key(KeyChannels), where, "the group is empty: at least one channel is needed")
	}
	for i := range g.Channels {
		channel, path, where := &g.Channels[i], path.Channel(i), fmt.Sprintf("%s channel %d", where, i)
		settings(v, channel.Settings(), channel, path, where)
		if channel.IsUnix() {
			v.unixChannel(path, where, g, channel)
		}
	}
}

// unixChannel checks what a unix socket is to the ports and the check around it.
func (v *validator) unixChannel(path Path, where string, g *Group, c *Channel) {
	if c.Port != 0 {
		v.fault(path.Key(KeyPort), where, "port is of no use to a unix socket")
	}
	if c.CheckPort != 0 && c.CheckHost == "" {
		v.fault(path.Key(KeyCheckPort), where, "check_port is of no use to a unix socket without check_host")
	}
	if _, port := g.CheckOf(c); c.CheckHost != "" && port == 0 && g.Check.Type != CheckNone {
		v.fault(path.Key(KeyCheckHost), where, "check_host needs check_port: a unix socket has no port")
	}
	if _, useless := g.Check.Useless(KeyServerName); !useless && c.CheckHost == "" && g.Check.ServerName == "" && !g.Check.Insecure {
		v.fault(path.Key(KeyHost), where, "its check with tls needs server_name: a unix socket has no name that a certificate could have")
	}
}

// maxName is the longest name of a listener, in bytes: names stand in tables,
// logs and labels of metrics.
const maxName = 255

func (v *validator) name(path Path, where string, i int, name string) {
	switch first, taken := v.names[name]; {
	case name == "":
		v.fault(path, where, "the name is empty")
	case len(name) > maxName:
		v.fault(path, fmt.Sprintf("listener %d", i), "a name of %d bytes is longer than %d", len(name), maxName)
	case !isPrintable(name):
		v.fault(path, where, "the name %q has characters that cannot be printed", name)
	case taken:
		v.fault(path, where, "the name %q is taken by listener %d already", name, first)
	default:
		v.names[name] = i
	}
}

// bind checks an address that is to be listened on, and claims it for an
// owner.
func (v *validator) bind(path Path, where string, key Key, address, owner string) {
	bound, err := ParseListen(address)
	if err != nil {
		v.fault(path, where, "%s %q: %s", key.name, address, err)
		return
	}
	v.claim(path, where, key, address, owner, bound)
}

// claim claims an address for an owner.
func (v *validator) claim(path Path, where string, key Key, address, owner string, bound ListenKey) {
	for _, other := range v.bound {
		if bound.isPicked() || !bound.overlaps(other.ListenKey) {
			continue
		}
		verb := "overlaps"
		if bound == other.ListenKey {
			verb = "is the same as"
		}
		v.fault(path, where, "%s %q %s %q of %s", key.name, address, verb, other.ListenKey, other.owner)
		return
	}
	v.bound = append(v.bound, boundAddress{bound, owner})
}

// Overlap reports whether two sockets with one port, bound to these hosts in
// their shortest form, would take some of each other's clients. An IPv6 socket
// takes no IPv4 clients; the empty host takes both.
func Overlap(a, b string) bool {
	return a == b || a == "" || b == "" || covers(a, b) || covers(b, a)
}

func covers(every, host string) bool {
	if every != "0.0.0.0" && every != "::" {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Is4() == (every == "0.0.0.0")
}

// ParseListen returns what an address of Listener.Listen is.
func ParseListen(address string) (ListenKey, error) {
	if path, ok := unixListen(address); ok {
		if problem := badListenSocket(path); problem != "" {
			sentence, ok := strings.CutPrefix(problem, ": ")
			if !ok {
				sentence = "the path" + problem
			}
			return ListenKey{}, errors.New(sentence)
		}
		return ListenKey{Host: address}, nil
	}
	host, port, err := SplitListen(address)
	return ListenKey{host, port}, err
}

// unixListen returns the path of the unix socket that an address to listen on means,
// and whether it means one. Without a slash it is the port of a host that is called
// unix.
func unixListen(address string) (path string, ok bool) {
	path, ok = UnixPath(address)
	return path, ok && strings.Contains(path, "/")
}

// SplitListen takes apart a host:port to listen on. An IP address comes back in its
// shortest form.
func SplitListen(address string) (host string, port uint16, err error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("it must be host:port, [IPv6 address]:port or :port")
	}
	number, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port %q is not one of 0 to 65535", portText)
	}
	if host == "" {
		return "", uint16(number), nil
	}
	if problem := badHost(host); problem != "" {
		return "", 0, fmt.Errorf("host %q %s", host, problem)
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		host = addr.Unmap().String()
	}
	return host, uint16(number), nil
}

// ParsePort returns the port that text says as a number from least up or as the
// name of a TCP service (services(5)).
func ParsePort(text string, least uint16) (uint16, error) {
	var number uint64
	var err error
	switch {
	case strings.Trim(text, "0123456789") == "":
		number, err = strconv.ParseUint(text, 10, 16)
	case !isService(text):
		err = strconv.ErrSyntax // LookupPort would take " 80" and "+80"
	default:
		var service int
		service, err = net.LookupPort("tcp", text)
		number = uint64(service)
	}
	if err != nil || number < uint64(least) {
		return 0, fmt.Errorf("port %q is not one of %d to 65535 or the name of a TCP service", text, least)
	}
	return uint16(number), nil
}

// isService reports whether text can be the name of a service: there is a
// letter in it (RFC 6335, section 5.1) and no blank (services(5)).
func isService(text string) bool {
	letter := func(r rune) bool { return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' }
	return strings.ContainsFunc(text, letter) && !strings.ContainsFunc(text, unicode.IsSpace)
}

// badHost returns what is wrong with a host, or "". A host is an IP address or
// a name whose labels hold letters, digits, '-' and '_' (RFC 1123; the
// underscore is common in private zones). A name whose last label is a number
// is a mistyped IPv4 address.
func badHost(host string) string {
	if host == "" {
		return "is empty"
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return badZone(addr)
	}
	const not = "is neither an IP address nor a host name"
	name := strings.TrimSuffix(host, ".")
	if len(name) > 253 {
		return not + ": a name has at most 253 characters"
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || strings.ContainsFunc(label, notInName) {
			return not
		}
	}
	last := labels[len(labels)-1]
	if strings.Trim(last, "0123456789") == "" {
		return not
	}
	return ""
}

// badZone returns what is wrong with the zone of an IPv6 address, or "". A zone
// is the name or the number of a network interface (RFC 4007).
func badZone(addr netip.Addr) string {
	if strings.ContainsFunc(addr.Zone(), func(r rune) bool { return r != '.' && notInName(r) }) {
		return "has a zone that is not the name of a network interface"
	}
	return ""
}

func notInName(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_')
}

// ValidHost reports whether a host may stand in a Channel that is no unix socket.
func ValidHost(host string) bool { return badHost(host) == "" }
