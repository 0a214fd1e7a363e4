package spec

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"balance/engine/admit"
)

// rule says which values of a setting are good.
type rule[V any] struct {
	// problem says what is wrong with a value, as a sentence that begins with the
	// value, or ""; nil if that is for others to say.
	problem func(V) string
	// element says the same of one string of an array.
	element func(string) string
	bounds  bounds
}

// bounds tell beforehand which values are good.
type bounds struct {
	text        string // in words, as what follows "allowed: "
	numbers     bool   // least and most hold for the integer in the file
	least, most int64
}

// by is the rule that a function makes, and what it allows in words.
func by[V any](problem func(V) string, allowed string) *rule[V] {
	return &rule[V]{problem: problem, bounds: bounds{text: allowed}}
}

// each is the rule for an array whose strings are checked one by one.
func each(problem func(string) string, allowed string) *rule[[]string] {
	return &rule[[]string]{element: problem, bounds: bounds{text: allowed}}
}

// said is what is allowed in words, where more than the value has to be looked at to
// tell.
func said[V any](allowed string) *rule[V] { return &rule[V]{bounds: bounds{text: allowed}} }

// durations are those within bounds.
func durations(least, most time.Duration) *rule[time.Duration] {
	return by(func(value time.Duration) string {
		if value < least || value > most {
			return fmt.Sprintf("%q is not one of %q to %q", shortDuration(value), shortDuration(least), shortDuration(most))
		}
		return ""
	}, fmt.Sprintf("%q to %q", shortDuration(least), shortDuration(most)))
}

// numbers are those within bounds. Zero is what 0 means, if not that.
func numbers[N int | uint16](least, most int64, zero string) *rule[N] {
	if zero != "" {
		zero = " (" + zero + ")"
	}
	allowed := fmt.Sprintf("%d%s to %d", least, zero, most)
	return &rule[N]{problem: func(value N) string {
		if int64(value) < least || int64(value) > most {
			return fmt.Sprintf("%d is not one of %s", value, allowed)
		}
		return ""
	}, bounds: bounds{allowed, true, least, most}}
}

// integers is numbers for an Integer.
func integers[N interface{ Int() int }](least, most int64, zero string) *rule[N] {
	plain := numbers[int](least, most, zero)
	return &rule[N]{problem: func(value N) string { return plain.problem(value.Int()) }, bounds: plain.bounds}
}

// sessionInterval checks one.
func sessionInterval(value time.Duration) string {
	if value == 0 {
		return ""
	}
	return durations(MinSessionInterval, MaxTimeout).problem(value)
}

func hashLoad(percent int) string {
	if percent != 0 && (percent < MinHashLoad || percent > MaxHashLoad) {
		return fmt.Sprintf("%d is neither 0 (no bound) nor one of %d to %d", percent, MinHashLoad, MaxHashLoad)
	}
	return ""
}

func percentage(value Percent) string {
	if value < 0 || value > 100 {
		return fmt.Sprintf("%q is not one of \"0%%\" to \"100%%\"", value)
	}
	return ""
}

func maxBuffered(size Size) string {
	if size < 0 || size > 0 && size < MinBuffered {
		return fmt.Sprintf("%q is neither \"0B\" (no limit) nor at least %q", size, MinBuffered)
	}
	return ""
}

func socketMode(mode FileMode) string {
	if mode&0o600 != 0o600 || mode&^0o660 != 0 {
		return fmt.Sprintf("%q is not one of \"0600\" to \"0660\": readable and writable for the owner, and nothing for others, whom only control.group and control.read_group let in", mode)
	}
	return ""
}

func unixMode(mode FileMode) string {
	if mode&0o600 != 0o600 || mode&^0o666 != 0 {
		return fmt.Sprintf("%q is not one of \"0600\" to \"0666\": readable and writable for the owner at least", mode)
	}
	return ""
}

func groupOfUsers(name string) string {
	if len(name) > maxName || !isPrintable(name) {
		return fmt.Sprintf("%.60q is not the name of a group", name)
	}
	return ""
}

func statsFile(name string) string {
	if !isPrintable(name) || len(name) > maxPath || strings.HasPrefix(name, ".") ||
		strings.Contains(name, "/") && !filepath.IsAbs(name) || strings.HasSuffix(name, "/") {
		return fmt.Sprintf("%.60q is neither an absolute path nor the name of a file", name)
	}
	return ""
}

