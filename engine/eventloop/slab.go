//go:build linux

package eventloop

import "balance/engine/plane"

// slab holds the sessions of a loop. They do not move, and a slot that is
// given back is the next to be taken. It keeps the memory of the most sessions
// there were at a time.
type slab struct {
	pages []*[pageSize]session
	free  []uint32
}

const pageSize = 256

// take returns a session that is zero but for its slot and generation.
func (b *slab) take() *session {
	if len(b.free) == 0 {
		b.grow()
	}
	last := len(b.free) - 1
	slot := b.free[last]
	b.free = b.free[:last]
	return b.at(slot)
}

func (b *slab) grow() {
	page := new([pageSize]session)
	first := uint32(len(b.pages) * pageSize)
	b.pages = append(b.pages, page)
	for i := pageSize - 1; i >= 0; i-- {
		s := &page[i]
		s.slot, s.generation, s.state = first+uint32(i), 1, vacant
		s.timer.owner = s
		b.free = append(b.free, s.slot)
	}
}

func (b *slab) at(slot uint32) *session { return &b.pages[slot/pageSize][slot%pageSize] }

// give takes the session back. The generation tells the next session in the
// slot from this one.
func (b *slab) give(s *session) {
	generation := (s.generation + 1) & maxGeneration
	if generation == 0 {
		generation = 1
	}
	*s = session{slot: s.slot, generation: generation, state: vacant}
	s.timer.owner = s
	b.free = append(b.free, s.slot)
}

// token is what the kernel returns with an event: who is meant. Events of a
// session that has ended may still be on their way when its slot is taken
// again.
type token struct{ low, high int32 }

// The upper part of a token is the generation and, above it, the number of the
// attempt to connect that a server's socket is of.
const (
	generationBits = 27
	maxGeneration  = 1<<generationBits - 1
)

// The number fits and leaves the sign alone.
var _ [1<<(31-generationBits) - plane.MaxAttempts]struct{}

func (s *session) token(side int) token {
	return token{low: int32(s.slot<<1) | int32(side), high: int32(s.generation)}
}

func (s *session) serverToken(attempt uint8) token {
	t := s.token(server)
	t.high |= int32(attempt) << generationBits
	return t
}

func (t token) attempt() uint8 { return uint8(t.high >> generationBits) }

// session returns whom the token means, and which side, or nil if the session
// has ended.
func (b *slab) session(t token) (s *session, side int) {
	s = b.at(uint32(t.low) >> 1)
	if s.generation != uint32(t.high&maxGeneration) {
		return nil, 0
	}
	return s, int(t.low & 1)
}
