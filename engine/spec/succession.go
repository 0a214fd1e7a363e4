package spec

import (
	"fmt"
	"maps"
	"slices"

	"balance/engine/balancer"
)

// Succession is how one configuration follows another.
type Succession struct {
	Matches []int  // for each new listener the index of the old one that it continues, or -1
	Same    []bool // likewise: it is the old one, unchanged
	Old     []Keys // of the listeners that are continued with changes
	New     []Keys // of all listeners but those that are the same
}

// Succeed finds what of the old listeners goes on in the new ones. The function
// known tells the keys that the channels of an old listener have, and which of
// them have sessions. Edited says that an operator made the change, who means
// channels by their place.
func Succeed(old, new []Listener, edited bool, known func(k int) (Keys, func(balancer.Key) bool)) *Succession {
	s := &Succession{
		Matches: matchListeners(old, new),
		Same:    make([]bool, len(new)),
		Old:     make([]Keys, len(old)),
		New:     make([]Keys, len(new)),
	}
	for i, k := range s.Matches {
		switch {
		case k < 0:
			s.New[i] = new[i].keys()
		case old[k].equal(&new[i]):
			s.Same[i] = true
		default:
			var running func(balancer.Key) bool
			s.Old[k], running = known(k)
			s.New[i] = new[i].keysAfter(&old[k], s.Old[k], running, edited)
		}
	}
	return s
}

// Place is where a channel stands in its listener.
type Place struct{ Group, Index int }

func (p Place) String() string { return fmt.Sprintf("group %d channel %d", p.Group, p.Index) }

// Channels calls yield for each channel of the listener, in the order of the
// groups.
func (l *Listener) Channels(yield func(Place, *Channel) bool) {
	for g := range l.Groups {
		for i := range l.Groups[g].Channels {
			if !yield(Place{g, i}, &l.Groups[g].Channels[i]) {
				return
			}
		}
	}
}

// Keys are the identities of the channels of a listener, by group and place in
// it.
type Keys [][]balancer.Key

// All calls yield for each key, in the order of the groups.
func (k Keys) All(yield func(balancer.Key, Place) bool) {
	for g := range k {
		for i, key := range k[g] {
			if !yield(key, Place{g, i}) {
				return
			}
		}
	}
}

// Places returns where each channel stands.
func (k Keys) Places() map[balancer.Key]Place { return maps.Collect(k.All) }

// keys returns the identities that channels have who never had others: the
// repeats of an address are numbered in the order of the groups.
func (l *Listener) keys() Keys {
	seen := map[balancer.Key]int{}
	all := make(Keys, len(l.Groups))
	for _, s := range l.seats() {
		key := s.address
		key.Nth = seen[s.address]
		seen[s.address]++
		all[s.Group] = append(all[s.Group], key)
	}
	return all
}

// keysAfter returns the identities of the channels of a listener that continues
// another one. What both declare keeps its key, and with it its sessions,
// counters and state; what is new gets the lowest number that is free among the
// repeats of its address. Of several places with its address a channel goes on
// in the first of these, whatever stands before it:
//
//	under its name
//	in its group, declared as it was, or at least with its limit
//	in another group likewise, if it has sessions: they are not to exceed it
//	in its group
//	in another group, declared as it was if it can
//
// Where there are fewer places than channels those with sessions go on. Places
// that are left over are new, and channels that are left over removed: of one
// address there are never both.
func (l *Listener) keysAfter(old *Listener, known Keys, running func(balancer.Key) bool, edited bool) Keys {
	type namesakes struct{ olds, news []*seat }
	byAddress := map[balancer.Key]namesakes{}
	olds, news := old.seats(), l.seats()
	for i := range olds {
		s := &olds[i]
		s.key = known[s.Group][s.Index]
		s.running = running(s.key)
		n := byAddress[s.address]
		n.olds = append(n.olds, s)
		byAddress[s.address] = n
	}
	for i := range news {
		n := byAddress[news[i].address]
		n.news = append(n.news, &news[i])
		byAddress[news[i].address] = n
	}
	for _, n := range byAddress {
		if len(n.olds) == 1 && len(n.news) == 1 {
			n.news[0].follow(n.olds[0])
			continue
		}
		if edited {
			pairSeats(n.olds, n.news, inGroup|inPlace)
		}
		pairSeats(named(n.olds), named(n.news), asNamed)
		runs := slices.DeleteFunc(slices.Clone(n.olds), func(s *seat) bool { return !s.running })
		pairSeats(n.olds, n.news, inGroup|asDeclared)
		pairSeats(n.olds, n.news, inGroup|inLimit)
		pairSeats(runs, n.news, asDeclared)
		pairSeats(runs, n.news, inLimit)
		pairSeats(n.olds, n.news, inGroup)
		pairSeats(n.olds, n.news, asDeclared)
		pairSeats(n.olds, n.news, 0)
		number(n.news)
	}
	given := make(Keys, len(l.Groups))
	for i := range news {
		given[news[i].Group] = append(given[news[i].Group], news[i].key)
	}
	return given
}

