package counters

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"balance/engine"
	"balance/engine/balancer"
	"balance/engine/socket"
)

// maxRecords bounds a file to 64 MiB and its head.
const maxRecords = 64 << 10

// identity is that of a channel in a file.
type identity struct {
	listener string
	key      balancer.Key
}

func (r *Record) identity() identity { return identity{r.Listener, r.Key} }

// place is one for a record in the file, taken by a channel. Its record is as
// it was when the channel was last in force, but for the numbers.
type place struct {
	Record
	index    int
	counters *balancer.Counters
	seen     uint64 // the update that last found the channel in force; 0: none of this process
}

// table gives each channel in force a place. A channel that is in no
// configuration any more keeps its own, and counts on if it comes back, until
// another needs it: the one that is gone longest goes first.
type table struct {
	limit    int
	places   []*place // by index; nil is free
	known    map[identity]*place
	owner    map[*balancer.Counters]*place
	updates  uint64
	homeless int // channels in force for which there is no place
}

// newTable returns a table of the records of a file. Channels that were in no
// configuration any more when it was written to last are free, and behind the
// last that is not there is nothing.
func newTable(records []Record, limit int) *table {
	t := &table{limit: limit, known: map[identity]*place{}, owner: map[*balancer.Counters]*place{}}
	for i, r := range records {
		if r == (Record{}) || r.Group == nowhere || t.known[r.identity()] != nil {
			continue
		}
		counters := new(balancer.Counters)
		counters.Sessions.Store(r.Sessions)
		counters.Failures.Store(r.Failures)
		counters.Sent.Store(r.Sent)
		counters.Received.Store(r.Received)
		for len(t.places) < i {
			t.places = append(t.places, nil)
		}
		t.take(i, r, counters)
	}
	return t
}

// lookup returns the counters of a channel, or nil if it has none.
func (t *table) lookup(id identity) *balancer.Counters {
	if p := t.known[id]; p != nil {
		return p.counters
	}
	return nil
}

// update brings the table up to date with what is in force.
func (t *table) update(e *engine.Engine) {
	t.updates++
	listen := map[string]string{}
	for _, l := range e.Snapshot().Listeners {
		listen[l.Name] = listenText(l.Addresses)
	}
	type newcomer struct {
		Record
		counters *balancer.Counters
	}
	var newcomers []newcomer
	var renamed []*place
	e.Channels(func(listener string, group, number int, mode balancer.Mode, channel *balancer.Channel) {
		now := describe(e, listener, listen[listener], group, number, mode, channel)
		p := t.owner[channel.Counters]
		if p == nil {
			newcomers = append(newcomers, newcomer{now, channel.Counters})
			return
		}
		p.seen = t.updates
		if id := p.identity(); id != now.identity() {
			delete(t.known, id)
			renamed = append(renamed, p)
		}
		p.Record = now
	})
	// Only now: names may have changed places. Whoever else has one is gone.
	for _, p := range renamed {
		if gone := t.known[p.identity()]; gone != nil {
			t.free(gone)
		}
		t.known[p.identity()] = p
	}
	t.homeless = 0
	vacant := t.vacancies()
	for _, c := range newcomers {
		id := c.identity()
		if !id.fits() {
			t.homeless++
		} else if gone := t.known[id]; gone != nil {
			t.free(gone)
			t.take(gone.index, c.Record, c.counters)
		} else if index, ok := vacant(); ok {
			t.take(index, c.Record, c.counters)
		} else {
			t.homeless++
		}
	}
	for _, p := range t.places {
		if p != nil && p.seen != t.updates {
			p.Group, p.Number, p.Active = nowhere, 0, 0
		}
	}
}

// vacancies returns a function that finds a place for a newcomer: one that is
// free, a new one, or that of the channel that is gone longest.
func (t *table) vacancies() (next func() (index int, ok bool)) {
	from := 0
	var gone []*place
	sorted := false
	return func() (int, bool) {
		for ; from < len(t.places); from++ {
			if t.places[from] == nil {
				return from, true
			}
		}
		if len(t.places) < t.limit {
			return len(t.places), true
		}
		if !sorted {
			sorted = true
			for _, p := range t.places {
				if p.seen != t.updates {
					gone = append(gone, p)
				}
			}
			slices.SortStableFunc(gone, func(a, b *place) int { return cmp.Compare(a.seen, b.seen) })
		}
		for len(gone) > 0 {
			p := gone[0]
			gone = gone[1:]
			if t.places[p.index] == p { // else it was taken by its own name
				t.free(p)
				return p.index, true
			}
		}
		return 0, false
	}
}

// take puts a channel in a place that is free, or behind the last.
func (t *table) take(index int, r Record, counters *balancer.Counters) {
	p := &place{Record: r, index: index, counters: counters, seen: t.updates}
	if index == len(t.places) {
		t.places = append(t.places, nil)
	}
	t.places[index] = p
	t.known[r.identity()] = p
	t.owner[counters] = p
}

func (t *table) free(p *place) {
	t.places[p.index] = nil
	delete(t.known, p.identity())
	delete(t.owner, p.counters)
}

// records appends what the file is to hold.
func (t *table) records(list []Record) []Record {
	for _, p := range t.places {
		if p == nil {
			list = append(list, Record{})
			continue
		}
		r := p.Record
		r.Sessions = p.counters.Sessions.Load()
		r.Failures = p.counters.Failures.Load()
		r.Sent = p.counters.Sent.Load()
		r.Received = p.counters.Received.Load()
		list = append(list, r)
	}
	return list
}

func describe(e *engine.Engine, listener, listen string, group, number int, mode balancer.Mode, channel *balancer.Channel) Record {
	r := Record{
		Listener: listener, Listen: listen, Key: channel.Key(),
		Group: group, Number: number, Mode: mode,
		State: stateOf(channel), Active: channel.Active(), Limit: channel.Limit(),
	}
	if addrs := channel.Addresses(); len(addrs) > 0 {
		r.Address = addrs[0].Addr()
	}
	r.Observed = e.Observe(channel)
	r.Observed.HealthReason = short(r.Observed.HealthReason, atWhyFails-atWhyDown-1)
	r.Observed.FailureReason = short(r.Observed.FailureReason, atSum-atWhyFails-1)
	return r
}

// short returns as much of a text as has room, in whole characters.
func short(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}

// listenText is the Listen of a listener's records.
func listenText(addrs []socket.Address) string {
	var text strings.Builder
	for _, addr := range addrs {
		word := addr.String()
		if text.Len()+1+len(word) > atObserved-atListen-2 {
			break
		}
		if text.Len() > 0 {
			text.WriteByte(' ')
		}
		text.WriteString(word)
	}
	return text.String()
}
