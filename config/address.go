package config

import (
	"balance/engine/spec"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// parseListen returns an address as spec.Listener.Listen has it, and its
// port.
func parseListen(text string) (address string, port uint16, err error) {
	host, service, err := net.SplitHostPort(text)
	if err == nil && !isSocket(text) {
		port, err = spec.ParsePort(service, 0)
		if err != nil {
			return "", 0, fmt.Errorf("listen %q: %w", text, err)
		}
		text = joinHostPort(host, port)
	}
	key, err := spec.ParseListen(text)
	if err != nil {
		return "", 0, fmt.Errorf("listen %q: %w", text, err)
	}
	return key.String(), key.Port, nil
}

// isSocket reports whether an address to listen on, or the short form of a channel,
// means a unix socket. Without a slash it is a host that is called unix, and its port.
func isSocket(text string) bool {
	path, ok := spec.UnixPath(text)
	return ok && strings.Contains(path, "/")
}

func joinHostPort(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// listening is the port that a channel takes that has none of its own.
type listening struct {
	port uint16
	unix bool // there is none, for all addresses of the listener are unix sockets
	ok   bool // false if the port of the listener is not known, which is reported elsewhere
}

const (
	noPort   = "the port is missing, and the listener's first address has port 0"
	unixOnly = "the port is missing, and the listener has unix sockets only"
)

// socketWithLimit is a unix socket with what looks like the port or the limit of the
// short form.
var socketWithLimit = regexp.MustCompile(`^(.+?)(?::[0-9]*)*:([0-9]+)$`)

// shortChannel returns the channel that text says in its short form,
// host[:port[:maxc]], or unix: and a path.
func (f *faults) shortChannel(path spec.Path, where, text string, inherited listening) spec.Channel {
	if isSocket(text) {
		if words := socketWithLimit.FindStringSubmatch(text); words != nil {
			f.add(path, where, "%q has no port and no maxc in the short form: write {host = %q, maxc = %s}", text, words[1], words[2])
		}
		return spec.Channel{Host: text}
	}
	host, port, maxc, err := splitChannel(text)
	if err != nil {
		f.add(path, where, "%s", err)
		return spec.Channel{}
	}
	channel := spec.Channel{Host: host, Port: inherited.port}
	if port == "" {
		f.inherit(path, where, inherited)
	} else if channel.Port, err = spec.ParsePort(port, 1); err != nil {
		f.add(path.Key(spec.KeyPort), where, "%s", err)
	}
	if maxc != "" {
		limit, err := strconv.ParseUint(maxc, 10, 32)
		if err != nil {
			f.add(path.Key(spec.KeyMaxConns), where, "maxc %q is not one of 0 (no limit) to %d", maxc, uint32(spec.MaxMaxConns))
		}
		channel.MaxConns = int(limit)
	}
	return channel
}

// inherit reports if there is no port for a channel that has none of its own.
func (f *faults) inherit(path spec.Path, where string, inherited listening) {
	switch path := path.Key(spec.KeyPort); {
	case !inherited.ok:
		f.cover(path)
	case inherited.unix:
		f.add(path, where, unixOnly)
	case inherited.port == 0:
		f.add(path, where, noPort)
	}
}

// splitChannel takes the short form of a channel apart. The host comes back
// without brackets; port and maxc are empty if they are left out.
func splitChannel(text string) (host, port, maxc string, err error) {
	const form = "host[:port[:maxc]] or [IPv6 address][:port[:maxc]]"
	rest := ""
	if strings.HasPrefix(text, "[") {
		end := strings.IndexByte(text, ']')
		if end < 0 {
			return "", "", "", fmt.Errorf("%q is not %s: the ] is missing", text, form)
		}
		host, rest = text[1:end], text[end+1:]
		if addr, err := netip.ParseAddr(host); err != nil || !addr.Is6() {
			return "", "", "", fmt.Errorf("%q in brackets is not an IPv6 address", host)
		}
		if rest != "" && rest[0] != ':' {
			return "", "", "", fmt.Errorf("%q is not %s", text, form)
		}
	} else {
		if bareIPv6(text) {
			return "", "", "", fmt.Errorf("the IPv6 address %q must stand in brackets: %q, %q", text, "["+text+"]", "["+text+"]:port")
		}
		if colon := strings.IndexByte(text, ':'); colon >= 0 {
			host, rest = text[:colon], text[colon:]
		} else {
			host = text
		}
	}
	fields := strings.Split(rest, ":")
	if len(fields) > 3 {
		return "", "", "", fmt.Errorf("%q is not %s", text, form)
	}
	fields = append(fields, "", "")
	return host, fields[1], fields[2], nil
}

// assigned holds the IPv6 addresses that hosts can have (RFC 4291, RFC 4193):
// global unicast, unique local, link-local, multicast.
var assigned = []netip.Prefix{
	netip.MustParsePrefix("2000::/3"),
	netip.MustParsePrefix("fc00::/7"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("ff00::/8"),
}

// bareIPv6 reports whether text is meant as an IPv6 address. "db::16" reads as
// one too, but means the channel db with maxc 16: nobody has the address.
func bareIPv6(text string) bool {
	addr, err := netip.ParseAddr(text)
	if err != nil || !addr.Is6() {
		return false
	}
	if strings.HasPrefix(text, ":") || strings.Count(text, ":") > 2 {
		return true
	}
	for _, prefix := range assigned {
		if prefix.Contains(addr.WithZone("")) {
			return true
		}
	}
	return false
}

// parseSource returns the local address that text says; none if it is empty.
func parseSource(text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("source %q is not an IP address", text)
	}
	return addr, nil
}
