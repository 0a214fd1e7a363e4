package admit

import (
	"cmp"
	"slices"
)

// MaxTop is how many sources are told of at most: each is put in its place while others
// wait.
const MaxTop = 1000

// Top returns the n busiest sources, to MaxTop, the busiest first: by the sessions that
// they have and the new connections of about the last ten seconds together.
func (s *Sources) Top(n int, now int64) []Source {
	n = min(n, MaxTop)
	if n <= 0 {
		return nil
	}
	var top []Source // of those seen so far
	for i := range s.table.shards {
		shard := &s.table.shards[i]
		shard.each(s.number, func(at int32) {
			source := shard.at(at).told(now)
			if len(top) == n {
				if source.compare(top[n-1]) >= 0 {
					return
				}
				top = top[:n-1]
			}
			place, _ := slices.BinarySearchFunc(top, source, Source.compare)
			top = slices.Insert(top, place, source)
		})
	}
	return top
}

// compare puts the busier source first.
func (s Source) compare(other Source) int {
	if a, b := s.busy(), other.busy(); a != b {
		return cmp.Compare(b, a)
	}
	return cmp.Or(cmp.Compare(other.Refused, s.Refused), s.Network.Addr().Compare(other.Network.Addr()))
}

func (s *Source) busy() float64 {
	return float64(s.Sessions) + s.PerSecond*window.Seconds()
}
