package web

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"balance/engine"
	"balance/engine/balancer"
)

// The history holds one sample an interval for the last ten minutes.
const (
	sampleEvery = time.Second
	maxSamples  = 600
)

// sample is the whole daemon at one moment, and what moved since the sample
// before.
type sample struct {
	Time        int64  `json:"time"` // milliseconds since 1970
	Active      int    `json:"active"`
	Connections uint64 `json:"connections"` // a second, as the rest
	Sent        uint64 `json:"sent"`
	Received    uint64 `json:"received"`
}

// history keeps the last samples. The zero value is ready for use.
type history struct {
	mu      sync.Mutex
	samples []sample            // guarded by mu; oldest first
	totals  map[place]movements // guarded by mu; at the last sample
	at      time.Time           // guarded by mu; of the last sample
	curves  map[place]*curve    // guarded by mu; a listener has the zero Key
	plotted time.Time           // guarded by mu; when the curves had their last point
}

// place is a channel, whatever group it stands in.
type place struct {
	listener string
	key      balancer.Key
}

type movements struct{ connections, sent, received uint64 }

// record takes samples until stop is closed.
func (h *history) record(e *engine.Engine, stop <-chan struct{}) {
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	h.add(e.Snapshot(), time.Now())
	for {
		select {
		case <-stop:
			return
		case now := <-ticker.C:
			h.add(e.Snapshot(), now)
		}
	}
}

// add takes a sample. Channels that are new, and counters that were reset, do
// not show as movements.
func (h *history) add(snapshot engine.Snapshot, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	totals := map[place]movements{}
	var active int
	var moved movements
	for _, l := range snapshot.Listeners {
		active += l.Active
		for _, g := range l.Groups {
			for _, c := range g.Channels {
				at := place{l.Name, c.Key}
				total := movements{c.Sessions, c.Sent, c.Received}
				totals[at] = total
				if before, known := h.totals[at]; known {
					moved.connections += grown(before.connections, total.connections)
					moved.sent += grown(before.sent, total.sent)
					moved.received += grown(before.received, total.received)
				}
			}
		}
	}
	if elapsed := now.Sub(h.at).Seconds(); !h.at.IsZero() && elapsed > 0 {
		rate := func(n uint64) uint64 { return uint64(float64(n)/elapsed + 0.5) }
		if len(h.samples) == maxSamples {
			copy(h.samples, h.samples[1:])
			h.samples = h.samples[:maxSamples-1]
		}
		h.samples = append(h.samples, sample{
			Time: now.UnixMilli(), Active: active,
			Connections: rate(moved.connections), Sent: rate(moved.sent), Received: rate(moved.received),
		})
	}
	h.totals, h.at = totals, now
	if now.Sub(h.plotted) >= pointEvery-sampleEvery/2 { // a tick may come early
		h.plotLocked(snapshot, now)
	}
}

func grown(before, now uint64) uint64 {
	if now < before {
		return 0
	}
	return now - before
}

// serve answers with the samples that are younger than ?after=, in
// milliseconds since 1970; of the whole, of ?listener=, or of its ?channel=.
func (h *history) serve(w http.ResponseWriter, r *http.Request) {
	var after int64
	if text := r.URL.Query().Get("after"); text != "" {
		var err error
		if after, err = strconv.ParseInt(text, 10, 64); err != nil {
			http.Error(w, "after is not a time in milliseconds", http.StatusBadRequest)
			return
		}
	}
	younger := []sample{}
	choose := func(samples []sample) {
		for _, s := range samples {
			if s.Time > after {
				younger = append(younger, s)
			}
		}
	}
	if listener, channel := r.URL.Query().Get("listener"), r.URL.Query().Get("channel"); listener != "" || channel != "" {
		samples, known := h.samplesOf(listener, channel)
		if !known {
			http.Error(w, "nothing is known of such a listener or channel", http.StatusNotFound)
			return
		}
		choose(samples)
	} else {
		h.mu.Lock()
		choose(h.samples)
		h.mu.Unlock()
	}
	writeJSON(w, struct {
		Samples []sample `json:"samples"`
	}{younger})
}
