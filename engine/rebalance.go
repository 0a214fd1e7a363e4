package engine

import (
	"context"
	"math"
	"time"

	"balance/engine/balancer"
	"balance/engine/plane"
)

// load is what a channel carries and may carry.
type load struct{ active, weight, limit int }

// surplus returns how many sessions each channel has above its share: what it would
// have if those of all were spread by weight, as far as the limits allow. It is no
// more than the others have room for within theirs. Channels with a weight of 0
// take no part.
func surplus(loads []load) (above []int) {
	above = make([]int, len(loads))
	sessions, weights := 0, 0
	for _, l := range loads {
		if l.weight > 0 {
			sessions += l.active
			weights += l.weight
		}
	}
	filled := make([]bool, len(loads)) // to the limit, which is less than the share
	share := func(i int) int {
		switch l := loads[i]; {
		case l.weight == 0:
			return l.active
		case filled[i]:
			return l.limit
		default:
			return (sessions*l.weight + weights - 1) / weights
		}
	}
	for again := true; again; {
		again = false
		for i, l := range loads {
			if l.weight > 0 && l.limit > 0 && !filled[i] && sessions*l.weight > l.limit*weights {
				filled[i], again = true, true
				sessions -= l.limit
				weights -= l.weight
			}
		}
	}
	room := 0
	for i := range loads {
		room += max(share(i)-loads[i].active, 0)
	}
	for i := range loads {
		above[i] = min(max(loads[i].active-share(i), 0), room)
		room -= above[i]
	}
	return above
}

// Surplus is what a channel has above its share, and what of it is ended.
type Surplus struct {
	Group    int
	Channel  balancer.Key
	Sessions int // that it has
	Above    int // of them
	Ended    int // likewise
}

// surpluses calls yield for each channel of a listener with sessions above its
// share, which is a part of those of the channels in its group that are up. Those of
// them that are being ended already count as ended. Groups of modes that choose by something else
// than the load have none: hash would give the client the same channel again, and
// first fills one after the other.
func (e *Engine) surpluses(l *listener, now int64, yield func(group int, channel *balancer.Channel, above int)) {
	var leaving map[*balancer.Channel]int // asked for where it matters
	for g, group := range l.router.Groups() {
		if group.Mode == balancer.Hash || group.Mode == balancer.First {
			continue
		}
		var up []*balancer.Channel
		var loads []load
		for _, channel := range group.Channels {
			if channel.Standing(now).State.Up() {
				weight, limit := l.router.Capacity(g, channel, now)
				up = append(up, channel)
				loads = append(loads, load{channel.Active(), weight, limit})
			}
		}
		for i, above := range surplus(loads) {
			if above > 0 && leaving == nil {
				leaving = e.leaving(l)
			}
			if above -= leaving[up[i]]; above > 0 {
				yield(g, up[i], above)
			}
		}
	}
}

// leaving returns how many sessions of each channel of a listener are being ended in
// order.
func (e *Engine) leaving(l *listener) map[*balancer.Channel]int {
	leaving := map[*balancer.Channel]int{}
	e.plane.Sessions(func(s plane.Session) bool {
		if s.Leaving && s.Listener == l.shared {
			leaving[s.Channel]++
		}
		return true
	})
	return leaving
}

// RebalanceOver is the time in which Rebalance ends sessions: a tenth of them a second.
const RebalanceOver = 10 * time.Second

// Rebalance ends in order, evenly over ten seconds, so many percent of the sessions
// that channels of a listener have above their share, and returns how many of which.
// It takes the place of an earlier one that is under way: what that had still to end
// is above the share, and counted, again. Run dry it ends none.
func (e *Engine) Rebalance(name string, percent int, dry bool) ([]Surplus, error) {
	e.applying.Lock()
	defer e.applying.Unlock()
	l, err := e.listener(name)
	if err != nil {
		return nil, err
	}
	var all []Surplus
	quotas := map[*balancer.Channel]int{}
	e.surpluses(l, e.plane.Now(), func(group int, channel *balancer.Channel, above int) {
		s := Surplus{Group: group, Channel: channel.Key(), Sessions: channel.Active(), Above: above, Ended: (above*percent + 99) / 100}
		all = append(all, s)
		quotas[channel] = s.Ended
	})
	if dry || e.closed {
		return all, nil
	}
	for shared, end := range e.rebalances {
		if shared == l.shared || e.current.Load().byShared[shared] == nil {
			end()
			delete(e.rebalances, shared)
		}
	}
	ctx, end := context.WithCancel(e.life)
	e.rebalances[l.shared] = end
	e.finishEvenly(ctx, plane.Rebalanced, RebalanceOver, quotas, func(s *plane.Session) bool { return s.Listener == l.shared })
	return all, nil
}

// rebalance ends what is due of the sessions that channels have above their share,
// where that is asked for, after a time.
func (e *Engine) rebalance(s *state, now int64, passed time.Duration) {
	due, left := map[*balancer.Channel]int{}, map[*balancer.Channel]float64{}
	for _, l := range s.listeners {
		if l.config.Rebalance == 0 {
			continue
		}
		rate := float64(l.config.Rebalance) / 100 * passed.Minutes()
		e.surpluses(l, now, func(_ int, channel *balancer.Channel, above int) {
			whole, part := math.Modf(e.rebalancing[channel] + float64(above)*rate)
			left[channel] = part
			if whole > 0 {
				due[channel] = min(int(whole), above)
			}
		})
	}
	e.rebalancing = left
	if len(due) > 0 {
		e.finishIdlest(plane.Rebalanced, due, func(*plane.Session) bool { return true })
	}
}
