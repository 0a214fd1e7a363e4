package balancer

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// told is a channel as it is told of, in plain values.
type told struct {
	group                                  int
	disabled, draining, auto, down, nohost bool
	failing, held, tested, healthy         bool
	row, strikes                           int
	until                                  int64
	limit, taken, weight                   int
	news                                   int // what makes earlier dials old news
}

func (m *told) enabled() bool { return !m.disabled && !m.draining && !m.auto }
func (m *told) full() bool    { return m.limit > 0 && m.taken >= m.limit }

func (m *told) state(now int64) State {
	switch {
	case m.draining && m.taken > 0:
		return StateDraining
	case m.auto:
		return StateAutoDisabled
	case m.disabled || m.draining:
		return StateDisabled
	case m.nohost:
		return StateUnresolved
	case m.down:
		return StateDown
	case m.held && m.until > now:
		return StateHeld
	case m.failing:
		return StateFailing
	case m.weight == 0:
		return StateWeightless
	case m.full():
		return StateFull
	case !m.tested && !m.healthy:
		return StateUntested
	}
	return StateUp
}

// forgive is what the operator's enabling and a new declaration do.
func (m *told) forgive() {
	if m.failing {
		m.tested = false
	}
	m.failing, m.held, m.row, m.strikes, m.auto = false, false, 0, 0, false
	m.news++
}

// walk is a client's search: what it has tried, and what it was not given as it
// was held off when its turn came.
type walk struct {
	route  Route
	client Client
	tried  []*Channel
	owed   []*Channel
	news   int
}

// ahead returns the channels that the walk has still to come by.
func (w *walk) ahead() (list []*Channel) {
	return w.route.rest()
}

// model compares a router with what was told of its channels.
type model struct {
	halves   []int // whom the groups are for
	t        *testing.T
	options  Options
	router   *Router
	channels []*Channel
	told     map[*Channel]*told
	now      int64
	dialling []*walk
	sessions []*Channel
}

func (m *model) panicking(group int) bool {
	enabled, up := 0, 0
	for _, c := range m.told {
		if c.group == group && c.enabled() && c.weight > 0 {
			enabled++
			if !c.down {
				up++
			}
		}
	}
	return 100*up < m.options.Panic*enabled
}

// servable reports whether a client could be given the channel but for hold-off.
func (m *model) servable(c *Channel) bool {
	t := m.told[c]
	return t.enabled() && !t.nohost && t.weight > 0 && !t.full() && (!t.down || m.panicking(t.group))
}

func (m *model) held(c *Channel) bool { return m.told[c].held && m.told[c].until > m.now }

// preferred is weighted rendezvous hashing as it is defined, in floating point.
func preferred(channels []*Channel, client uint64) *Channel {
	return slices.MinFunc(channels, func(a, b *Channel) int {
		of := func(c *Channel) float64 {
			return -math.Log((float64(score(c.hash, client))+1)/(1<<64)) / float64(c.Weight())
		}
		if a.Weight() == b.Weight() {
			return cmp.Compare(score(b.hash, client), score(a.hash, client))
		}
		return cmp.Compare(of(a), of(b))
	})
}

