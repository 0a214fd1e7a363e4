package balancer

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Audience is whom a group is for: the clients that match each of its conditions. It
// is not written to.
type Audience struct {
	names     map[string]bool // of servers, in lower case; nil for any
	wildcards map[string]bool // the same, without the "*" that each begins with
	alpn      map[string]bool // nil for any
	networks  map[netip.Prefix]bool
	lengths   []prefixLength // of the networks; nil for any address
}

// prefixLength is how many bits networks of a family have.
type prefixLength struct {
	is4  bool
	bits int
}

// NewAudience returns the audience of clients whose ClientHello names one of the
// servers, each exactly or as "*." and a domain, for one label before it, and one of
// the protocols, and whose address is in one of the networks; what is empty everybody
// matches. It returns nil if all are.
func NewAudience(serverNames, alpn []string, from []netip.Prefix) *Audience {
	if len(serverNames)+len(alpn)+len(from) == 0 {
		return nil
	}
	a := new(Audience)
	for _, name := range serverNames {
		into := &a.names
		name, wild := strings.CutPrefix(strings.ToLower(name), "*")
		if wild {
			into = &a.wildcards
		}
		add(into, name)
	}
	for _, protocol := range alpn {
		add(&a.alpn, protocol)
	}
	for _, network := range from {
		network = network.Masked()
		add(&a.networks, network)
		if length := (prefixLength{network.Addr().Is4(), network.Bits()}); !slices.Contains(a.lengths, length) {
			a.lengths = append(a.lengths, length)
		}
	}
	slices.SortFunc(a.lengths, func(a, b prefixLength) int { return cmp.Compare(a.bits, b.bits) })
	return a
}

func add[K comparable](to *map[K]bool, key K) {
	if *to == nil {
		*to = map[K]bool{}
	}
	(*to)[key] = true
}

// Has reports whether the client is one of them. A nil Audience has everybody.
func (a *Audience) Has(c Client) bool { return a == nil || a.lacks(c) == "" }

// lacks says why the client is not one of them, in printable words.
func (a *Audience) lacks(c Client) string {
	switch {
	case a.Names() && c.Like != nil:
		if !a.namesLike(c.Like) {
			return "what its ClientHello named is not known any more"
		}
	case !a.named(c.ServerName):
		if c.ServerName == "" {
			return "it is for certain server names, and the client names none"
		}
		return fmt.Sprintf("it is for other server names than %q", c.ServerName)
	case a.alpn != nil && !slices.ContainsFunc(c.ALPN, func(p string) bool { return a.alpn[p] }):
		if len(c.ALPN) == 0 {
			return "it is for certain protocols, and the client offers none"
		}
		return fmt.Sprintf("it is for other protocols than %q", strings.Join(c.ALPN, " "))
	}
	if !a.near(c.Addr) {
		return "it is for other networks"
	}
	return ""
}

// named reports whether the name of a server, in lower case, is one of those.
func (a *Audience) named(name string) bool {
	if a.names == nil && a.wildcards == nil {
		return true
	}
	dot := strings.IndexByte(name, '.')
	return a.names[name] || dot > 0 && a.wildcards[name[dot:]]
}

// near reports whether the address is in one of the networks.
func (a *Audience) near(addr netip.Addr) bool {
	if a.lengths == nil {
		return true
	}
	addr = addr.WithZone("")
	return slices.ContainsFunc(a.lengths, func(l prefixLength) bool {
		if l.is4 != addr.Is4() {
			return false
		}
		network, err := addr.Prefix(l.bits)
		return err == nil && a.networks[network]
	})
}

// Names reports whether who belongs to it hangs on a ClientHello.
func (a *Audience) Names() bool {
	return a != nil && (a.names != nil || a.wildcards != nil || a.alpn != nil)
}

// namesLike reports whether the ClientHellos that it is for are those of another.
func (a *Audience) namesLike(b *Audience) bool {
	return maps.Equal(a.names, b.names) && maps.Equal(a.wildcards, b.wildcards) && maps.Equal(a.alpn, b.alpn)
}