// seat is a channel of a listener on the way from one configuration to the next.
type seat struct {
	Place
	address  balancer.Key // Nth is 0
	name     string
	declared Channel // but for name and address
	running  bool    // an old one: it has sessions
	key      balancer.Key
	paired   bool // the key is in both configurations
}

func (s *seat) follow(old *seat) { s.key, s.paired, old.paired = old.key, true, true }

// seats returns the channels in the order of the groups.
func (l *Listener) seats() []seat {
	total := 0
	for g := range l.Groups {
		total += len(l.Groups[g].Channels)
	}
	seats := make([]seat, 0, total)
	for g := range l.Groups {
		for i, c := range l.Groups[g].Channels {
			address := balancer.Key{Host: canonicalHost(c.Host), Port: c.Port}
			name := c.Name
			c.Name, c.Host, c.Port = "", "", 0
			seats = append(seats, seat{Place: Place{g, i}, address: address, name: name, declared: c})
		}
	}
	return seats
}

// alike says what two channels of an address are to have in common.
type alike uint8

const (
	inGroup alike = 1 << iota
	inPlace
	inLimit
	asDeclared
	asNamed
)

// named returns the channels that have a name.
func named(seats []*seat) []*seat {
	return slices.DeleteFunc(slices.Clone(seats), func(s *seat) bool { return s.name == "" })
}

// seatClass is one of these for all that are alike.
type seatClass struct {
	place    Place
	name     string
	declared Channel
}

func (a alike) class(s *seat) (c seatClass) {
	if a&inGroup != 0 {
		c.place.Group = s.Group
	}
	if a&inPlace != 0 {
		c.place.Index = s.Index
	}
	if a&asNamed != 0 {
		c.name = s.name
	}
	switch {
	case a&asDeclared != 0:
		c.declared = s.declared
	case a&inLimit != 0:
		c.declared.MaxConns = s.declared.MaxConns
	}
	return c
}

// pairSeats gives the keys of old channels to new ones that are alike, in their
// order. Where not all can be paired those come first that stand where one stood
// or stands; of old ones that have too few places in all, those that run.
func pairSeats(olds, news []*seat, a alike) {
	if len(olds) == 0 || len(news) == 0 {
		return
	}
	from, to := classes(olds, a), classes(news, a)
	wide := a &^ (asDeclared | inLimit | asNamed)
	before, after := classes(olds, wide), classes(news, wide)
	for class, olds := range from {
		news := to[class]
		n := min(len(olds), len(news))
		if n == 0 {
			continue
		}
		stood, stands := standing(olds), standing(news)
		first := func(s *seat) bool { return stands[s.Place] }
		if scope := wide.class(olds[0]); len(before[scope]) > len(after[scope]) {
			first = func(s *seat) bool { return s.running }
		}
		olds = choose(olds, n, first)
		news = choose(news, n, func(s *seat) bool { return stood[s.Place] })
		for i := range n {
			news[i].follow(olds[i])
		}
	}
}

// classes sorts the channels that are not paired yet.
func classes(seats []*seat, a alike) map[seatClass][]*seat {
	sorted := map[seatClass][]*seat{}
	for _, s := range seats {
		if !s.paired {
			sorted[a.class(s)] = append(sorted[a.class(s)], s)
		}
	}
	return sorted
}

func standing(seats []*seat) map[Place]bool {
	places := make(map[Place]bool, len(seats))
	for _, s := range seats {
		places[s.Place] = true
	}
	return places
}

// choose returns n of the channels, in their order: preferred ones if it can.
func choose(seats []*seat, n int, preferred func(*seat) bool) []*seat {
	others := n
	for _, s := range seats {
		if preferred(s) {
			others--
		}
	}
	var chosen []*seat
	for _, s := range seats {
		if len(chosen) == n {
			break
		}
		if preferred(s) {
			chosen = append(chosen, s)
		} else if others > 0 {
			chosen = append(chosen, s)
			others--
		}
	}
	return chosen
}

// number gives keys to the channels of one address that have none yet.
func number(seats []*seat) {
	taken := map[int]bool{}
	for _, s := range seats {
		if s.paired {
			taken[s.key.Nth] = true
		}
	}
	free := 0
	for _, s := range seats {
		if s.paired {
			continue
		}
		for taken[free] {
			free++
		}
		s.key = s.address
		s.key.Nth = free
		free++
	}
}
