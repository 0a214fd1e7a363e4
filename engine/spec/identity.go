package spec

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
)

// matchListeners returns, for each new listener, the index of the old one that
// it continues, or -1. It is the one with the same address, of several the one
// that has the same name, too; failing that the one with the same name; failing
// that one with an overlapping address. Each old listener is continued at most
// once.
func matchListeners(old, new []Listener) []int {
	m := matcher{matches: slices.Repeat([]int{-1}, len(new)), taken: make([]bool, len(old))}
	byAddress, byName := map[ListenKey]int{}, map[string]int{}
	for k := range old {
		byName[old[k].Name] = k
		for _, address := range old[k].ListenKeys() {
			byAddress[address] = k
		}
	}
	for i := range new {
		// An address that moves from one listener to another takes neither along.
		if k, ok := byName[new[i].Name]; ok && sharing(&old[k], &new[i]) {
			tryKey(&m, i, byName, new[i].Name)
		}
	}
	for i := range new {
		for _, address := range new[i].ListenKeys() {
			tryKey(&m, i, byAddress, address)
		}
	}
	for i := range new {
		tryKey(&m, i, byName, new[i].Name)
	}
	for i := range new {
		for k := 0; k < len(old) && m.matches[i] < 0; k++ {
			if !m.taken[k] && overlapping(&old[k], &new[i]) {
				m.take(i, k)
			}
		}
	}
	return m.matches
}

type matcher struct {
	matches []int
	taken   []bool
}

func tryKey[K comparable](m *matcher, i int, index map[K]int, key K) {
	if k, ok := index[key]; ok && m.matches[i] < 0 && !m.taken[k] {
		m.take(i, k)
	}
}

func (m *matcher) take(i, k int) { m.matches[i], m.taken[k] = k, true }

// ListenKey is the identity of an address to listen on.
type ListenKey struct {
	Host string // empty for every address; unix: and a path for a unix socket
	Port uint16 // 0 lets the kernel pick; a unix socket has none
}

// Unix returns the path of the unix socket that the address is, if it is one.
func (k ListenKey) Unix() (path string, ok bool) { return UnixPath(k.Host) }

// String returns the address as it stands in Listener.Listen.
func (k ListenKey) String() string {
	if _, ok := k.Unix(); ok {
		return k.Host
	}
	return net.JoinHostPort(k.Host, strconv.Itoa(int(k.Port)))
}

// overlaps reports whether sockets at the two addresses would take some of each
// other's clients, if the kernel picks one port for both where it picks any.
func (k ListenKey) overlaps(other ListenKey) bool {
	_, unix := k.Unix()
	_, too := other.Unix()
	if unix || too {
		return k == other
	}
	return k.Port == other.Port && Overlap(k.Host, other.Host)
}

// isPicked reports whether the kernel picks the port.
func (k ListenKey) isPicked() bool {
	_, unix := k.Unix()
	return k.Port == 0 && !unix
}

// ListenKeys returns the identities of the addresses to listen on, but those that
// are not valid.
func (l *Listener) ListenKeys() []ListenKey {
	keys := make([]ListenKey, 0, len(l.Listen))
	for _, address := range l.Listen {
		if key, err := ParseListen(address); err == nil {
			keys = append(keys, key)
		}
	}
	return keys
}

// sharing reports whether the listeners have an address in common.
func sharing(a, b *Listener) bool {
	keys := b.ListenKeys()
	return slices.ContainsFunc(a.ListenKeys(), func(key ListenKey) bool { return slices.Contains(keys, key) })
}

func overlapping(a, b *Listener) bool {
	for _, x := range a.ListenKeys() {
		for _, y := range b.ListenKeys() {
			if x.overlaps(y) {
				return true
			}
		}
	}
	return false
}

func (l *Listener) equal(other *Listener) bool {
	return same(ListenerSettings, l, other) && slices.EqualFunc(l.Groups, other.Groups, func(g, h Group) bool {
		return same(GroupSettings, &g, &h) && g.Check.Equal(&h.Check) && slices.Equal(g.Channels, h.Channels)
	})
}

// canonicalHost makes two spellings of one IP address the same.
func canonicalHost(host string) string {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().String()
	}
	return host
}
