package admit

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
)

// Rule says of one network whether its clients are let in.
type Rule struct {
	Network netip.Prefix
	Allow   bool   // or deny
	File    string // that declares it; "" for the configuration itself
	Line    int    // in the file
}

// List is a set of rules, ready for quick decisions. It never changes, and any
// goroutine may ask it. A nil List admits everybody.
type List struct {
	networks []network // in the order of their addresses, IPv4 first
	files    []string
	v4, v6   ranges
	allows   bool // one of the rules allows
}

// network is a rule without pointers: a list may be long, and the garbage collector
// need not look at it.
type network struct {
	from  place
	line  int32
	file  int32 // in List.files
	order int32 // in which it was declared
	bits  uint8
	v6    bool
	allow bool
}

// place is an address as a number; one of IPv4 has its 32 bits first.
type place struct{ high, low uint64 }

func (p place) compare(other place) int {
	if p.high != other.high {
		return cmp.Compare(p.high, other.high)
	}
	return cmp.Compare(p.low, other.low)
}

// placeOf takes an address that is not IPv4-mapped.
func placeOf(addr netip.Addr) place {
	if addr.Is4() {
		bytes := addr.As4()
		return place{high: uint64(binary.BigEndian.Uint32(bytes[:])) << 32}
	}
	bytes := addr.As16()
	return place{binary.BigEndian.Uint64(bytes[:8]), binary.BigEndian.Uint64(bytes[8:])}
}

// end returns the last place in the network.
func (n *network) end() place {
	if n.bits <= 64 {
		return place{n.from.high | ^uint64(0)>>n.bits, ^uint64(0)}
	}
	return place{n.from.high, n.from.low | ^uint64(0)>>(n.bits-64)}
}

func (n *network) prefix() netip.Prefix {
	var bytes [16]byte
	binary.BigEndian.PutUint64(bytes[:8], n.from.high)
	binary.BigEndian.PutUint64(bytes[8:], n.from.low)
	if n.v6 {
		return netip.PrefixFrom(netip.AddrFrom16(bytes), int(n.bits))
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte(bytes[:4])), int(n.bits))
}

// NewList compiles rules. Of two for the same network that say the same, the first
// counts. Rules without a valid network are left out.
func NewList(rules []Rule) *List {
	l := &List{networks: make([]network, 0, len(rules))}
	files := make(map[string]int32)
	for i := range rules {
		rule := &rules[i]
		prefix := unmap(rule.Network.Masked())
		if !prefix.IsValid() {
			continue
		}
		file, known := files[rule.File]
		if !known {
			file = int32(len(l.files))
			files[rule.File] = file
			l.files = append(l.files, rule.File)
		}
		l.networks = append(l.networks, network{
			from: placeOf(prefix.Addr()), bits: uint8(prefix.Bits()), v6: prefix.Addr().Is6(),
			allow: rule.Allow, file: file, line: int32(rule.Line), order: int32(i),
		})
		l.allows = l.allows || rule.Allow
	}
	slices.SortFunc(l.networks, order)
	l.networks = slices.CompactFunc(l.networks, func(a, b network) bool {
		return a.v6 == b.v6 && a.from == b.from && a.bits == b.bits
	})
	v6, _ := slices.BinarySearchFunc(l.networks, true, func(n network, v6 bool) int { return compareBools(n.v6, v6) })
	l.v4 = l.cover(0, v6)
	l.v6 = l.cover(v6, len(l.networks))
	return l
}

// order puts what contains another before it, and of equals the one that decides first.
func order(a, b network) int {
	if a.v6 != b.v6 {
		return compareBools(a.v6, b.v6)
	}
	if c := a.from.compare(b.from); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(a.bits, b.bits), compareBools(a.allow, b.allow), cmp.Compare(a.order, b.order))
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// ranges divide all addresses of a family: from each of its places to the next, one
// network decides.
type ranges struct {
	high, low []uint64 // the places, ascending
	by        []int32  // index in List.networks, or nobody
}

// nobody stands for no network.
const nobody = -1

// cover makes ranges of the networks from first to last, which are sorted.
func (l *List) cover(first, last int) (r ranges) {
	most := 2 * (last - first) // a network begins, and what is around it goes on
	r.high, r.low, r.by = make([]uint64, 0, most), make([]uint64, 0, most), make([]int32, 0, most)
	begin := func(at place, by int32) {
		if n := len(r.by); n > 0 && (place{r.high[n-1], r.low[n-1]}) == at {
			r.by[n-1] = by
			return
		}
		r.high, r.low, r.by = append(r.high, at.high), append(r.low, at.low), append(r.by, by)
	}
	var open []int32 // the networks that we are in, each within the one before it
	leave := func() {
		end := l.networks[open[len(open)-1]].end()
		open = open[:len(open)-1]
		outer := int32(nobody)
		if len(open) > 0 {
			outer = open[len(open)-1]
		}
		if end.low++; end.low == 0 {
			end.high++
		}
		if end != (place{}) {
			begin(end, outer)
		}
	}
	for i := first; i < last; i++ {
		for len(open) > 0 && l.networks[open[len(open)-1]].end().compare(l.networks[i].from) < 0 {
			leave()
		}
		begin(l.networks[i].from, int32(i))
		open = append(open, int32(i))
	}
	for len(open) > 0 {
		leave()
	}
	return r
}

// find returns the network that decides for an address.
func (r *ranges) find(at place) int32 {
	end := upTo(r.high, at.high)
	if end > 0 && r.high[end-1] == at.high {
		begin := 0
		if at.high > 0 {
			begin = upTo(r.high[:end], at.high-1)
		}
		end = begin + upTo(r.low[begin:end], at.low)
	}
	if end == 0 {
		return nobody
	}
	return r.by[end-1]
}

// upTo returns how many of the numbers, which ascend, are not above a limit. No branch
// depends on them: the processor would guess every other one wrong, and each of these
// costs as much as the memory.
func upTo(numbers []uint64, limit uint64) int {
	if len(numbers) == 0 || numbers[0] > limit {
		return 0
	}
	last := 0 // not above the limit
	for left := len(numbers); left > 1; {
		half := left / 2
		_, above := bits.Sub64(limit, numbers[last+half], 0)
		last += half & (int(above) - 1)
		left -= half
	}
	return last + 1
}

// Verdict reports whether a client is let in, and the rule that decided; ok is false
// if none did. The longest network that has the address decides, and of equals the one
// that denies. Without any the client is admitted, but not if the list has a rule that
// allows others. An IPv4-mapped address is one of IPv4, and no network of IPv6 has it; a
// zone does not count. An invalid address, that of a client of a unix socket, is
// always admitted.
func (l *List) Verdict(addr netip.Addr) (admitted bool, rule Rule, ok bool) {
	if l == nil || !addr.IsValid() {
		return true, Rule{}, false
	}
	addr = addr.Unmap()
	family := &l.v6
	if addr.Is4() {
		family = &l.v4
	}
	by := family.find(placeOf(addr))
	if by == nobody {
		return !l.allows, Rule{}, false
	}
	n := &l.networks[by]
	return n.allow, Rule{n.prefix(), n.allow, l.files[n.file], int(n.line)}, true
}
