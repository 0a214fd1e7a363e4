package engine

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
)

// Families take turns, the first being that of the resolver's first address, and
// of many addresses each family keeps some.
func TestFamiliesAlternate(t *testing.T) {
	many := func(format string, n int) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprintf(format, i+1))
		}
		return list
	}
	for name, test := range map[string]struct{ resolved, used []string }{
		"None":        {nil, nil},
		"One":         {[]string{"192.0.2.1"}, []string{"192.0.2.1"}},
		"OneFamily":   {many("192.0.2.%d", 3), many("192.0.2.%d", 3)},
		"TooMany":     {many("192.0.2.%d", 20), many("192.0.2.%d", 16)},
		"IPv6First":   {[]string{"2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1", "192.0.2.2"}, []string{"2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "2001:db8::3"}},
		"IPv4First":   {[]string{"192.0.2.1", "2001:db8::1", "2001:db8::2", "2001:db8::3"}, []string{"192.0.2.1", "2001:db8::1", "2001:db8::2", "2001:db8::3"}},
		"Alternating": {[]string{"192.0.2.1", "2001:db8::1", "192.0.2.2"}, []string{"192.0.2.1", "2001:db8::1", "192.0.2.2"}},
		// What the resolver of a machine calls an IPv4 address.
		"Mapped":       {[]string{"::ffff:192.0.2.1", "192.0.2.2", "2001:db8::1"}, []string{"192.0.2.1", "2001:db8::1", "192.0.2.2"}},
		"LastIsIPv4":   {append(many("2001:db8::%x", 16), "192.0.2.1"), slices.Concat([]string{"2001:db8::1", "192.0.2.1"}, many("2001:db8::%x", 15)[1:])},
		"LastIsMapped": {append(many("2001:db8::%x", 16), "::ffff:192.0.2.1"), slices.Concat([]string{"2001:db8::1", "192.0.2.1"}, many("2001:db8::%x", 15)[1:])},
	} {
		t.Run(name, func(t *testing.T) {
			var resolved []netip.Addr
			for _, addr := range test.resolved {
				resolved = append(resolved, netip.MustParseAddr(addr))
			}
			n := newNames(nil, slog.New(slog.DiscardHandler))
			n.learn("name", resolved)
			var used []string
			for _, addr := range n.addresses("name") {
				used = append(used, addr.String())
			}
			if !slices.Equal(used, test.used) {
				t.Errorf("used are %v, want %v", used, test.used)
			}
		})
	}
}