// halves are whom groups are for: everybody, or one half of the clients.
var halves = []half{
	{nil, func(byte) bool { return true }},
	{NewAudience(nil, nil, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/25")}), func(last byte) bool { return last < 128 }},
	{NewAudience(nil, nil, []netip.Prefix{netip.MustParsePrefix("10.0.0.128/25")}), func(last byte) bool { return last >= 128 }},
}

type half struct {
	audience *Audience
	has      func(last byte) bool
}

// isFor reports whether the group is for the client.
func (m *model) isFor(group int, client Client) bool {
	return halves[m.halves[group]].has(client.Addr.As4()[3])
}

// offered reports whether the group would offer its channel to the client at all.
func (m *model) offered(c *Channel, client Client) bool {
	if !m.isFor(m.told[c].group, client) {
		return false
	}
	group := m.router.groups[m.told[c].group]
	if group.Mode != Hash || m.options.HashFailover {
		return true
	}
	best := preferred(group.Channels, hashAddr(client.Addr, 0, 0))
	return c == best
}

// step has the walk go on by a step, and checks which.
func (m *model) step(w *walk) {
	before := w.ahead()
	verdicts := m.router.Why(w.client, m.now)
	fresh := len(w.tried) == 0
	step := w.route.Next(m.now)
	chosen := w.route.Channel()
	if step == Dial != (chosen != nil) {
		m.t.Fatalf("step %d with %v", step, chosen)
	}
	if fresh {
		last := Verdict{}
		if len(verdicts) > 0 {
			last = verdicts[len(verdicts)-1]
		}
		if chosen == nil && last.Reason == Chosen && len(verdicts) > 0 || chosen != nil && (last.Channel != chosen || last.Reason != Chosen || last.Group != w.route.Group()) {
			m.t.Fatalf("why says %+v, the client got %v", verdicts, chosen)
		}
	}
	after := w.ahead()
	for _, c := range before {
		if c == chosen || slices.Contains(after, c) || !m.servable(c) {
			continue
		}
		if !m.held(c) {
			m.t.Fatalf("%s was passed over, and %v chosen", c.Key(), chosen)
		}
		w.owed = append(w.owed, c)
	}
	if chosen == nil {
		for _, c := range m.channels {
			if m.servable(c) && slices.Contains(w.owed, c) && !slices.Contains(w.tried, c) {
				m.t.Fatalf("%s was held off, and the client turned away", c.Key())
			}
		}
		if rejection, want := w.route.Rejection(), m.rejection(w); rejection != want {
			m.t.Fatalf("turned away as %s, want %s", rejection, want)
		}
		return
	}
	if !m.servable(chosen) || !m.offered(chosen, w.client) {
		m.t.Fatalf("%s was given out: %+v", chosen.Key(), m.told[chosen])
	}
	if slices.Contains(w.tried, chosen) {
		m.t.Fatalf("%s was given out twice", chosen.Key())
	}
	if m.held(chosen) {
		for _, c := range m.channels {
			if !m.servable(c) || !m.offered(c, w.client) || slices.Contains(w.tried, c) || c == chosen {
				continue
			}
			if t := m.told[c]; !t.held || t.until < m.told[chosen].until {
				m.t.Fatalf("%s was given out though %s is free sooner", chosen.Key(), c.Key())
			}
		}
	}
	w.tried = append(w.tried, chosen)
	m.told[chosen].taken++
	w.news = m.told[chosen].news
	m.dialling = append(m.dialling, w)
}

func (m *model) rejection(w *walk) Rejection {
	if len(w.tried) > 0 {
		return NoneAnswered
	}
	rejection := NoneInService
	if len(m.halves) > 0 {
		rejection = ForOthers
	}
	for g := range m.halves {
		if m.isFor(g, w.client) {
			rejection = NoneInService
		}
	}
	for _, t := range m.told {
		switch {
		case !m.isFor(t.group, w.client):
		case !t.enabled() || t.nohost:
		case t.weight == 0 && !(t.down && !m.panicking(t.group)):
		case t.down && !m.panicking(t.group):
			rejection = AllDown
		case t.full():
			return AllFull
		}
	}
	return rejection
}

func (m *model) fails(w *walk) {
	c := w.route.Channel()
	t := m.told[c]
	change := w.route.Failed(errRefused, m.now)
	t.taken--
	want := Unchanged
	if w.news == t.news {
		t.news++
		switch {
		case m.options.AutoDisable && !t.auto:
			want = Disabled
		case !t.failing:
			want = Failing
		}
		if !t.failing && m.now-t.until > int64(m.options.HoldOffMax) {
			t.strikes = 0
		}
		t.failing, t.tested, t.auto = true, true, t.auto || m.options.AutoDisable
		t.row++
		t.strikes++
		d := min(m.options.HoldOff<<min(t.strikes-1, 20), m.options.HoldOffMax)
		if d > 0 {
			t.held, t.until = true, c.until.Load()
			if off := time.Duration(t.until-m.now) - d; off < -d/5-1 || off > d/5+1 {
				m.t.Fatalf("%s is held off for %s after %d failures", c.Key(), d+off, t.strikes)
			}
		}
	}
	if change != want {
		m.t.Fatalf("change %d of %s, want %d", change, c.Key(), want)
	}
}

func (m *model) answers(c *Channel, change Change, client bool) {
	t := m.told[c]
	want := Unchanged
	if client && (t.failing || !t.tested) {
		t.strikes = 0
	}
	if t.failing {
		want = Recovered
		t.news++
	}
	t.failing, t.held, t.row, t.tested = false, false, 0, true
	if change != want {
		m.t.Fatalf("change %d of %s, want %d", change, c.Key(), want)
	}
}

// check compares what the channels say of themselves.
func (m *model) check() {
	usable := false
	for _, c := range m.channels {
		t := m.told[c]
		if got, want := c.Standing(m.now).State, t.state(m.now); got != want {
			m.t.Fatalf("%s is %s, want %s: %+v", c.Key(), got, want, t)
		}
		if c.Active() != t.taken {
			m.t.Fatalf("%s: %d taken, want %d", c.Key(), c.Active(), t.taken)
		}
		usable = usable || t.enabled() && !t.nohost && t.weight > 0 && (!t.down || m.panicking(t.group))
	}
	if m.router.Usable() != usable {
		m.t.Fatalf("usable %t", !usable)
	}
}

// FuzzRoute plays random sequences against the model: dials that fail and answer
// at the same time, time that passes, words of the operator and of checks, limits.
func FuzzRoute(f *testing.F) {
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 3))
		data := make([]byte, 1500)
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		pick := func(n int) int { // 0 once the data are at their end
			if len(data) == 0 || n == 0 {
				return 0
			}
			b := data[0]
			data = data[1:]
			return int(b) % n
		}
		m := &model{t: t, told: map[*Channel]*told{}, now: 1}
		m.options = Options{
			AutoDisable: pick(8) == 0, HashFailover: pick(2) == 0,
			HoldOff: time.Duration(pick(4)) * time.Second, HoldOffMax: 10 * time.Second, Panic: []int{0, 50, 100}[pick(3)],
		}
		var groups []Group
		for g := range 1 + pick(3) {
			group := Group{Mode: Mode(pick(len(allModes)))}
			half := 0
			if pick(2) == 0 {
				half = pick(len(halves))
			}
			group.For = halves[half].audience
			m.halves = append(m.halves, half)
			for i := range pick(5) {
				c := NewChannel(Key{Host: fmt.Sprintf("h%d-%d", g, i), Port: 1})
				c.SetAddresses(somewhere)
				limit := pick(4)
				c.SetLimit(limit)
				group.Channels = append(group.Channels, c)
				m.channels = append(m.channels, c)
				m.told[c] = &told{group: g, limit: limit, weight: 1}
			}
			groups = append(groups, group)
		}
		m.router = NewRouter(groups, m.options, nil)
		for len(data) > 0 && len(m.channels) > 0 {
			c := m.channels[pick(len(m.channels))]
			mt := m.told[c]
			switch pick(16) {
			case 0, 1, 2, 3, 4: // a client comes
				w := &walk{client: Client{Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(pick(256))})}}
				w.route = m.router.Route(w.client, m.now)
				m.step(w)
			case 5, 6, 7, 8: // a dial comes to its end
				if len(m.dialling) == 0 {
					break
				}
				i := pick(len(m.dialling))
				w := m.dialling[i]
				m.dialling = slices.Delete(m.dialling, i, i+1)
				if pick(4) == 0 {
					dialled := w.route.Channel()
					m.answers(dialled, w.route.Connected(0, m.now), true)
					m.sessions = append(m.sessions, dialled)
					break
				}
				m.fails(w)
				m.step(w)
			case 9:
				if len(m.sessions) > 0 {
					i := pick(len(m.sessions))
					m.sessions[i].Leave(m.now)
					m.told[m.sessions[i]].taken--
					m.sessions = slices.Delete(m.sessions, i, i+1)
				}
			case 10:
				m.now += int64(time.Duration(pick(256)) * 20 * time.Millisecond)
			case 11:
				switch pick(3) {
				case 0:
					c.Disable()
					mt.disabled, mt.draining = true, false
				case 1:
					c.Drain()
					mt.draining, mt.disabled = true, true
				case 2:
					c.Forgive()
					mt.forgive()
				}
			case 12:
				c.Enable()
				mt.disabled, mt.draining = false, false
				mt.forgive()
			case 13:
				mt.down = pick(2) == 0
				health := Unhealthy
				if !mt.down {
					health = Health(pick(2))
				}
				mt.healthy = health == Healthy
				c.SetHealth(health, m.now, "")
			case 14:
				mt.limit = pick(4)
				c.SetLimit(mt.limit)
			case 15:
				switch pick(3) {
				case 0:
					m.answers(c, c.Answers(m.now), false)
				case 2:
					mt.weight = pick(3)
					c.SetWeight(mt.weight)
				case 1:
					mt.nohost = !mt.nohost
					if mt.nohost {
						c.SetAddresses(nil)
					} else {
						c.SetAddresses(somewhere)
					}
				}
			}
			m.router.Review()
			m.check()
		}
	})
}
