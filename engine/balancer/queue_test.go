package balancer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// guest is a client of a listener with a queue, for the reference.
type guest struct {
	name  byte
	route Route
	turn  int // among those who waited, from 1
	woken atomic.Int32
	tried []*Channel
}

func (g *guest) client() Client { return Client{Addr: netip.AddrFrom4([4]byte{10, 0, 0, g.name})} }

func (g *guest) waiter() Waiter { return Waiter{Wake: func() { g.woken.Add(1) }} }

// hall is a queue beside what is plainly true of it.
type hall struct {
	t        *testing.T
	queue    *Queue
	router   *Router
	channels []*Channel
	limits   map[*Channel]int
	holders  map[*Channel]int
	waiting  []*guest // by turn
	dialling []*guest
	running  []*Channel
	size     int
	turns    int
	now      int64
	options  Options
}

func (h *hall) up(c *Channel) bool { return c.Health() != Unhealthy && c.HeldOff(h.now) == 0 }

// serves reports whether the channel is in service, and the guest may have it at all.
func (h *hall) serves(g *guest, c *Channel) bool {
	return h.could(g, c) && c.Enabled() && c.Health() != Unhealthy
}

// full reports whether the channel has as many sessions as its limit, or the part of
// it that it has come to, lets it have.
func (h *hall) full(c *Channel) bool {
	ask := h.router.question(h.router.spots[c].group, h.now)
	return h.limits[c] > 0 && uint64(h.holders[c]) >= ask.most(c, c.state.Load())
}

// could reports whether the channel is one of those that the guest waits for, if they
// are full.
func (h *hall) could(g *guest, c *Channel) bool {
	if slices.Contains(g.tried, c) {
		return false
	}
	at := h.router.spots[c]
	group := h.router.groups[at.group]
	if !slices.ContainsFunc(halves, func(half half) bool { return half.audience == group.For && half.has(g.name) }) {
		return false
	}
	if group.Mode != Hash || h.options.HashFailover {
		return true
	}
	client, ask := hashAddr(g.client().Addr, 0, 0), h.router.question(at.group, h.now)
	of := func(c *Channel) float64 {
		return -math.Log((float64(score(c.hash, client))+1)/(1<<64)) / float64(ask.weight(c, c.state.Load()))
	}
	for _, other := range group.Channels {
		if of(other) < of(c) {
			return false
		}
	}
	return true
}

// bounded reports whether the channel is in a group with a bound on the load, where a
// guest whose own is beyond that may have another.
func (h *hall) bounded(c *Channel) bool {
	return h.router.groups[h.router.spots[c].group].HashLoad > 0
}

// pass has time go on, while the queue is reviewed when it asked for it.
func (h *hall) pass(d time.Duration) {
	until := h.now + int64(d)
	for due := h.queue.Review(h.now); due != 0 && due <= until; due = h.queue.Review(h.now) {
		if due <= h.now {
			h.t.Fatalf("to be reviewed at %d, now is %d", due, h.now)
		}
		h.settle(nil)
		h.now = due - 1
		h.settle(nil)
		h.now = due
	}
	h.now = until
	h.settle(nil)
}

// seated takes note that a guest was given its channel.
func (h *hall) seated(g *guest) {
	c := g.route.Channel()
	if h.full(c) {
		h.t.Fatalf("%s was given out beyond its limit", c.Key())
	}
	if !c.Enabled() || c.Health() == Unhealthy || !h.could(g, c) && !h.bounded(c) {
		h.t.Fatalf("%d was given %s", g.name, c.Key())
	}
	h.holders[c]++
	h.dialling = append(h.dialling, g)
}

