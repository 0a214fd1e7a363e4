package admit

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// MaxSources is how many sources a process keeps: at 128 bytes each at most.
const MaxSources = 1_000_000

// forget is how long a source is kept when it has become idle and there is room: long
// enough to look at what it did.
const forget = 10 * time.Minute

// Table has the sources of all listeners, up to a number. Its methods may be called
// from any goroutine.
//
// A source is idle when it has no session and its bucket is full: then nothing is lost
// without it but what can be told of it. For a new source the one goes that has been
// idle for longest. One that is not idle stays, whoever comes, so no flood sets free
// what is limited. While none is idle, the clients of new sources are admitted without
// being counted.
//
// The sources are spread over shards by a hash that nobody outside can foresee. Each has
// its part of the room, and the rule above holds within it.
type Table struct {
	hash      hash
	shards    []shard
	evicted   atomic.Uint64
	untracked atomic.Uint64

	mu     sync.Mutex
	owners atomic.Pointer[[]*Sources] // changed under mu, by a copy; nil where one was closed
}

// NewTable returns a table with room for a number of sources, to MaxSources.
func NewTable(room int) *Table {
	room = max(0, min(room, MaxSources))
	shards := 1
	for shards < maxShards && room/(2*shards) >= minPart {
		shards *= 2
	}
	t := &Table{hash: newHash(), shards: make([]shard, shards)}
	for i := range t.shards {
		t.shards[i].room = room / shards
	}
	t.owners.Store(new([]*Sources))
	return t
}

// A shard of a large table has 15 625 sources; a small table has fewer shards, so that
// their parts do not differ by much.
const (
	maxShards = 64
	minPart   = 1024
)

// Evicted returns how many idle sources had to go before they would have been forgotten.
func (t *Table) Evicted() uint64 { return t.evicted.Load() }

// Untracked returns how many clients were admitted uncounted for want of room.
func (t *Table) Untracked() uint64 { return t.untracked.Load() }

// Sources are those of one listener. The limits are passed in with each client, so
// they may change. All methods may be called from any goroutine.
type Sources struct {
	table  *Table
	number uint32 // in table.owners
	kept   atomic.Int64
	closed atomic.Bool // set before the entries are given back; looked at under the lock of a shard
}

// Sources returns new ones, for one listener. They are to be closed.
func (t *Table) Sources() *Sources {
	t.mu.Lock()
	defer t.mu.Unlock()
	owners := slices.Clone(*t.owners.Load())
	number := slices.Index(owners, nil)
	if number < 0 {
		number = len(owners)
		owners = append(owners, nil)
	}
	s := &Sources{table: t, number: uint32(number)}
	owners[number] = s
	t.owners.Store(&owners)
	return s
}

// Close gives the room back. From then on everybody is admitted, and what is left of
// the tickets does nothing.
func (s *Sources) Close() {
	if s.closed.Swap(true) {
		return
	}
	t := s.table
	for i := range t.shards {
		shard := &t.shards[i]
		shard.each(s.number, func(at int32) { t.remove(shard, at) })
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	owners := slices.Clone(*t.owners.Load())
	owners[s.number] = nil
	t.owners.Store(&owners)
}

// Len returns how many sources are kept.
func (s *Sources) Len() int { return int(s.kept.Load()) }

// Ticket stands for a session that was taken of a source. The zero Ticket stands for
// none.
type Ticket struct {
	at     uint32 // shard and entry
	serial uint32 // of the entry; 0 for no ticket
}

// Arrive asks for a new connection of a client. If it is admitted, one session of its
// source is taken, until its ticket is given to Leave. If it is refused, for
// TooManySessions or TooFast, the connection counts for the rate all the same. Now is
// in nanoseconds, from 0, of a clock that does not go back.
//
// Without a limit, and for an invalid address, that of a client of a unix socket,
// everybody is admitted and nothing is counted.
func (s *Sources) Arrive(limits *Limits, addr netip.Addr, now int64) (Ticket, Refusal) {
	if !limits.any() || !addr.IsValid() {
		return Ticket{}, Admitted
	}
	source := s.sourceOf(limits, addr)
	hash := s.table.hash.of(&source)
	number := hash % uint64(len(s.table.shards))
	shard := &s.table.shards[number]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if s.closed.Load() {
		return Ticket{}, Admitted
	}
	at, known := shard.find(&source, hash)
	if !known {
		var ok bool
		if at, ok = s.table.add(shard, source, hash, now); !ok {
			s.table.untracked.Add(1)
			return Ticket{}, Admitted
		}
		s.kept.Add(1)
	}
	e := shard.at(at)
	e.lately.add(now)
	after, refusal := e.judge(limits, now)
	e.full = after
	if refusal != Admitted {
		e.refuse(now)
		shard.settle(at, now)
		return Ticket{}, refusal
	}
	e.sessions++
	shard.settle(at, now)
	return Ticket{uint32(number)<<entryBits | uint32(at), e.serial}, Admitted
}

// Leave gives a session back; it may be called once for each ticket.
func (s *Sources) Leave(ticket Ticket, now int64) {
	if ticket == (Ticket{}) {
		return
	}
	shard := &s.table.shards[ticket.at>>entryBits]
	at := int32(ticket.at & (1<<entryBits - 1))
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if e := shard.at(at); e.serial == ticket.serial && e.sessions > 0 {
		e.sessions--
		shard.settle(at, now)
	}
}

// Would returns what Arrive would say, and what is known of the source. Nothing is
// counted.
func (s *Sources) Would(limits *Limits, addr netip.Addr, now int64) (Refusal, Source) {
	if !limits.any() || !addr.IsValid() {
		return Admitted, Source{}
	}
	source := s.sourceOf(limits, addr)
	hash := s.table.hash.of(&source)
	shard := &s.table.shards[hash%uint64(len(s.table.shards))]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	e := &entry{source: source}
	if at, known := shard.find(&source, hash); known {
		e = shard.at(at)
	}
	_, refusal := e.judge(limits, now)
	return refusal, e.told(now)
}

// add makes an entry for a source that has none, if there is room.
func (t *Table) add(shard *shard, source source, hash uint64, now int64) (at int32, ok bool) {
	// Who comes makes room for two that are forgotten, so a table does not stay larger
	// than its sources are many.
	for range 2 {
		if oldest, since := shard.oldest(); since < now-int64(forget) {
			t.remove(shard, oldest)
		}
	}
	if shard.kept() == shard.room {
		oldest, since := shard.oldest()
		if since > now {
			return 0, false
		}
		t.remove(shard, oldest)
		t.evicted.Add(1)
	}
	return shard.insert(source, hash), true
}

// remove takes an entry out, whose owner has one less.
func (t *Table) remove(shard *shard, at int32) {
	e := shard.at(at)
	(*t.owners.Load())[e.owner].kept.Add(-1)
	shard.remove(at, t.hash.of(&e.source))
}
