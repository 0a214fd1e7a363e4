package admit

import (
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"time"
)

// source is what clients are counted for: a network, for one listener.
type source struct {
	addr  [16]byte // one of IPv4 is IPv4-mapped
	owner uint32   // Sources.number
	bits  uint8    // of addr; a source of other bits is another one, so a ticket knows its own
}

// sourceOf returns what a client with an address is counted for.
func (s *Sources) sourceOf(limits *Limits, addr netip.Addr) source {
	addr = addr.Unmap().WithZone("")
	bits := cmp.Or(limits.IPv6Bits, DefaultIPv6Bits)
	if addr.Is4() {
		bits = cmp.Or(limits.IPv4Bits, DefaultIPv4Bits)
	}
	network, err := addr.Prefix(bits)
	if err != nil { // more bits than there are
		network = netip.PrefixFrom(addr, addr.BitLen())
	}
	return source{network.Addr().As16(), s.number, uint8(network.Bits() + 128 - addr.BitLen())}
}

func (s *source) network() netip.Prefix {
	addr := netip.AddrFrom16(s.addr)
	if addr.Is4In6() && s.bits >= 96 {
		return netip.PrefixFrom(addr.Unmap(), int(s.bits)-96)
	}
	return netip.PrefixFrom(addr, int(s.bits))
}

// hash spreads sources. Its seed is of its own, so that nobody can choose addresses
// that meet.
type hash struct{ seed maphash.Seed }

func newHash() hash { return hash{maphash.MakeSeed()} }

func (h hash) of(s *source) uint64 {
	var bytes [21]byte
	copy(bytes[:], s.addr[:])
	binary.NativeEndian.PutUint32(bytes[16:], s.owner)
	bytes[20] = s.bits
	return maphash.Bytes(h.seed, bytes[:])
}

// entry is what is kept of a source. It has no pointers: there may be a million.
type entry struct {
	source
	sessions int32
	serial   uint32 // which of those that have been in this place; 0 for none
	next     int32  // of its chain, or of the free ones, counted from 1
	rank     int32  // in shard.order
	full     int64  // when its bucket is full
	refused  uint64
	first    uint32 // the second of the clock, counted from 1, in which the present refusals began
	last     uint32 // and of the latest; 0 for none
	lately   lately
}

// lately counts connections in windows of ten seconds.
type lately struct {
	window       uint32
	now, earlier uint32 // in this window, and in the one before it
}

const window = 10 * time.Second

// advance goes on to the window of a time.
func (l *lately) advance(now int64) {
	switch current := uint32(now / int64(window)); {
	case current == l.window+1:
		*l = lately{current, 0, l.now}
	case current > l.window:
		*l = lately{current, 0, 0}
	}
}

func (l *lately) add(now int64) {
	l.advance(now)
	l.now++
}

// count returns how many there were in the length of a window up to now, as if those of
// the one before had come evenly.
func (l lately) count(now int64) float64 {
	l.advance(now)
	gone := float64(now%int64(window)) / float64(window)
	return float64(l.now) + float64(l.earlier)*(1-gone)
}

// limitedFor is how long after a refusal a source counts as limited.
const limitedFor = 60 // seconds

func second(now int64) uint32 { return uint32(now/int64(time.Second)) + 1 }

// refuse notes that a connection was refused.
func (e *entry) refuse(now int64) {
	if !e.limited(now) {
		e.first = second(now)
	}
	e.last = second(now)
	e.refused++
}

func (e *entry) limited(now int64) bool { return e.last > 0 && second(now) <= e.last+limitedFor }

// judge says what comes of one more connection, and when the bucket is full after it.
func (e *entry) judge(limits *Limits, now int64) (full int64, refusal Refusal) {
	full, ok := limits.take(e.full, now)
	switch {
	case !ok:
		return full, TooFast
	case limits.MaxSessions > 0 && int(e.sessions) >= limits.MaxSessions:
		return full, TooManySessions
	}
	return full, Admitted
}

// Source is what is known of one.
type Source struct {
	Network   netip.Prefix
	Sessions  int
	PerSecond float64 // new connections of about the last ten seconds, refused ones too
	Refused   uint64  // in all
	Limited   bool    // refused within the last minute
	Since     int64   // when it was, the time at which that began
}

// told returns what there is to tell.
func (e *entry) told(now int64) Source {
	source := Source{
		Network: e.network(), Sessions: int(e.sessions), Refused: e.refused,
		PerSecond: e.lately.count(now) / window.Seconds(),
	}
	if e.limited(now) {
		source.Limited, source.Since = true, int64(e.first-1)*int64(time.Second)
	}
	return source
}
