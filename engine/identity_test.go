package engine_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"balance/engine"
	"balance/engine/balancer"
	"balance/engine/plane"
	"balance/engine/socket"
	"balance/engine/spec"
)

// An address that comes to an earlier group, by an edit or a file, takes
// nothing from the channel that has it already: neither its sessions nor its
// counters, and its limit holds.
func TestAnAddressComesToAnEarlierGroup(t *testing.T) {
	for _, by := range []string{"edit", "file", "file, in a group of its own", "file, before it in its group"} {
		t.Run(by, func(t *testing.T) {
			r := newRig(t)
			b := r.server("b")
			dead := &server{name: "dead", addr: netip.MustParseAddrPort(free(t, "127.0.0.1"))}
			web := free(t, "127.0.0.1")
			declared := func() spec.Listener {
				l := listener("web", web, dead)
				l.Groups = append(l.Groups, group(b))
				l.Groups[1].Channels[0].MaxConns = 1
				return l
			}
			r.apply(declare(declared()))
			held := dial(t, web)
			held.works()
			added := b.channel()
			added.Disabled = true
			at := [2]int{1, 0} // where the channel is to be found
			l := declared()
			switch by {
			case "edit":
				if _, err := r.Edit(t.Context(), func(c *spec.Config) error {
					group := &c.Listeners[0].Groups[0]
					group.Channels = append(group.Channels, added)
					return nil
				}); err != nil {
					t.Fatal(err)
				}
			case "file":
				l.Groups[0].Channels = append(l.Groups[0].Channels, added)
				r.apply(declare(l))
			case "file, in a group of its own":
				l.Groups = slices.Insert(l.Groups, 1, spec.Group{Channels: []spec.Channel{added}})
				r.apply(declare(l))
				at = [2]int{2, 0}
			default:
				l.Groups[1].Channels = slices.Insert(l.Groups[1].Channels, 0, added)
				r.apply(declare(l))
				at = [2]int{1, 1}
			}
			groups := r.Snapshot().Listeners[0].Groups
			for g := range groups {
				for i, c := range groups[g].Channels {
					if g == 0 && i == 0 {
						continue // the dead one
					}
					want := engine.ChannelStatus{State: balancer.StateDisabled}
					if at == [2]int{g, i} {
						want = engine.ChannelStatus{State: balancer.StateFull, Active: 1, Sessions: 1, Limit: 1}
					}
					if c.State != want.State || c.Active != want.Active || c.Sessions != want.Sessions || c.Limit != want.Limit {
						t.Errorf("group %d channel %d: %+v", g, i, c)
					}
				}
			}
			if second, err := tryDial(web); err == nil {
				t.Errorf("a second session runs on %s, which takes one", second.by)
				second.Close()
			}
			held.works()
			held.ends()
			if got := served(t, web, 1); got != "b" {
				t.Errorf("served by %q once there is room", got)
			}
		})
	}
}

// seating is an engine without a network: sessions are slots that are taken.
type seating struct {
	*engine.Engine
	t        testing.TB
	listener *plane.Listener
	sessions []*seated
	clients  byte
}

// seated is a session.
type seated struct {
	route   balancer.Route
	channel *balancer.Channel
}

type seatingPlane struct {
	idlePlane
	s *seating
}

func (seatingPlane) Now() int64 { return 1 }

func (p seatingPlane) Adopt(*socket.Socket) (plane.Acceptor, error) {
	return seatingAcceptor{s: p.s}, nil
}

type seatingAcceptor struct {
	idleAcceptor
	s *seating
}

func (a seatingAcceptor) Serve(l *plane.Listener) { a.s.listener = l }

func newSeating(t testing.TB) *seating {
	s := &seating{t: t}
	s.Engine = newEngine(t, engine.Options{
		Log:       slog.New(slog.NewTextHandler(io.Discard, nil)),
		Resolver:  &nameService{},
		DataPlane: dataPlane,
		NewPlane:  func(plane.Options) plane.Plane { return seatingPlane{s: s} },
		Open:      openNone,
	})
	t.Cleanup(func() { s.Shutdown(canceled()) })
	return s
}

// apply applies groups such as "a:1* b- ! a": channels by a letter, the limit
// behind a colon, a minus where it is disabled. A star is not part of it.
func (s *seating) apply(groups string) spec.Changes {
	s.t.Helper()
	changes, err := s.Apply(context.Background(), declare(parseGroups(s.t, groups)))
	if err != nil {
		s.t.Fatal(err)
	}
	return changes
}