// settle takes note of those who were woken, and checks what must hold.
func (h *hall) settle(newcomer *guest) {
	var seated []*guest
	if newcomer != nil && newcomer.route.Channel() != nil {
		seated = append(seated, newcomer)
	}
	h.waiting = slices.DeleteFunc(h.waiting, func(g *guest) bool {
		woken := g.woken.Swap(0)
		switch step := g.route.Woken(); {
		case woken > 1:
			h.t.Fatalf("woken %d times", woken)
		case (step == Wait) != (woken == 0):
			h.t.Fatalf("woken %d times, step %d", woken, step)
		case step == Wait:
			return false
		case step == Reject:
			if slices.ContainsFunc(h.channels, func(c *Channel) bool { return h.serves(g, c) }) {
				h.t.Fatalf("%d is turned away", g.name)
			}
			return true
		}
		seated = append(seated, g)
		return true
	})
	for _, g := range seated {
		h.seated(g)
	}
	for _, g := range seated {
		c := g.route.Channel()
		for _, w := range h.waiting {
			if (g.turn == 0 || w.turn < g.turn) && h.could(w, c) && h.up(c) {
				h.t.Fatalf("%d, whose turn is %d, was given %s, which %d waits for with turn %d", g.name, g.turn, c.Key(), w.name, w.turn)
			}
		}
	}
	for _, w := range h.waiting {
		if !slices.ContainsFunc(h.channels, func(c *Channel) bool { return h.serves(w, c) }) {
			h.t.Fatalf("%d waits for nothing", w.name)
		}
		probe := w.route
		probe.waiting = nil
		if probe.again(); probe.advance(h.now, nil) {
			h.t.Fatalf("%d waits while %s is free", w.name, probe.channel.Key())
		}
	}
	for _, c := range h.channels {
		if c.Active() != h.holders[c] {
			h.t.Fatalf("%s: %d taken, want %d", c.Key(), c.Active(), h.holders[c])
		}
	}
	if h.queue.Len() != len(h.waiting) {
		h.t.Fatalf("%d wait, want %d", h.queue.Len(), len(h.waiting))
	}
	demand := h.queue.Demand()
	for _, c := range h.channels {
		want := 0
		for _, w := range h.waiting {
			if h.could(w, c) {
				want++
			}
		}
		if demand[c] != want {
			h.t.Fatalf("%d wait for %s, want %d", demand[c], c.Key(), want)
		}
	}
	for i, w := range h.queue.Waiting(h.now, 100) {
		if w.Client.Port() != uint16(h.waiting[i].name) {
			h.t.Fatalf("in line: %d at place %d, want %d", w.Client.Port(), i, h.waiting[i].name)
		}
	}
}

// step has the guest take its next step.
func (h *hall) step(g *guest) {
	var spare bool // a channel is worth to be waited for
	for _, c := range h.channels {
		spare = spare || h.could(g, c) && c.Enabled() && h.up(c)
	}
	step := g.route.Next(h.now)
	if step == Wait {
		if h.size == 0 || !spare {
			h.t.Fatalf("%d may wait: %d places, prospects %t", g.name, h.size, spare)
		}
		waiter := g.waiter()
		waiter.Client = netip.AddrPortFrom(g.client().Addr, uint16(g.name))
		room := len(h.waiting) < h.size
		step = g.route.Wait(waiter, h.now)
		if (step == Reject) && (room || g.route.Rejection() != QueueFull) || step == Wait && !room {
			h.t.Fatalf("step %d, rejected as %s, with %d of %d waiting", step, g.route.Rejection(), len(h.waiting), h.size)
		}
		if turn := int(g.route.ticket); turn != g.turn {
			if g.turn != 0 || turn <= h.turns {
				h.t.Fatalf("%d had turn %d, and got %d of %d", g.name, g.turn, turn, h.turns)
			}
			g.turn, h.turns = turn, turn
		}
		if step == Wait {
			h.waiting = append(h.waiting, g)
			slices.SortFunc(h.waiting, func(a, b *guest) int { return a.turn - b.turn })
			g = nil
		}
	}
	h.settle(g)
}

