package engine

import (
	"strings"
	"sync"
	"time"
	"unicode"
)

// Event is something that happened to a channel, a listener or the daemon, by
// itself or because somebody asked for it.
type Event struct {
	ID       uint64    `json:"id"` // counts from 1
	Time     time.Time `json:"time"`
	Listener string    `json:"listener,omitempty"`
	Channel  string    `json:"channel,omitempty"` // host:port
	Name     string    `json:"name,omitempty"`    // of the channel, when it happened
	// What is the state of the channel that began, as balancer.State has it, or a
	// word for what was done: "reload", "enable", and the like.
	What   string `json:"what"`
	Reason string `json:"reason,omitempty"` // printable
	// By is the Actor who asked for it, as text; empty if nobody did.
	By string `json:"by,omitempty"`
}

// MaxEvents is how many events are kept.
const MaxEvents = 1000

// events keeps the last of them. The zero value is ready for use.
type events struct {
	mu   sync.Mutex
	ring []Event // guarded by mu; at most MaxEvents
	last uint64  // guarded by mu; ID of the newest
}

func (e *events) add(event Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last++
	event.ID = e.last
	if len(e.ring) < MaxEvents {
		e.ring = append(e.ring, event)
		return
	}
	e.ring[(e.last-1)%MaxEvents] = event
}

// list returns the last n, the oldest first.
func (e *events) list(n int) []Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	n = max(0, min(n, len(e.ring)))
	list := make([]Event, 0, n)
	for id := e.last - uint64(n); id < e.last; id++ {
		list = append(list, e.ring[id%MaxEvents])
	}
	return list
}

// Record adds an event, whose ID and time it sets. Its texts may be of anybody.
func (e *Engine) Record(event Event) {
	event.Time = time.Now()
	event.Reason, event.By = printable(event.Reason), printable(event.By)
	e.events.add(event)
}

// maxText is how much is kept of a text, in bytes.
const maxText = 500

// printable returns the beginning of a text with a question mark for each
// character that cannot be printed.
func printable(text string) string {
	cut := len(text) > maxText
	if cut {
		text = text[:maxText]
	}
	text = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	if cut {
		text += "…"
	}
	return text
}

// Events returns the last n events, the oldest first.
func (e *Engine) Events(n int) []Event { return e.events.list(n) }
