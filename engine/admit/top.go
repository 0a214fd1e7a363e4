package admit

import (
	"cmp"
	"net/netip"
	"slices"
)

// Source is what is known of one.
type Source struct {
	Network   netip.Prefix
	Sessions  int
	PerSecond float64 // new connections of about the last ten seconds, refused ones too
	Refused   uint64  // in all
	Limited   bool    // refused within the last minute
	Since     int64   // when it was, the time at which that began
}

// Top returns the n busiest sources, the busiest first: by the sessions that they have
// and the new connections of about the last ten seconds together.
func (s *Sources) Top(n int, now int64) []Source {
	if n <= 0 {
		return nil
	}
	var top []Source
	keep := func() {
		slices.SortFunc(top, func(a, b Source) int {
			return cmp.Or(cmp.Compare(b.busy(), a.busy()), cmp.Compare(b.Refused, a.Refused), a.Network.Addr().Compare(b.Network.Addr()))
		})
		top = top[:min(n, len(top))]
	}
	for i := range s.table.shards {
		for first, more := int32(0), true; more; first += chunk {
			top, more = s.table.shards[i].tell(top, s.number, first, now)
			if len(top) > 2*n+chunk {
				keep()
			}
		}
	}
	keep()
	return top
}

func (s *Source) busy() float64 {
	return float64(s.Sessions) + s.PerSecond*window.Seconds()
}

// tell adds the sources of an owner that are in one chunk, and says whether there are
// more chunks. The lock is held for no longer than one takes.
func (s *shard) tell(told []Source, owner uint32, first int32, now int64) (all []Source, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := min(first+chunk, s.begun)
	for at := first; at < last; at++ {
		if e := s.at(at); e.serial != 0 && e.owner == owner {
			told = append(told, e.told(now))
		}
	}
	return told, last < s.begun
}
