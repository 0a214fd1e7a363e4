package spec

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"balance/engine/balancer"
)

// Sign is what kind of change a Change is.
type Sign string

// The signs, as they are printed.
const (
	Added   Sign = "+"
	Removed Sign = "-"
	Changed Sign = "~"
)

// Change is one difference between two configurations. Fields that do not
// apply are empty.
type Change struct {
	Sign Sign `json:"sign"`
	// Listener is the name of the listener: the new one, unless it is
	// removed. Empty for settings of the daemon.
	Listener string `json:"listener,omitempty"`
	// Group is the number of the group: the new one, unless the group or
	// channel is removed.
	Group *int `json:"group,omitempty"`
	// Channel is host:port of the channel.
	Channel string `json:"channel,omitempty"`
	// Key names the setting that changed.
	Key string `json:"key,omitempty"`
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
	// Detail tells more about what is added or removed.
	Detail string `json:"detail,omitempty"`
	// Sessions is how many running sessions the change concerns, where that
	// is known.
	Sessions int `json:"sessions,omitempty"`

	Live       bool         `json:"-"` // it concerns all sessions of the old listener
	Before     int          `json:"-"` // index of the old listener, or -1
	ChannelKey balancer.Key `json:"-"` // of the channel
}

// String returns the change as one line.
func (c Change) String() string {
	words := []string{string(c.Sign)}
	add := func(more ...string) { words = append(words, more...) }
	if c.Listener != "" {
		if c.Group == nil && c.Channel == "" && c.Key == "" {
			add("listener")
		}
		add(c.Listener)
	}
	if c.Group != nil {
		add("group", strconv.Itoa(*c.Group))
	}
	if c.Channel != "" {
		add("channel", c.Channel)
	}
	if c.Key != "" {
		add(c.Key)
	}
	switch {
	case c.Sign == Changed && c.Detail == "":
		add(orNone(c.Old), "→", orNone(c.New))
	case c.Detail != "":
		add(c.Detail)
	}
	switch {
	case c.Sessions == 1:
		add("(1 session)")
	case c.Sessions > 1:
		add(fmt.Sprintf("(%d sessions)", c.Sessions))
	}
	return strings.Join(words, " ")
}

func orNone(value string) string {
	if value == "" {
		return "none"
	}
	return value
}

// ListChange returns that a file of networks which a listener has named before holds
// others now: it is no difference between two configurations, but of what they name.
func ListChange(listener string, before int, key Key, file string, added, gone int) Change {
	networks := "networks"
	if added == 1 {
		networks = "network"
	}
	return Change{Sign: Changed, Listener: listener, Key: key.Label(), Detail: fmt.Sprintf("%q: %d %s added, %d gone", file, added, networks, gone), Before: before}
}

// isOfList reports whether the change is one that ListChange returns.
func (c Change) isOfList() bool { return c.Sign == Changed && c.Detail != "" }

// Changes are the differences between two configurations, in the order of the
// file.
type Changes []Change

// Routing reports whether any of the changes touches who is served by whom, and
// how: what is of listeners, and what bounds all of them. The log and the control
// socket do not.
func (cs Changes) Routing() bool {
	return slices.ContainsFunc(cs, func(c Change) bool {
		table, _, _ := strings.Cut(c.Key, " ")
		return c.Listener != "" || table != string(LogTable) && table != string(ControlTable)
	})
}

// Declared returns those that are differences between the configurations themselves,
// and not of files that they name.
func (cs Changes) Declared() Changes { return slices.DeleteFunc(slices.Clone(cs), Change.isOfList) }

// String returns one line a change.
func (cs Changes) String() string {
	var b strings.Builder
	for _, c := range cs {
		fmt.Fprintln(&b, c)
	}
	return b.String()
}

// changed calls yield for each setting in which the two differ, but those that
// say what they are, with their printable texts. Where the text does not tell in
// what they differ, as that of headers, the new one says so.
func changed[T any](settings []Setting[T], old, new *T, yield func(s Setting[T], old, new string)) {
	for _, s := range settings {
		if s.Is(Identity) || s.same(old, new) {
			continue
		}
		before, after := printable(s.Text(old)), printable(s.Text(new))
		if before == after {
			after += " (other values)"
		}
		yield(s, before, after)
	}
}

// shortDuration prints 1h0m0s as 1h.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Diff returns what has to change to get from the old configuration, which may
// be nil, to the new one. It is empty exactly if applying new over old would
// change nothing.
func Diff(old, new *Config) Changes {
	if old == nil {
		return Succeed(nil, new.Listeners, false, nil).Diff(nil, new)
	}
	return Succeed(old.Listeners, new.Listeners, false, func(k int) (Keys, func(balancer.Key) bool) {
		return old.Listeners[k].keys(), func(balancer.Key) bool { return false }
	}).Diff(old, new)
}

// Diff is the function of that name, where it is known what of the old configuration goes on.
func (s *Succession) Diff(old, new *Config) Changes {
	var d differ
	if old == nil {
		old = &Config{}
	} else {
		changed(DaemonSettings, old, new, func(s Setting[Config], a, b string) {
			d.add(Change{Sign: Changed, Key: s.Key.String(), Old: a, New: b, Before: -1})
		})
	}
	for i := range old.Listeners {
		if !slices.Contains(s.Matches, i) {
			l := &old.Listeners[i]
			d.add(Change{Sign: Removed, Listener: l.Name, Detail: strings.Join(l.Listen, " "), Before: i, Live: true})
		}
	}
	for i := range new.Listeners {
		l := &new.Listeners[i]
		switch k := s.Matches[i]; {
		case k < 0:
			d.add(Change{Sign: Added, Listener: l.Name, Detail: strings.Join(l.Listen, " "), Before: -1})
			d.groups(&Listener{}, l, nil, s.New[i], -1)
		case !s.Same[i]:
			d.listener(&old.Listeners[k], l, s.Old[k], s.New[i], k)
		}
	}
	return d.changes
}