func (h *hall) build(random *rand.Rand) {
	var groups []Group
	rest := slices.Clone(h.channels)
	for len(rest) > 0 {
		n := 1 + random.IntN(len(rest))
		group := Group{Mode: Mode(random.IntN(int(Modes))), Channels: rest[:n], SlowStart: time.Duration(random.IntN(2)) * 8 * time.Second}
		if random.IntN(2) == 0 {
			group.HashLoad = 125
		}
		if random.IntN(2) == 0 {
			group.For = halves[random.IntN(len(halves))].audience
		}
		groups = append(groups, group)
		rest = rest[n:]
	}
	h.options.Queue = h.queue
	router := NewRouter(groups, h.options, h.router)
	h.size = random.IntN(6)
	h.queue.Follow(router, h.size, func() { h.router = router })
	for _, g := range h.waiting {
		g.tried = nil
	}
	h.queue.Review(h.now)
	h.settle(nil)
}

// A queue, played at random, keeps what Queue says: in order, nobody waits while a
// slot it could use is free, no channel has more than its limit, all are woken once.
func TestQueueIsFair(t *testing.T) {
	for seed := range uint64(600) {
		random := rand.New(rand.NewPCG(seed, 11))
		h := &hall{t: t, queue: new(Queue), limits: map[*Channel]int{}, holders: map[*Channel]int{}, now: 1}
		h.options = Options{HashFailover: random.IntN(2) == 0, HoldOff: time.Duration(random.IntN(2)) * time.Second, HoldOffMax: 4 * time.Second}
		for i := range 1 + random.IntN(5) {
			c := channels(fmt.Sprintf("h%d", i))[0]
			h.limits[c] = 1 + random.IntN(3)
			c.SetLimit(h.limits[c])
			h.channels = append(h.channels, c)
		}
		h.build(random)
		for range 300 {
			c := h.channels[random.IntN(len(h.channels))]
			switch random.IntN(14) {
			case 0, 1, 2, 3:
				g := &guest{name: byte(random.IntN(256))}
				g.route = h.router.Route(g.client(), h.now)
				h.step(g)
			case 4, 5:
				if len(h.dialling) > 0 {
					i := random.IntN(len(h.dialling))
					g := h.dialling[i]
					h.dialling = slices.Delete(h.dialling, i, i+1)
					if g.route.Connected(0, h.now) != Unchanged {
						h.queue.Review(h.now)
					}
					h.settle(nil)
					h.running = append(h.running, g.route.Channel())
				}
			case 6:
				if len(h.dialling) > 0 {
					i := random.IntN(len(h.dialling))
					g := h.dialling[i]
					h.dialling = slices.Delete(h.dialling, i, i+1)
					if g.route.Router() != h.router { // its search begins anew at the end; here it leaves
						h.holders[g.route.Channel()]--
						g.route.Close(h.now)
						h.settle(nil)
						break
					}
					failed := g.route.Channel()
					h.holders[failed]--
					g.tried = append(g.tried, failed)
					g.route.Failed(errRefused, h.now)
					h.settle(nil)
					h.step(g)
				}
			case 7, 8, 9:
				if len(h.running) > 0 {
					i := random.IntN(len(h.running))
					gone := h.running[i]
					h.running = slices.Delete(h.running, i, i+1)
					h.holders[gone]--
					gone.Leave(h.now)
					h.settle(nil)
				}
			case 10:
				if len(h.waiting) > 0 {
					i := random.IntN(len(h.waiting))
					g := h.waiting[i]
					h.waiting = slices.Delete(h.waiting, i, i+1)
					if random.IntN(2) == 0 {
						g.route.Close(h.now)
					} else if step := g.route.GiveUp(QueueTimeout); step != Reject || g.route.Rejection() != QueueTimeout {
						t.Fatalf("gave up: %d, %s", step, g.route.Rejection())
					}
					h.settle(nil)
				}
			case 11:
				switch random.IntN(5) {
				case 0:
					c.Disable()
				case 1, 2:
					if c.Enable() {
						c.Warm(h.now)
					}
				case 3:
					c.SetHealth(Unhealthy, h.now, "")
				case 4:
					c.SetHealth(Healthy, h.now, "")
				}
				h.queue.Review(h.now)
				h.settle(nil)
			case 12:
				if random.IntN(2) == 0 {
					h.limits[c] = 1 + random.IntN(3)
					c.SetLimit(h.limits[c])
					h.queue.Review(h.now)
					h.settle(nil)
				} else {
					h.pass(time.Duration(random.IntN(3000)) * time.Millisecond)
				}
			case 13:
				if random.IntN(8) == 0 {
					h.build(random)
				}
			}
		}
	}
}

