package admit

import (
	"math"
	"sync"
)

// shard is a part of a table: a hash table with chains, in memory that is taken by the
// chunk as it is needed.
type shard struct {
	mu     sync.Mutex
	room   int
	chains []int32 // the first of each, counted from 1; 0 for none
	chunks []*[chunk]entry
	begun  int32 // entries of the chunks that have been used
	free   int32 // the first of those that are free again, counted from 1
	serial uint32
	order  []idle   // a heap, the one first that has been idle for longest
	_      [64]byte // the next one is on a cache line of its own
}

const (
	chunk     = 128 // entries; a size for which the allocator has a class
	entryBits = 24  // of a ticket; the others are the shard's
)

func (s *shard) at(at int32) *entry { return &s.chunks[at/chunk][at%chunk] }

// each calls a function with the entries of an owner, under the lock, which is held for
// no longer than one chunk takes.
func (s *shard) each(owner uint32, do func(at int32)) {
	for first, begun := int32(0), int32(chunk); first < begun; first += chunk {
		s.mu.Lock()
		begun = s.begun
		for at := first; at < min(first+chunk, begun); at++ {
			if e := s.at(at); e.serial != 0 && e.owner == owner {
				do(at)
			}
		}
		s.mu.Unlock()
	}
}

func (s *shard) kept() int { return len(s.order) }

func (s *shard) chain(hash uint64) *int32 { return &s.chains[hash>>32&uint64(len(s.chains)-1)] }

// find looks for the entry of a source.
func (s *shard) find(source *source, hash uint64) (at int32, known bool) {
	if s.chains == nil {
		return 0, false
	}
	for i := *s.chain(hash); i != 0; i = s.at(i - 1).next {
		if s.at(i-1).source == *source {
			return i - 1, true
		}
	}
	return 0, false
}

// insert makes an entry for a source. There is room.
func (s *shard) insert(source source, hash uint64) int32 {
	if s.chains == nil {
		length := 1
		for length < s.room {
			length *= 2
		}
		s.chains = make([]int32, length)
	}
	at := s.free - 1
	if at >= 0 {
		s.free = s.at(at).next
	} else {
		at = s.begun
		if at%chunk == 0 {
			s.chunks = append(s.chunks, new([chunk]entry))
		}
		s.begun++
	}
	if s.serial++; s.serial == 0 {
		s.serial++
	}
	chain := s.chain(hash)
	*s.at(at) = entry{source: source, serial: s.serial, next: *chain, rank: int32(len(s.order))}
	*chain = at + 1
	s.order = append(s.order, idle{never, at})
	return at
}

// remove gives an entry back.
func (s *shard) remove(at int32, hash uint64) {
	e := s.at(at)
	link := s.chain(hash)
	for *link != at+1 {
		link = &s.at(*link - 1).next
	}
	*link = e.next
	rank, last := int(e.rank), len(s.order)-1
	s.swap(rank, last)
	s.order = s.order[:last]
	if rank < last {
		s.sift(rank)
	}
	*e = entry{next: s.free}
	s.free = at + 1
}

// oldest returns the source that has been idle for longest, or will be idle first, and
// since when.
func (s *shard) oldest() (at int32, since int64) {
	if s.kept() == 0 {
		return 0, never
	}
	return s.order[0].at, s.order[0].since
}

// settle puts an entry where it belongs by when it is idle.
func (s *shard) settle(at int32, now int64) {
	e := s.at(at)
	since := int64(never)
	if e.sessions == 0 {
		since = max(e.full, now)
	}
	s.order[e.rank].since = since
	s.sift(int(e.rank))
}

// idle is an entry in the order of a shard.
type idle struct {
	since int64 // or from when on; never while there are sessions
	at    int32
}

const never = math.MaxInt64

// sift restores the order, which is a heap, after a change at a rank.
func (s *shard) sift(rank int) {
	for rank > 0 && s.order[rank].since < s.order[(rank-1)/2].since {
		s.swap(rank, (rank-1)/2)
		rank = (rank - 1) / 2
	}
	for {
		first := rank
		for child := 2*rank + 1; child <= 2*rank+2 && child < len(s.order); child++ {
			if s.order[child].since < s.order[first].since {
				first = child
			}
		}
		if first == rank {
			return
		}
		s.swap(rank, first)
		rank = first
	}
}

func (s *shard) swap(a, b int) {
	s.order[a], s.order[b] = s.order[b], s.order[a]
	s.at(s.order[a].at).rank = int32(a)
	s.at(s.order[b].at).rank = int32(b)
}
