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
	for i := range s.table.shards {
		shard := &s.table.shards[i]
		shard.each(s.number, func(at int32) { top = append(top, shard.at(at).told(now)) })
		slices.SortFunc(top, func(a, b Source) int {
			return cmp.Or(cmp.Compare(b.busy(), a.busy()), cmp.Compare(b.Refused, a.Refused), a.Network.Addr().Compare(b.Network.Addr()))
		})
		top = top[:min(n, len(top))]
	}
	return top
}

func (s *Source) busy() float64 {
	return float64(s.Sessions) + s.PerSecond*window.Seconds()
}