func ungrouped() spec.Listener {
	l := spec.Defaults()
	l.Name, l.Listen = "web", []string{"127.0.0.1:80"}
	return l
}

func parseGroups(t testing.TB, text string) spec.Listener {
	t.Helper()
	l := ungrouped()
	for _, part := range strings.Split(text, "!") {
		var g spec.Group
		for _, word := range strings.Fields(part) {
			word = strings.TrimSuffix(word, "*")
			word, disabled := strings.CutSuffix(word, "-")
			name, limit, limited := strings.Cut(word, ":")
			c := spec.Channel{Host: "192.0.2." + strconv.Itoa(int(name[0])), Port: 80, Disabled: disabled}
			if limited {
				var err error
				if c.MaxConns, err = strconv.Atoi(limit); err != nil {
					t.Fatal(err)
				}
			}
			g.Channels = append(g.Channels, c)
		}
		l.Groups = append(l.Groups, g)
	}
	return l
}

// places returns the channels in force.
func (s *seating) places() [][]*balancer.Channel {
	var places [][]*balancer.Channel
	s.Channels(func(_ string, group, number int, _ balancer.Mode, channel *balancer.Channel) {
		if number == 0 {
			places = append(places, nil)
		}
		places[group] = append(places[group], channel)
	})
	return places
}

// sit gives a channel a session, whatever other channels there are.
func (s *seating) sit(channel *balancer.Channel) {
	s.t.Helper()
	only := balancer.NewRouter([]balancer.Group{{Channels: []*balancer.Channel{channel}}}, balancer.Options{}, nil)
	session := &seated{route: only.Route(balancer.Client{Addr: netip.AddrFrom4([4]byte{10, 0, 0, 1})}, 0), channel: channel}
	if session.route.Next(0) != balancer.Dial {
		s.t.Fatalf("%s takes no session", channel.Key())
	}
	s.sessions = append(s.sessions, session)
}

// TestContinuedChannels is about where the channels of an old configuration
// stand in a new one. A star is a channel with a session, which has to be found
// where the new configuration has a star; the keys are those of the new channels.
func TestContinuedChannels(t *testing.T) {
	for _, c := range []struct{ name, old, new, keys string }{
		{"the same", "a b a", "a b a", "a b a#2"},
		{"to an earlier group", "b ! a:1*", "b a- ! a:1*", "b a#2 ! a"},
		{"to a later group", "a:1*", "a:1* ! a", "a ! a#2"},
		{"before it in its group", "a:1*", "a- a:1*", "a#2 a"},
		{"a group before it", "b ! a:1*", "b ! a ! a:1*", "b ! a#2 ! a"},
		{"a group before both", "a* ! a:1*", "b ! a* ! a:1*", "b ! a ! a#2"},
		{"disabled, and another group behind it", "a*", "a-* ! a", "a ! a#2"},
		{"raised, and another group behind it", "a:1*", "a:5 ! a:1*", "a#2 ! a"},
		{"raised without sessions, and another group behind it", "a:1", "a:5 ! a:1", "a ! a#2"},
		{"groups before it, as declared first", "b ! a:1*", "a:1- ! b ! a:1*", "a#2 ! b ! a"},
		{"groups before it, without sessions", "b ! a:1", "a:2 ! b ! a:1", "a#2 ! b ! a"},
		{"the same in its group comes first", "b ! a:1*", "b a:1 ! a:1*", "b a#2 ! a"},
		{"another in its group comes first", "b ! a:1*", "b a ! a:2*", "b a#2 ! a"},
		{"a repeat less, and the second has sessions", "a:1 a:1*", "a:1*", "a#2"},
		{"a repeat less, and the first has sessions", "a:1* a:1", "a:1*", "a"},
		{"a repeat less of another limit", "a:1 a:2*", "a:2*", "a#2"},
		{"the group of the idle one goes", "a ! a:1*", "a:1*", "a#2"},
		{"the limit of the first changes", "a:1* a:1", "a:2* a:1", "a a#2"},
		{"the limit of the first becomes that of the second", "a:1* a:2", "a:2* a:2", "a a#2"},
		{"the limit of the second becomes that of the first", "a:1* a:2", "a:1* a:1", "a a#2"},
		{"a limit becomes that of another group", "a:1* ! a:2", "a:2* ! a:2", "a ! a#2"},
		{"exchanged in the group", "a:1* a:2", "a:2 a:1*", "a#2 a"},
		{"moved to another group", "a:1* b ! c", "b ! c a:1*", "b ! c a"},
		{"moved behind one like it", "a:1* b ! a", "b ! a a:1*", "b ! a#2 a"},
		{"removed from its group, idle", "a ! a b", "a ! b", "a ! b"},
		{"the lowest free number", "a a a", "b a a", "b a a#2"},
		{"a repeat less, and the limit of another changes", "a:1 a:2* a:3", "a:2* a:4", "a#2 a"},
		{"one address, spelled alike", "a b ! b a:1*", "c b ! b a:1* a", "c b ! b#2 a#2 a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSeating(t)
			s.apply(c.old)
			stars := func(text string) (list [][]bool) {
				for _, part := range strings.Split(text, "!") {
					var g []bool
					for _, word := range strings.Fields(part) {
						g = append(g, strings.HasSuffix(word, "*"))
					}
					list = append(list, g)
				}
				return list
			}
			for g, group := range stars(c.old) {
				for i, star := range group {
					if star {
						s.sit(s.places()[g][i])
					}
				}
			}
			s.apply(c.new)
			for g, group := range s.places() {
				for i, channel := range group {
					if want := stars(c.new)[g][i]; (channel.Active() == 1) != want {
						t.Errorf("group %d channel %d has %d sessions, want some: %t", g, i, channel.Active(), want)
					}
				}
			}
			if got := s.keys(); got != c.keys {
				t.Errorf("keys %q, want %q", got, c.keys)
			}
		})
	}
}

