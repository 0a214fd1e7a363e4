package web

import (
	"net/http"
	"time"

	"balance/engine"
	"balance/engine/balancer"
)

// Beside the samples of the whole there is a curve of each listener and each
// channel, which has one point for so many samples, and covers the same time: 960
// bytes each, so that 10,000 channels take 10 MB.
const (
	samplesPerPoint = 10
	maxPoints       = maxSamples / samplesPerPoint
	pointEvery      = samplesPerPoint * sampleEvery
)

// point is a listener or a channel at one moment, and what moved a second since
// the point before.
type point struct{ active, connections, sent, received float32 }

// curve keeps the last points of a listener or a channel.
type curve struct {
	points []point // oldest first; the last one is of history.plotted
	total  movements
	seen   time.Time
}

// plotLocked adds a point to each curve. What is not there any more loses its own.
func (h *history) plotLocked(snapshot engine.Snapshot, now time.Time) {
	elapsed := now.Sub(h.plotted).Seconds()
	add := func(at place, active int, total movements) {
		c, known := h.curves[at]
		if !known {
			if h.curves == nil {
				h.curves = map[place]*curve{}
			}
			c = &curve{points: make([]point, 0, maxPoints)}
			h.curves[at] = c
		} else if elapsed > 0 {
			if len(c.points) == maxPoints {
				copy(c.points, c.points[1:])
				c.points = c.points[:maxPoints-1]
			}
			rate := func(before, now uint64) float32 { return float32(float64(grown(before, now)) / elapsed) }
			c.points = append(c.points, point{float32(active),
				rate(c.total.connections, total.connections), rate(c.total.sent, total.sent), rate(c.total.received, total.received)})
		}
		c.total, c.seen = total, now
	}
	for _, l := range snapshot.Listeners {
		all := movements{connections: l.Accepted}
		for _, g := range l.Groups {
			for _, c := range g.Channels {
				add(place{l.Name, c.Key}, c.Active, movements{c.Sessions, c.Sent, c.Received})
				all.sent += c.Sent
				all.received += c.Received
			}
		}
		add(place{listener: l.Name}, l.Active, all)
	}
	for at, c := range h.curves {
		if !c.seen.Equal(now) {
			delete(h.curves, at)
		}
	}
	h.plotted = now
}

// find returns the curve of a listener, or of a channel of it that status names
// so; nil if there is none.
func (h *history) findLocked(listener, channel string) *curve {
	if channel == "" {
		return h.curves[place{listener: listener}]
	}
	for at, c := range h.curves {
		if at.listener == listener && at.key != (balancer.Key{}) && at.key.String() == channel {
			return c
		}
	}
	return nil
}

// samplesOf returns the points of a listener or a channel as samples.
func (h *history) samplesOf(listener, channel string) (list []sample, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.findLocked(listener, channel)
	if c == nil {
		return nil, false
	}
	for i, p := range c.points {
		at := h.plotted.Add(-time.Duration(len(c.points)-1-i) * pointEvery)
		list = append(list, sample{at.UnixMilli(), int(p.active), uint64(p.connections + 0.5), uint64(p.sent + 0.5), uint64(p.received + 0.5)})
	}
	return list, true
}

// curves is what /api/v1/curves answers.
type curves struct {
	Every     float64         `json:"every_seconds"`
	Listeners []listenerCurve `json:"listeners"`
}

type listenerCurve struct {
	Name   string `json:"name"`
	Active []int  `json:"active"` // oldest first
}

func (h *history) serveCurves(w http.ResponseWriter, _ *http.Request) {
	answer := curves{Every: pointEvery.Seconds(), Listeners: []listenerCurve{}}
	h.mu.Lock()
	for at, c := range h.curves {
		if at.key != (balancer.Key{}) {
			continue
		}
		one := listenerCurve{at.listener, []int{}}
		for _, p := range c.points {
			one.Active = append(one.Active, int(p.active))
		}
		answer.Listeners = append(answer.Listeners, one)
	}
	h.mu.Unlock()
	writeJSON(w, answer)
}
