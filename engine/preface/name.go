package preface

import (
	"errors"
	"fmt"
	"strings"
)

// MatchName says whether a name of a ClientHello is one of those that pattern
// stands for: that very name, or with "*." at its beginning all with exactly one
// label in its place. Upper and lower case are the same. No pattern stands for
// the empty name.
func MatchName(pattern, name string) bool {
	if parent, ok := strings.CutPrefix(pattern, "*."); ok {
		label, rest, _ := strings.Cut(name, ".")
		return label != "" && rest != "" && strings.EqualFold(rest, parent)
	}
	return name != "" && strings.EqualFold(name, pattern)
}

// ValidName says what is wrong with a pattern for MatchName: it must be a host
// name as a client sends it, in ASCII ("xn--bcher-kva.example" for
// bücher.example), without a dot at its end, with at most one "*.", at its
// beginning.
func ValidName(pattern string) error {
	name := strings.TrimPrefix(pattern, "*.")
	switch {
	case name == "":
		return errors.New("an empty name")
	case strings.ContainsFunc(name, func(r rune) bool { return r >= 0x80 }):
		return fmt.Errorf("%q is not in ASCII: clients send such a name as xn--…", pattern)
	case strings.Contains(name, "*"):
		return fmt.Errorf("%q: a * stands for one whole label, the first", pattern)
	case strings.HasSuffix(name, "."):
		return fmt.Errorf("%q: clients send no dot at the end", pattern)
	case !isHostName(name) || len(pattern) > maxName:
		return fmt.Errorf("%q is no host name", pattern)
	}
	return nil
}

// HostName returns the name that a ClientHello with these bytes names, in lower case and
// without a dot at its end; empty if no host can have it.
func HostName(b []byte) string {
	if n := len(b); n > 0 && b[n-1] == '.' {
		b = b[:n-1]
	}
	if !isHostName(b) {
		return ""
	}
	var lower [maxName]byte
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return string(lower[:len(b)])
}

// isHostName says whether a host could have that name: labels of 1 to 63 letters,
// digits, "-" and "_" (which is in no host name of RFC 1123, but in many of the
// world), with dots between them.
func isHostName[S string | []byte](name S) bool {
	if len(name) > maxName {
		return false
	}
	label := 0
	for i := range len(name) {
		switch c := name[i]; {
		case c == '.':
			if label == 0 {
				return false
			}
			label = 0
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			if label++; label > 63 {
				return false
			}
		default:
			return false
		}
	}
	return label > 0
}