// keys lists the identities of the channels in the form of parseGroups.
func (s *seating) keys() string {
	var keys []string
	for g, group := range s.places() {
		if g > 0 {
			keys = append(keys, "!")
		}
		for _, channel := range group {
			key := channel.Key()
			letter, _ := strconv.Atoi(strings.TrimPrefix(key.Host, "192.0.2."))
			word := string(rune(letter))
			if key.Nth > 0 {
				word += fmt.Sprintf("#%d", key.Nth+1)
			}
			keys = append(keys, word)
		}
	}
	return strings.Join(keys, " ")
}

// A channel keeps its number while others come and go; the number of one that
// has gone is given again.
func TestNumbersOfRepeats(t *testing.T) {
	s := newSeating(t)
	for _, step := range []struct{ groups, keys string }{
		{"a:1 a:2 ! a:3", "a a#2 ! a#3"},
		{"a:2 ! a:3", "a#2 ! a#3"},
		{"a:2 ! a:3 a:4", "a#2 ! a#3 a"},
		{"a:5 a:2 ! a:3 a:4", "a#4 a#2 ! a#3 a"},
		{"a:3", "a#4"},
		{"b", "b"},
		{"a:3 a:2", "a a#2"},
	} {
		s.apply(step.groups)
		if got := s.keys(); got != step.keys {
			t.Errorf("%q: keys %q, want %q", step.groups, got, step.keys)
		}
	}
}

// TestIdentityHolds goes through random sequences of configurations, edits and
// sessions.
func TestIdentityHolds(t *testing.T) {
	for seed := range uint64(150) {
		s := newSeating(t)
		random := rand.New(rand.NewPCG(seed, 3))
		config := randomGroups(random)
		s.change(config, false)
		for step := range 60 {
			where := fmt.Sprintf("seed %d step %d", seed, step)
			switch random.IntN(8) {
			case 0, 1, 2:
				s.admit(where)
			case 3:
				s.leave(random)
			case 4, 5:
				config = s.edited(random)
				s.change(config, true).check(where)
			case 6:
				config = mutated(random, s.Config().Listeners[0])
				s.change(config, false).check(where)
			case 7:
				config = randomGroups(random)
				s.change(config, false).check(where)
			}
			s.count(where)
			if t.Failed() {
				return
			}
		}
	}
}

func randomChannel(random *rand.Rand) spec.Channel {
	return spec.Channel{Host: fmt.Sprintf("192.0.2.%d", 1+random.IntN(2)), Port: 80, MaxConns: random.IntN(3), Disabled: random.IntN(5) == 0}
}

func randomGroup(random *rand.Rand) (g spec.Group) {
	g.Mode = balancer.Mode(random.IntN(2))
	for range 1 + random.IntN(3) {
		g.Channels = append(g.Channels, randomChannel(random))
	}
	return g
}

func randomGroups(random *rand.Rand) spec.Listener {
	l := ungrouped()
	for range 1 + random.IntN(3) {
		l.Groups = append(l.Groups, randomGroup(random))
	}
	return l
}

