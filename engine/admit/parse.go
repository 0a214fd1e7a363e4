package admit

import (
	"fmt"
	"net/netip"
	"strings"
)

// What a file of networks may hold. A file of MaxNetworks has room for a comment on
// every line.
const (
	MaxNetworks  = 1_000_000
	MaxListBytes = 64 << 20
)

// ParseNetwork reads a network, such as "10.0.0.0/8", or an address, which is a
// network of one. An IPv4-mapped one is one of IPv4. An address that goes on beyond
// the length of its network, as in "10.0.0.1/8", is an error: nobody can tell which of
// the two was meant.
func ParseNetwork(text string) (netip.Prefix, error) {
	var network netip.Prefix
	if strings.Contains(text, "/") {
		network, _ = netip.ParsePrefix(text)
	} else if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		network = netip.PrefixFrom(addr, addr.BitLen())
	}
	if !network.IsValid() {
		return netip.Prefix{}, fmt.Errorf("%.60q is neither a network such as \"10.0.0.0/8\" nor an address", text)
	}
	if masked := network.Masked(); masked != network {
		return netip.Prefix{}, fmt.Errorf("%q is an address in the network %q: one or the other is meant", text, masked)
	}
	return unmap(network), nil
}

// unmap returns the network of IPv4 for one of IPv4-mapped addresses.
func unmap(network netip.Prefix) netip.Prefix {
	if network.Addr().Is4In6() && network.Bits() >= 96 {
		return netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-96)
	}
	return network
}

// ParseList reads the text of a file of networks: one a line as ParseNetwork takes it,
// and comments from "#" to the end of the line. The error names the file and the line.
func ParseList(name string, text []byte, allow bool) ([]Rule, error) {
	if len(text) > MaxListBytes {
		return nil, fmt.Errorf("%s: larger than %d MiB", name, MaxListBytes>>20)
	}
	rest := string(text)
	rules := make([]Rule, 0, min(strings.Count(rest, "\n")+1, MaxNetworks))
	for line := 1; rest != ""; line++ {
		var written string
		written, rest, _ = strings.Cut(rest, "\n")
		written, _, _ = strings.Cut(written, "#")
		written = strings.TrimSpace(written)
		if written == "" {
			continue
		}
		network, err := ParseNetwork(written)
		if err == nil && len(rules) == MaxNetworks {
			err = fmt.Errorf("more than %d networks", MaxNetworks)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, line, err)
		}
		rules = append(rules, Rule{network, allow, name, line})
	}
	return rules, nil
}
