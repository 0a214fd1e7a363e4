package spec

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// rule says which values of a setting are good.
type rule[V any] struct {
	// problem says what is wrong with a value, as a sentence that begins with the
	// value, or ""; nil if that is for others to say.
	problem func(V) string
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
	return &rule[V]{problem, bounds{text: allowed}}
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
	return &rule[N]{func(value N) string {
		if int64(value) < least || int64(value) > most {
			return fmt.Sprintf("%d is not one of %s", value, allowed)
		}
		return ""
	}, bounds{allowed, true, least, most}}
}

// integers is numbers for an Integer.
func integers[N interface{ Int() int }](least, most int64, zero string) *rule[N] {
	plain := numbers[int](least, most, zero)
	return &rule[N]{func(value N) string { return plain.problem(value.Int()) }, plain.bounds}
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

func host(name string) string {
	if problem := badHost(name); problem != "" {
		return fmt.Sprintf("%q %s", name, problem)
	}
	return ""
}

func hostOrNone(name string) string {
	if name == "" {
		return ""
	}
	return host(name)
}