// copied shares no groups with the original.
func copied(l spec.Listener) spec.Listener {
	l.Groups = slices.Clone(l.Groups)
	for g := range l.Groups {
		l.Groups[g].Channels = slices.Clone(l.Groups[g].Channels)
	}
	return l
}

// edited is what a command of the shell would make of the configuration: one
// channel is changed, or one more stands at the end of its group.
func (s *seating) edited(random *rand.Rand) spec.Listener {
	l := copied(s.Config().Listeners[0])
	g := &l.Groups[random.IntN(len(l.Groups))]
	c := &g.Channels[random.IntN(len(g.Channels))]
	switch random.IntN(4) {
	case 0:
		g.Channels = append(g.Channels, randomChannel(random))
	case 1:
		*c = randomChannel(random)
	case 2:
		c.MaxConns = random.IntN(3)
	case 3:
		g.Mode = balancer.Mode(random.IntN(2))
	}
	return l
}

// mutated is what a hand at the file might make of it.
func mutated(random *rand.Rand, l spec.Listener) spec.Listener {
	l = copied(l)
	at := random.IntN(len(l.Groups))
	g := &l.Groups[at]
	switch random.IntN(5) {
	case 0:
		l.Groups = slices.Insert(l.Groups, at, randomGroup(random))
	case 1:
		if len(l.Groups) > 1 {
			l.Groups = slices.Delete(l.Groups, at, at+1)
		}
	case 2:
		g.Channels = slices.Insert(g.Channels, random.IntN(len(g.Channels)+1), randomChannel(random))
	case 3:
		if len(g.Channels) > 1 {
			g.Channels = slices.Delete(g.Channels, 0, 1)
		}
	case 4:
		random.Shuffle(len(l.Groups), func(i, j int) { l.Groups[i], l.Groups[j] = l.Groups[j], l.Groups[i] })
	}
	return l
}

// transition is one step from one configuration to the next.
type transition struct {
	*seating
	edited           bool
	changes          spec.Changes
	old, new         []spec.Group
	before, after    [][]*balancer.Channel
	sessions         map[*balancer.Channel]int
	previewed, again spec.Changes
}