func absoluteFile(name string) string {
	if name != "" && (!filepath.IsAbs(name) || strings.HasSuffix(name, "/") || len(name) > maxPath || !isPrintable(name)) {
		return fmt.Sprintf("%.60q is not the absolute path of a file", name)
	}
	return ""
}

func source(addr netip.Addr) string {
	if problem := badZone(addr); problem != "" {
		return fmt.Sprintf("%q %s", addr, problem)
	}
	return ""
}

func userTimeout(timeout UserTimeout) string {
	if timeout == AutoUserTimeout {
		return ""
	}
	return durations(0, MaxUserTimeout).problem(time.Duration(timeout))
}

// maxChannelName is that of a label of a host name (RFC 1035, section 2.3.4): a
// channel is often called as its server is.
const maxChannelName = 63

// channelName says what is wrong with a name that could not be told apart from
// the other words that stand for channels: numbers, host:port, listener/channel,
// patterns and options.
func channelName(name string) string {
	notIn := func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_.", r)
	}
	switch {
	case len(name) > maxChannelName:
		return fmt.Sprintf("%.60q is longer than %d bytes", name, maxChannelName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, notIn) || strings.HasPrefix(name, "-"):
		return fmt.Sprintf("%.60q is not letters, digits, '-', '_' and '.', the first not '-'", name)
	case name != "" && strings.Trim(name, "0123456789") == "":
		return fmt.Sprintf("%.60q is a number, and channels have numbers by their place", name)
	}
	return ""
}

// IsChannelName reports whether a channel can have a name, in a listener where no other
// has it.
func IsChannelName(name string) bool { return name != "" && channelName(name) == "" }

// host checks that of a channel.
func host(name string) string {
	if path, ok := UnixPath(name); ok {
		if problem := badListenSocket(path); problem != "" {
			return fmt.Sprintf("%.60q%s", name, problem)
		}
		return ""
	}
	if problem := badHost(name); problem != "" {
		return fmt.Sprintf("%q %s", name, problem)
	}
	return ""
}

func hostOrNone(name string) string {
	if problem := badHost(name); name != "" && problem != "" {
		return fmt.Sprintf("%q %s", name, problem)
	}
	return ""
}

func network(text string) string {
	if _, err := admit.ParseNetwork(text); err != nil {
		return err.Error()
	}
	return ""
}

func rate(r admit.Rate) string {
	text, err := r.MarshalText()
	if err == nil {
		err = new(admit.Rate).UnmarshalText(text)
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// serverName checks what may stand in a ClientHello as a HostName (RFC 6066, section
// 3), or a pattern for these.
func serverName(name string) string {
	const needless = "without server_name the group is for everybody"
	rest, pattern := strings.CutPrefix(name, "*.")
	switch _, err := netip.ParseAddr(strings.Trim(name, "[]")); {
	case name == "":
		return fmt.Sprintf("%q is no name: %s", name, needless)
	case name == "*":
		return fmt.Sprintf("%q is every name: %s", name, needless)
	case err == nil:
		return fmt.Sprintf("%.60q is an address: a ClientHello names hosts only, see from for the addresses of clients", name)
	case strings.Contains(rest, "*"):
		return fmt.Sprintf("%.60q has a \"*\" that does not stand for the first label, as in \"*.example.net\"", name)
	case strings.ContainsFunc(name, func(r rune) bool { return r > unicode.MaxASCII }):
		return fmt.Sprintf("%.60q is not ASCII: a ClientHello has it in punycode, as in \"xn--mller-kva.example\"", name)
	case strings.HasSuffix(name, "."):
		return fmt.Sprintf("%.60q ends with a dot: a ClientHello has it without", name)
	case pattern && len(name) > 253 || badHost(rest) != "":
		return fmt.Sprintf("%.60q is neither the name of a host nor one such as \"*.example.net\"", name)
	}
	return ""
}

// protocol checks the name of a protocol (RFC 7301, section 3.1).
func protocol(name string) string {
	switch {
	case name == "":
		return fmt.Sprintf("%q is no protocol: without alpn the group is for everybody", name)
	case len(name) > 255:
		return fmt.Sprintf("%.60q has %d bytes: the most is 255", name, len(name))
	case !isPrintable(name):
		return fmt.Sprintf("%.60q has characters that cannot be printed", name)
	}
	return ""
}