type differ struct{ changes Changes }

func (d *differ) add(c Change) { d.changes = append(d.changes, c) }

func (d *differ) listener(old, new *Listener, oldKeys, newKeys Keys, oldIndex int) {
	for _, address := range old.Listen {
		if !slices.Contains(new.Listen, address) {
			d.add(Change{Sign: Removed, Listener: new.Name, Key: "listen", Detail: address, Before: oldIndex})
		}
	}
	for _, address := range new.Listen {
		if !slices.Contains(old.Listen, address) {
			d.add(Change{Sign: Added, Listener: new.Name, Key: "listen", Detail: address, Before: oldIndex})
		}
	}
	changed(ListenerSettings, old, new, func(s Setting[Listener], a, b string) {
		d.add(Change{Sign: Changed, Listener: new.Name, Key: s.Label(), Old: a, New: b, Before: oldIndex, Live: s.Is(Live)})
	})
	d.groups(old, new, oldKeys, newKeys, oldIndex)
}

func (d *differ) groups(old, new *Listener, oldKeys, newKeys Keys, oldIndex int) {
	oldPlaces, newPlaces := oldKeys.Places(), newKeys.Places()
	for key, at := range oldKeys.All {
		if _, stays := newPlaces[key]; !stays {
			group := at.Group
			d.add(Change{Sign: Removed, Listener: new.Name, Group: &group, Channel: key.String(), Before: oldIndex, ChannelKey: key})
		}
	}
	for g := len(new.Groups); g < len(old.Groups); g++ {
		d.add(Change{Sign: Removed, Listener: new.Name, Group: &g, Detail: old.Groups[g].Mode.String(), Before: oldIndex})
	}
	was, now := both(oldKeys, newPlaces), both(newKeys, oldPlaces)
	for g := range new.Groups {
		d.group(old, new, g, oldIndex, was[g], now[g])
	}
	for key, at := range newKeys.All {
		channel := &new.Groups[at.Group].Channels[at.Index]
		was, known := oldPlaces[key]
		c := Change{Listener: new.Name, Group: &at.Group, Channel: key.String(), Before: oldIndex, ChannelKey: key}
		if !known {
			c.Sign, c.Detail = Added, describe(&new.Groups[at.Group], channel)
			d.add(c)
			continue
		}
		c.Sign = Changed
		if was.Group != at.Group {
			moved := c
			moved.Group, moved.Key, moved.Old, moved.New = nil, "group", strconv.Itoa(was.Group), strconv.Itoa(at.Group)
			d.add(moved)
		}
		before := &old.Groups[was.Group].Channels[was.Index]
		changed(ChannelSettings, before, channel, func(s Setting[Channel], a, b string) {
			if s.Key == KeySendProxy && before.SendProxy == old.Groups[was.Group].SendProxy && channel.SendProxy == new.Groups[at.Group].SendProxy {
				return // it is that of its group as ever
			}
			c.Key, c.Old, c.New = s.Name(), a, b
			d.add(c)
		})
	}
}

// both lists the channels of each group that are in the group with that number
// of the other configuration, too.
func both(keys Keys, others map[balancer.Key]Place) map[int][]string {
	kept := map[int][]string{}
	for key, at := range keys.All {
		if other, stays := others[key]; stays && other.Group == at.Group {
			kept[at.Group] = append(kept[at.Group], key.String())
		}
	}
	return kept
}

// group compares the groups with one number: the mode, the check, and the order
// of the channels that are in both.
func (d *differ) group(old, new *Listener, g, oldIndex int, before, after []string) {
	group := &new.Groups[g]
	c := Change{Sign: Changed, Listener: new.Name, Group: &g, Before: oldIndex}
	if g >= len(old.Groups) {
		c.Sign, c.Detail = Added, group.Mode.String()
		if group.Check.Type != CheckNone {
			c.Detail += " check " + group.Check.Type.String()
		}
		changed(audience, &Group{}, group, func(s Setting[Group], _, value string) { c.Detail += " " + s.Name() + " " + value })
		d.add(c)
		return
	}
	setting := func(key, a, b string) {
		c := c
		c.Key, c.Old, c.New = key, a, b
		d.add(c)
	}
	changed(GroupSettings, &old.Groups[g], group, func(s Setting[Group], a, b string) { setting(s.Name(), a, b) })
	// What is of no use to one of the two is told as the default it would have.
	was, is := old.Groups[g].Check.onto(DefaultCheck()), group.Check.onto(DefaultCheck())
	changed(CheckSettings, &was, &is, func(s Setting[Check], a, b string) { setting(KeyCheck.name+"."+s.Name(), a, b) })
	if !slices.Equal(before, after) {
		setting("order", strings.Join(before, " "), strings.Join(after, " "))
	}
}

// describe tells what of a new channel of a group is not the default.
func describe(g *Group, c *Channel) string {
	var words []string
	changed(c.Settings(), &Channel{SendProxy: g.SendProxy}, c, func(s Setting[Channel], _, value string) {
		words = append(words, s.Name(), orNone(value))
	})
	return strings.Join(words, " ")
}