func (s *seating) change(l spec.Listener, edited bool) *transition {
	s.t.Helper()
	n := &transition{seating: s, edited: edited, new: l.Groups, before: s.places(), sessions: map[*balancer.Channel]int{}}
	if old := s.Config(); old != nil {
		n.old = old.Listeners[0].Groups
	}
	for _, session := range s.sessions {
		n.sessions[session.channel]++
	}
	var err error
	if n.previewed, err = s.Preview(declare(l)); err != nil {
		s.t.Fatal(err)
	}
	if edited {
		n.changes, err = s.Edit(context.Background(), func(c *spec.Config) error {
			c.Listeners[0] = copied(l)
			return nil
		})
	} else {
		n.changes, err = s.Apply(context.Background(), declare(l))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	n.after = s.places()
	if n.again, err = s.Apply(context.Background(), declare(copied(l))); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// check asks for what must be so after each change.
func (n *transition) check(where string) {
	n.t.Helper()
	fail := func(format string, args ...any) {
		n.t.Helper()
		n.t.Errorf("%s: %s\nbefore %+v\nafter %+v\nchanges\n%s", where, fmt.Sprintf(format, args...), n.old, n.new, n.changes)
	}
	if !n.edited && n.previewed.String() != n.changes.String() {
		fail("the preview was\n%s", n.previewed)
	}
	if len(n.again) > 0 || !slices.EqualFunc(n.after, n.places(), slices.Equal) {
		fail("the same again changes\n%s", n.again)
	}
	was, is := map[*balancer.Channel][2]int{}, map[*balancer.Channel][2]int{}
	for g := range n.before {
		for i, c := range n.before[g] {
			was[c] = [2]int{g, i}
		}
	}
	keys, added := map[balancer.Key]bool{}, map[balancer.Key]bool{}
	for g := range n.after {
		for i, c := range n.after[g] {
			is[c] = [2]int{g, i}
			declared := n.new[g].Channels[i]
			if keys[c.Key()] {
				fail("two channels are %s", c.Key())
			}
			keys[c.Key()] = true
			if _, known := was[c]; !known {
				added[balancer.Key{Host: c.Key().Host, Port: c.Key().Port}] = true
				if c.Active() > 0 || c.Counters.Sessions.Load() > 0 {
					fail("%s is new and has sessions", c.Key())
				}
			}
			if c.Key().Host != declared.Host || c.Limit() != declared.MaxConns {
				fail("group %d channel %d is %s with the limit %d", g, i, c.Key(), c.Limit())
			}
		}
	}
	said := func(channel *balancer.Channel, key string) bool {
		return slices.ContainsFunc(n.changes, func(c spec.Change) bool { return c.Channel == channel.Key().String() && c.Key == key })
	}
	for channel, from := range was {
		to, stays := is[channel]
		old := n.old[from[0]].Channels[from[1]]
		if !stays {
			if added[balancer.Key{Host: old.Host, Port: old.Port}] {
				fail("%s was removed, and another one of its address added", channel.Key())
			}
			continue
		}
		new := n.new[to[0]].Channels[to[1]]
		if from[0] != to[0] && !said(channel, "group") {
			fail("%s went from group %d to %d, and nothing is said of it", channel.Key(), from[0], to[0])
		}
		if old.MaxConns != new.MaxConns && !said(channel, "maxc") || old.Disabled != new.Disabled && !said(channel, "disabled") {
			fail("%s changed from %+v to %+v, and nothing is said of it", channel.Key(), old, new)
		}
		// While its group declares as many like it, it is one of them.
		if from[0] < len(n.new) && declares(n.new[from[0]], old) >= declares(n.old[from[0]], old) && (from[0] != to[0] || old != new) {
			fail("%s went from group %d to %d, from %+v to %+v", channel.Key(), from[0], to[0], old, new)
		}
		// A limit that holds for running sessions is changed only if the
		// configuration has no place for them any more where it would not be.
		if n.sessions[channel] > 0 && old.MaxConns != new.MaxConns && limits(n.new, old) >= limits(n.old, old) {
			fail("%s has sessions and went from %+v to %+v", channel.Key(), old, new)
		}
	}
	if !n.edited {
		return
	}
	for g := range n.old {
		for i, old := range n.old[g].Channels {
			if n.new[g].Channels[i] == old && n.before[g][i] != n.after[g][i] {
				fail("group %d channel %d was not edited and is another one", g, i)
			}
		}
	}
}

func declares(g spec.Group, channel spec.Channel) (n int) {
	for _, c := range g.Channels {
		if c == channel {
			n++
		}
	}
	return n
}

// limits returns how many places there are with the address and limit.
func limits(groups []spec.Group, channel spec.Channel) (n int) {
	for _, g := range groups {
		for _, c := range g.Channels {
			if c.Host == channel.Host && c.MaxConns == channel.MaxConns {
				n++
			}
		}
	}
	return n
}

// admit lets a client in, if there is a place.
func (s *seating) admit(where string) {
	s.t.Helper()
	s.clients++
	session := &seated{route: s.listener.Service().Router.Route(balancer.Client{Addr: netip.AddrFrom4([4]byte{10, 0, 0, s.clients})}, 0)}
	if session.route.Next(0) != balancer.Dial {
		return
	}
	session.route.Connected(0, 0)
	channel := session.route.Channel()
	session.channel = channel
	s.sessions = append(s.sessions, session)
	if channel.Limit() > 0 && channel.Active() > channel.Limit() {
		s.t.Errorf("%s: %s has %d sessions, limit %d", where, channel.Key(), channel.Active(), channel.Limit())
	}
	if g := session.route.Group(); !slices.Contains(s.places()[g], channel) {
		s.t.Errorf("%s: %s is not in group %d", where, channel.Key(), g)
	}
}

// leave ends a session.
func (s *seating) leave(random *rand.Rand) {
	if len(s.sessions) == 0 {
		return
	}
	i := random.IntN(len(s.sessions))
	s.sessions[i].route.Close(0)
	s.sessions = slices.Delete(s.sessions, i, i+1)
}

// count compares what the channels count with the sessions that there are.
func (s *seating) count(where string) {
	s.t.Helper()
	sessions := map[*balancer.Channel]int{}
	for _, session := range s.sessions {
		sessions[session.channel]++
	}
	for _, group := range s.places() {
		for _, channel := range group {
			if channel.Active() != sessions[channel] {
				s.t.Errorf("%s: %s counts %d sessions of %d", where, channel.Key(), channel.Active(), sessions[channel])
			}
			delete(sessions, channel)
		}
	}
	for channel, n := range sessions { // what is left runs on channels that are gone
		if channel.Standing(1).State != balancer.StateRemoved || channel.Active() != n {
			s.t.Errorf("%s: %s counts %d sessions of %d, and is removed: %t", where, channel.Key(), channel.Active(), n, channel.Standing(1).State == balancer.StateRemoved)
		}
	}
}