// Slots given back, taken and waited for from many goroutines: nobody is forgotten,
// and no limit is passed.
func TestQueueLosesNobody(t *testing.T) {
	group := rr("a:2", "b:1")
	own := hash("c:1", "d:2")
	all := slices.Concat(group.Channels, own.Channels)
	queue := new(Queue)
	router := NewRouter([]Group{group, own}, Options{Queue: queue}, nil)
	queue.Follow(router, 1000, func() {})
	held := map[*Channel]*atomic.Int32{}
	for _, c := range all {
		held[c] = new(atomic.Int32)
	}
	var clients sync.WaitGroup
	for i := range 32 {
		clients.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 5))
			for range 300 {
				woken := make(chan struct{}, 1)
				route := router.Route(Client{Addr: netip.AddrFrom4([4]byte{10, 0, 1, byte(random.IntN(256))})}, 1)
				step := route.Next(1)
				if step == Wait {
					step = route.Wait(Waiter{Wake: func() { woken <- struct{}{} }}, 1)
				}
				if step == Wait {
					if random.IntN(4) > 0 {
						<-woken
						step = route.Woken()
					} else {
						step = route.GiveUp(QueueTimeout)
					}
				}
				if step == Wait {
					t.Errorf("woken, and still to wait")
				}
				if step != Dial {
					continue
				}
				c := route.Channel()
				if n := held[c].Add(1); int(n) > c.Limit() {
					t.Errorf("%s: %d of %d", c.Key(), n, c.Limit())
				}
				held[c].Add(-1)
				route.Close(1)
			}
		})
	}
	ended, reviewer := make(chan struct{}), make(chan struct{})
	go func() { clients.Wait(); close(ended) }()
	go func() {
		defer close(reviewer)
		for n := 0; ; n++ {
			select {
			case <-ended:
				return
			default:
			}
			c := all[n%len(all)]
			c.Disable()
			c.Enable()
			queue.Review(1)
		}
	}()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatalf("%d wait, and nobody wakes them", queue.Len())
	}
	<-reviewer
	if queue.Len() != 0 {
		t.Errorf("%d wait", queue.Len())
	}
	for _, c := range all {
		if c.Active() != 0 {
			t.Errorf("%s: %d slots are taken", c.Key(), c.Active())
		}
	}
}

// Who finds a slot that somebody waits for hands it over, in order, and one that
// nobody who waits could have is its own.
func TestNewcomerDoesNotOvertake(t *testing.T) {
	queue := new(Queue)
	router := NewRouter([]Group{rr("a:1")}, Options{Queue: queue}, nil)
	queue.Follow(router, 5, func() {})
	channel := router.groups[0].Channels[0]
	var served []int
	come := func(name int) (*Route, Step) {
		route := router.Route(client, 0)
		step := route.Next(0)
		if step == Wait {
			step = route.Wait(Waiter{Wake: func() { served = append(served, name) }}, 0)
		}
		return &route, step
	}
	come(0)
	for name := range 3 {
		if _, step := come(name + 1); step != Wait {
			t.Fatalf("client %d: step %d", name+1, step)
		}
	}
	channel.SetLimit(3) // of which nobody has told the queue
	if _, step := come(4); step != Wait || !slices.Equal(served, []int{1, 2}) {
		t.Errorf("step %d of the newcomer, served %v", step, served)
	}
	channel.SetLimit(6)
	if route, step := come(5); step != Dial || !slices.Equal(served, []int{1, 2, 3, 4}) || route.Channel() != channel {
		t.Errorf("step %d of the newcomer, served %v", step, served)
	}
	if queue.Len() != 0 || channel.Active() != 6 {
		t.Errorf("%d wait, %d slots are taken", queue.Len(), channel.Active())
	}
}

