package engine

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"balance/engine/balancer"
)

// matchListeners returns, for each new listener, the index of the old one that
// it continues, or -1. It is the one with the same address, of several the one
// that has the same name, too; failing that the one with the same name; failing
// that one with an overlapping address. Each old listener is continued at most
// once.
func matchListeners(old, new []Listener) []int {
	m := matcher{matches: slices.Repeat([]int{-1}, len(new)), taken: make([]bool, len(old))}
	byAddress, byName := map[listenKey]int{}, map[string]int{}
	for k := range old {
		byName[old[k].Name] = k
		for _, address := range old[k].listenKeys() {
			byAddress[address] = k
		}
	}
	for i := range new {
		// An address that moves from one listener to another takes neither along.
		if k, ok := byName[new[i].Name]; ok && sharing(&old[k], &new[i]) {
			tryKey(&m, i, byName, new[i].Name)
		}
	}
	for i := range new {
		for _, address := range new[i].listenKeys() {
			tryKey(&m, i, byAddress, address)
		}
	}
	for i := range new {
		tryKey(&m, i, byName, new[i].Name)
	}
	for i := range new {
		for k := 0; k < len(old) && m.matches[i] < 0; k++ {
			if !m.taken[k] && overlapping(&old[k], &new[i]) {
				m.take(i, k)
			}
		}
	}
	return m.matches
}

type matcher struct {
	matches []int
	taken   []bool
}

func tryKey[K comparable](m *matcher, i int, index map[K]int, key K) {
	if k, ok := index[key]; ok && m.matches[i] < 0 && !m.taken[k] {
		m.take(i, k)
	}
}

func (m *matcher) take(i, k int) { m.matches[i], m.taken[k] = k, true }

// listenKey is the identity of an address to listen on.
type listenKey struct {
	host string
	port uint16
}

func (l *Listener) listenKeys() []listenKey {
	keys := make([]listenKey, 0, len(l.Listen))
	for _, address := range l.Listen {
		if host, port, err := SplitListen(address); err == nil {
			keys = append(keys, listenKey{host, port})
		}
	}
	return keys
}

// sharing reports whether the listeners have an address in common.
func sharing(a, b *Listener) bool {
	keys := b.listenKeys()
	return slices.ContainsFunc(a.listenKeys(), func(key listenKey) bool { return slices.Contains(keys, key) })
}

func overlapping(a, b *Listener) bool {
	for _, x := range a.listenKeys() {
		for _, y := range b.listenKeys() {
			if x.port == y.port && overlap(x.host, y.host) {
				return true
			}
		}
	}
	return false
}

func (l *Listener) equal(other *Listener) bool {
	a, b := *l, *other
	a.Listen, a.Groups, b.Listen, b.Groups = nil, nil, nil, nil
	return reflect.DeepEqual(a, b) && slices.Equal(l.Listen, other.Listen) &&
		slices.EqualFunc(l.Groups, other.Groups, func(g, h Group) bool {
			return g.Mode == h.Mode && slices.Equal(g.Channels, h.Channels)
		})
}

// succession is how one configuration follows another.
type succession struct {
	matches []int  // for each new listener the old one that it continues, or -1
	same    []bool // likewise: it is the old one, unchanged
	old     []keys // of the listeners that are continued with changes
	new     []keys // of all listeners but those that are the same
}

// succeed finds what of the old listeners goes on in the new ones. The function
// known tells the keys that the channels of an old listener have, and which of
// them have sessions.
func succeed(old, new []Listener, edited bool, known func(k int) (keys, func(balancer.Key) bool)) *succession {
	s := &succession{
		matches: matchListeners(old, new),
		same:    make([]bool, len(new)),
		old:     make([]keys, len(old)),
		new:     make([]keys, len(new)),
	}
	for i, k := range s.matches {
		switch {
		case k < 0:
			s.new[i] = new[i].keys()
		case old[k].equal(&new[i]):
			s.same[i] = true
		default:
			var running func(balancer.Key) bool
			s.old[k], running = known(k)
			s.new[i] = new[i].keysAfter(&old[k], s.old[k], running, edited)
		}
	}
	return s
}

// place is where a channel stands in its listener.
type place struct{ group, index int }

// keys are the identities of the channels of a listener, by group and place in
// it.
type keys [][]balancer.Key

// all calls yield for each key, in the order of the groups.
func (k keys) all(yield func(balancer.Key, place) bool) {
	for g := range k {
		for i, key := range k[g] {
			if !yield(key, place{g, i}) {
				return
			}
		}
	}
}

func (k keys) places() map[balancer.Key]place { return maps.Collect(k.all) }

// keys returns the identities that channels have who never had others: the
// repeats of an address are numbered in the order of the groups.
func (l *Listener) keys() keys {
	seen := map[balancer.Key]int{}
	all := make(keys, len(l.Groups))
	for _, s := range l.seats() {
		key := s.address
		key.Nth = seen[s.address]
		seen[s.address]++
		all[s.group] = append(all[s.group], key)
	}
	return all
}

// keysAfter returns the identities of the channels of a listener that continues
// another one. What both declare keeps its key, and with it its sessions,
// counters and state; what is new gets the lowest number that is free among the
// repeats of its address. Of several places with its address a channel goes on
// in the first of these, whatever stands before it:
//
//	in its group, declared as it was, or at least with its limit
//	in another group likewise, if it has sessions: they are not to exceed it
//	in its group
//	in another group, declared as it was if it can
//
// Where there are fewer places than channels those with sessions go on. Places
// that are left over are new, and channels that are left over removed: of one
// address there are never both.
func (l *Listener) keysAfter(old *Listener, known keys, running func(balancer.Key) bool, edited bool) keys {
	type namesakes struct{ olds, news []*seat }
	byAddress := map[balancer.Key]namesakes{}
	olds, news := old.seats(), l.seats()
	for i := range olds {
		s := &olds[i]
		s.key = known[s.group][s.index]
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
	given := make(keys, len(l.Groups))
	for i := range news {
		given[news[i].group] = append(given[news[i].group], news[i].key)
	}
	return given
}

// seat is a channel of a listener on the way from one configuration to the next.
type seat struct {
	place
	address  balancer.Key // Nth is 0
	declared Channel      // but for the address
	running  bool         // an old one: it has sessions
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
			c.Host, c.Port = "", 0
			seats = append(seats, seat{place: place{g, i}, address: address, declared: c})
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
)

// seatClass is one of these for all that are alike.
type seatClass struct {
	place    place
	declared Channel
}

func (a alike) class(s *seat) (c seatClass) {
	if a&inGroup != 0 {
		c.place.group = s.group
	}
	if a&inPlace != 0 {
		c.place.index = s.index
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
	wide := a &^ (asDeclared | inLimit)
	before, after := classes(olds, wide), classes(news, wide)
	for class, olds := range from {
		news := to[class]
		n := min(len(olds), len(news))
		if n == 0 {
			continue
		}
		stood, stands := standing(olds), standing(news)
		first := func(s *seat) bool { return stands[s.place] }
		if scope := wide.class(olds[0]); len(before[scope]) > len(after[scope]) {
			first = func(s *seat) bool { return s.running }
		}
		olds = choose(olds, n, first)
		news = choose(news, n, func(s *seat) bool { return stood[s.place] })
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

func standing(seats []*seat) map[place]bool {
	places := make(map[place]bool, len(seats))
	for _, s := range seats {
		places[s.place] = true
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

// canonicalHost makes two spellings of one IP address the same.
func canonicalHost(host string) string {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().String()
	}
	return host
}