// Who waits for one channel does not keep others from another.
func TestQueueForDifferentChannels(t *testing.T) {
	queue := new(Queue)
	router := NewRouter([]Group{hash("a:1", "b:1")}, Options{Queue: queue}, nil)
	queue.Follow(router, 5, func() {})
	clientOf := func(index int) Client {
		for i := range 256 {
			client := Client{Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})}
			if from, _ := router.pickers[0].reach(hashAddr(client.Addr, 0, 0), question{}); from == index {
				return client
			}
		}
		panic("no client has this channel")
	}
	come := func(index int) (*Route, Step) {
		route := router.Route(clientOf(index), 0)
		step := route.Next(0)
		if step == Wait {
			step = route.Wait(Waiter{Wake: func() {}}, 0)
		}
		return &route, step
	}
	holder, _ := come(0)
	waiter, step := come(0)
	if step != Wait {
		t.Fatalf("step %d", step)
	}
	if list := queue.Waiting(0, 100); len(list) != 1 || len(list[0].For) != 1 || list[0].For[0] != router.groups[0].Channels[0] {
		t.Errorf("waiting: %+v", list)
	}
	other, step := come(1)
	if step != Dial {
		t.Errorf("step %d of the one for whom there is room", step)
	}
	other.Close(0)
	if waiter.Woken() != Wait {
		t.Error("woken by a slot that is not for it")
	}
	holder.Close(0)
	if waiter.Woken() != Dial {
		t.Error("not woken")
	}
}

// Without a queue, or with nobody in it, giving a slot back allocates nothing, nor
// does taking one.
func TestQueueCostsNothingWhileNobodyWaits(t *testing.T) {
	queue := new(Queue)
	router := NewRouter([]Group{rr("a:2", "b:2")}, Options{Queue: queue}, nil)
	queue.Follow(router, 10, func() {})
	if n := testing.AllocsPerRun(100, func() {
		route := router.Route(client, 0)
		if route.Next(0) != Dial {
			t.Fatal("no channel")
		}
		route.Close(0)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRejectionOfTheQueue(t *testing.T) {
	queue := new(Queue)
	router := NewRouter([]Group{rr("a:1")}, Options{Queue: queue}, nil)
	come := func() (*Route, Step) {
		route := router.Route(client, 0)
		step := route.Next(0)
		if step == Wait {
			step = route.Wait(Waiter{Wake: func() {}}, 0)
		}
		return &route, step
	}
	come()
	if route, step := come(); step != Reject || route.Rejection() != AllFull {
		t.Errorf("without a place: %d, %s", step, route.Rejection())
	}
	queue.Follow(router, 1, func() {})
	first, step := come()
	if step != Wait {
		t.Fatalf("step %d", step)
	}
	if route, step := come(); step != Reject || route.Rejection() != QueueFull {
		t.Errorf("with the place taken: %d, %s", step, route.Rejection())
	}
	if step := first.GiveUp(TooLate); step != Reject || first.Rejection() != TooLate {
		t.Errorf("given up: %d, %s", step, first.Rejection())
	}
	if _, step := come(); step != Wait {
		t.Errorf("the place is not free again: %d", step)
	}
}

// Who waits counts as a session of each channel that it could be given.
func TestLeastConnCountsWhoWaits(t *testing.T) {
	queue := new(Queue)
	group := Group{Mode: LeastConn, Channels: channels("a:3", "b:1")}
	a, b := group.Channels[0], group.Channels[1]
	a.SetWeight(3)
	router := NewRouter([]Group{group}, Options{Queue: queue}, nil)
	queue.Follow(router, 10, func() {})
	var served []*Route
	for i := range 8 {
		route := router.Route(client, 0)
		if step := route.Next(0); step == Wait {
			step = route.Wait(Waiter{Wake: func() { served = append(served, &route) }}, 0)
			if step != Wait {
				t.Fatalf("client %d: step %d", i, step)
			}
		}
	}
	a.SetLimit(9)
	b.SetLimit(9)
	if why := router.Why(client, 0); why[0].Channel != a || why[0].Words != "chosen: least connections, 7/3 against 5/1" {
		t.Errorf("%+v", why)
	}
	queue.Review(0)
	var got []string
	for _, route := range served {
		got = append(got, route.Channel().Key().Host)
	}
	if !slices.Equal(got, []string{"a", "a", "a", "b"}) { // by sessions alone b were the third
		t.Errorf("served by %v", got)
	}
	if why := router.Why(client, 0); why[0].Words != "chosen: least connections, 6/3 against 2/1, in turn" {
		t.Errorf("%+v", why)
	}
}

// Who begins to wait for what time alone can give says so, once for the same time.
func TestQueueAsksToBeReviewedSooner(t *testing.T) {
	queue, asked := new(Queue), 0
	queue.Sooner = func() { asked++ }
	group := Group{Channels: channels("a:4"), SlowStart: 4 * time.Second}
	router := NewRouter([]Group{group}, Options{Queue: queue}, nil)
	queue.Follow(router, 10, func() {})
	a, now := group.Channels[0], int64(time.Hour)
	a.Warm(now)
	come := func() *Route {
		route := router.Route(client, now)
		if route.Next(now) == Wait {
			route.Wait(Waiter{Wake: func() {}}, now)
		}
		return &route
	}
	come()
	first := come()
	come()
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	if due := queue.Review(now); due != now+int64(2*time.Second) {
		t.Errorf("due after %s", time.Duration(due-now))
	}
	queue.Review(now + int64(2*time.Second))
	if first.Woken() != Dial {
		t.Error("the part of the limit has grown, and nobody is served")
	}
	full := NewRouter([]Group{rr("b:1")}, Options{Queue: queue}, nil)
	queue.Follow(full, 10, func() {})
	if queue.Review(now); queue.Review(now) != 0 {
		t.Error("time alone changes something")
	}
}

// Who waits is turned away for the reason for which a newcomer is, when the last
// channel that could serve it goes out of service; not when it is held off.
func TestQueueTurnsAwayWhoWaitsForNothing(t *testing.T) {
	for _, test := range []struct {
		name string
		out  func(*Channel)
		want Rejection
	}{
		{"disabled", func(c *Channel) { c.Disable() }, NoneInService},
		{"down", func(c *Channel) { c.SetHealth(Unhealthy, 1, "") }, AllDown},
		{"weight 0", func(c *Channel) { c.SetWeight(0) }, NoneInService},
		{"held off", func(c *Channel) { observe(c, Options{HoldOff: time.Hour, HoldOffMax: time.Hour}) }, Rejections},
	} {
		queue := new(Queue)
		router := NewRouter([]Group{rr("a:1", "b:1")}, Options{Queue: queue}, nil)
		queue.Follow(router, 10, func() {})
		woken := 0
		var last Route
		for range 3 {
			last = router.Route(client, 0)
			last.Next(0)
		}
		if last.Wait(Waiter{Wake: func() { woken++ }}, 0) != Wait {
			t.Fatal("does not wait")
		}
		test.out(router.groups[0].Channels[0])
		queue.Review(0)
		if last.Woken() != Wait {
			t.Errorf("%s: turned away, though the other channel serves", test.name)
		}
		test.out(router.groups[0].Channels[1])
		queue.Review(0)
		step := last.Woken()
		if test.want == Rejections {
			if step != Wait {
				t.Errorf("%s: step %d", test.name, step)
			}
			continue
		}
		newcomer := router.Route(client, 0)
		if newcomer.Next(0) != Reject || newcomer.Rejection() != test.want {
			t.Errorf("%s: a newcomer is rejected as %s", test.name, newcomer.Rejection())
		}
		if step != Reject || last.Rejection() != test.want || woken != 1 || queue.Len() != 0 {
			t.Errorf("%s: step %d, rejected as %s, woken %d times", test.name, step, last.Rejection(), woken)
		}
	}
}

// Weights are changed when those who wait are in the new router already; with hash that
// moves some of them to another channel.
func TestQueueFollowsWeights(t *testing.T) {
	const clients = 20
	queue := new(Queue)
	group := hash("a:1", "b:1")
	a, b := group.Channels[0], group.Channels[1]
	a.SetWeight(10)
	router := NewRouter([]Group{group}, Options{Queue: queue}, nil)
	queue.Follow(router, clients, func() {})
	if !a.slots.take() || !b.slots.take() {
		t.Fatal("no slot")
	}
	var routes []*Route
	for i := range clients {
		route := router.Route(Client{Addr: address(i)}, 0)
		if route.Next(0) == Wait {
			route.Wait(Waiter{Wake: func() {}}, 0)
		}
		routes = append(routes, &route)
	}
	a.SetWeight(1)
	queue.Review(0)
	moved := 0
	for _, route := range routes {
		if from, _ := router.pickers[0].reach(router.hash(0, route.asks.Addr), question{}); from == 1 {
			moved++
		}
	}
	if n := queue.Demand()[b]; n != moved || moved < clients/4 {
		t.Errorf("%d wait for the other channel, want %d", n, moved)
	}
	for range moved {
		b.Leave(0)
		served := slices.IndexFunc(routes, func(route *Route) bool { return route.Woken() == Dial })
		if served < 0 {
			t.Fatal("a slot is free, and nobody is given it who waits for it")
		}
		if routes[served].Channel() != b {
			t.Fatalf("given %s", routes[served].Channel().Key())
		}
		routes = slices.Delete(routes, served, served+1)
	}
}

// What is due is not forgotten with those who wait for it: who comes later says so
// again.
func TestQueueAsksAgain(t *testing.T) {
	queue, asked := new(Queue), 0
	queue.Sooner = func() { asked++ }
	group := Group{Channels: channels("a:4"), SlowStart: 4 * time.Second}
	router := NewRouter([]Group{group}, Options{Queue: queue}, nil)
	queue.Follow(router, 10, func() {})
	group.Channels[0].Warm(1)
	first, second, third := router.Route(client, 1), router.Route(client, 1), router.Route(client, 1)
	first.Next(1)
	for i, route := range []*Route{&second, &third} {
		if route.Next(1) != Wait || route.Wait(Waiter{Wake: func() {}}, 1) != Wait {
			t.Fatal("does not wait")
		}
		if asked != i+1 {
			t.Errorf("asked %d times", asked)
		}
		route.Close(1)
		if due := queue.Review(1); due != 0 {
			t.Errorf("nobody waits, and a review is due at %d", due)
		}
	}
}

// A slot that is given back may be one that only time lets somebody have.
func TestQueueAsksToBeReviewedForAFreeSlot(t *testing.T) {
	for _, test := range []struct {
		name string
		make func(group *Group, a *Channel)
		want time.Duration
	}{
		{"slow start", func(group *Group, a *Channel) {
			group.SlowStart = 4 * time.Second
			a.Warm(0)
		}, 4 * time.Second},
		{"held off", func(_ *Group, a *Channel) {
			observe(a, Options{HoldOff: time.Second, HoldOffMax: time.Second})
		}, 0},
	} {
		queue, asked := new(Queue), 0
		queue.Sooner = func() { asked++ }
		group := rr("a:4", "b:1")
		a := group.Channels[0]
		for range 4 {
			a.slots.take()
		}
		group.Channels[1].slots.take()
		test.make(&group, a)
		router := NewRouter([]Group{group}, Options{Queue: queue}, nil)
		queue.Follow(router, 10, func() {})
		route := router.Route(client, 1)
		if route.Next(1) != Wait || route.Wait(Waiter{Wake: func() {}}, 1) != Wait {
			t.Fatal("does not wait")
		}
		queue.Review(1)
		before := asked
		a.Leave(1)
		if route.Woken() != Wait || asked != before+1 {
			t.Errorf("%s: asked %d times", test.name, asked-before)
		}
		due := queue.Review(1)
		if want := int64(test.want); due == 0 || want != 0 && due != want {
			t.Errorf("%s: due at %d", test.name, due)
		}
		queue.Review(due)
		if route.Woken() != Dial {
			t.Errorf("%s: not served when it is due", test.name)
		}
	}
}
