package balancer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var (
	somewhere  = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:80")}
	errRefused = os.NewSyscallError("connect", syscall.ECONNREFUSED)
	client     = Client{Addr: netip.MustParseAddr("198.51.100.7")}
)

// channels makes usable channels from "name" or "name:limit".
func channels(specs ...string) []*Channel {
	var made []*Channel
	for _, spec := range specs {
		name, limit, _ := strings.Cut(spec, ":")
		c := NewChannel(Key{Host: name, Port: 80})
		c.SetAddresses(somewhere)
		if limit != "" {
			var n int
			fmt.Sscan(limit, &n)
			c.SetLimit(n)
		}
		made = append(made, c)
	}
	return made
}

func rr(specs ...string) Group   { return Group{Mode: RoundRobin, Channels: channels(specs...)} }
func hash(specs ...string) Group { return Group{Mode: Hash, Channels: channels(specs...)} }

// journey lists the hosts that one client tries, of which only those in up
// answer. An established route is left open.
func journey(r *Router, from Client, up ...string) (tried []string, served string) {
	route := r.Route(from, 0)
	for {
		if route.Next(0) != Dial {
			return tried, ""
		}
		c := route.Channel()
		tried = append(tried, c.Key().Host)
		if slices.Contains(up, c.Key().Host) {
			route.Connected(0, 0)
			return tried, c.Key().Host
		}
		route.Failed(errRefused, 0)
	}
}

func TestRoundRobinOrder(t *testing.T) {
	all := []string{"a", "b", "c"}
	tests := []struct {
		name    string
		groups  []Group
		clients []struct {
			up    []string
			tried string
		}
	}{
		{"in turn", []Group{rr("a", "b", "c")}, []struct {
			up    []string
			tried string
		}{{all, "a"}, {all, "b"}, {all, "c"}, {all, "a"}}},
		{"the turn goes on behind the channel that answered", []Group{rr("a", "b", "c")}, []struct {
			up    []string
			tried string
		}{{[]string{"b", "c"}, "a b"}, {all, "c"}, {all, "a"}}},
		{"each is tried once, then the next group", []Group{rr("a", "b"), rr("c")}, []struct {
			up    []string
			tried string
		}{{[]string{"c"}, "a b c"}, {[]string{"c"}, "a b c"}, {all, "a"}}},
		{"a full channel is passed over", []Group{rr("a:1", "b:2", "c")}, []struct {
			up    []string
			tried string
		}{{all, "a"}, {all, "b"}, {all, "c"}, {all, "b"}, {all, "c"}, {all, "c"}}},
		{"full groups are passed over", []Group{rr("a:1"), rr("b:1"), rr("c:1")}, []struct {
			up    []string
			tried string
		}{{all, "a"}, {all, "b"}, {all, "c"}, {all, ""}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := NewRouter(test.groups, Options{}, nil)
			for i, step := range test.clients {
				tried, _ := journey(r, client, step.up...)
				if got := strings.Join(tried, " "); got != step.tried {
					t.Errorf("client %d tried %q, want %q", i, got, step.tried)
				}
			}
		})
	}
}

func TestClientsAtOnceGetDifferentChannels(t *testing.T) {
	r := NewRouter([]Group{rr("a", "b", "c", "d")}, Options{}, nil)
	seen := map[string]int{}
	for range 8 { // all dial before the first connects
		route := r.Route(client, 0)
		route.Next(0)
		seen[route.Channel().Key().Host]++
	}
	for _, host := range []string{"a", "b", "c", "d"} {
		if seen[host] != 2 {
			t.Errorf("channel %s got %d of 8 clients, want 2: %v", host, seen[host], seen)
		}
	}
}

// A channel that was full when its turn came is tried if it has a slot by the time
// that the others have failed.
func TestRoundRobinComesBack(t *testing.T) {
	group := rr("a:1", "b")
	r := NewRouter([]Group{group}, Options{}, nil)
	group.Channels[0].slots.take()
	route := r.Route(client, 0)
	route.Next(0)
	group.Channels[0].Leave(0)
	route.Failed(errRefused, 0)
	if step := route.Next(0); step != Dial || route.Channel() != group.Channels[0] {
		t.Errorf("step %d, channel %v", step, route.Channel())
	}
}

func TestSlotsAreGivenBack(t *testing.T) {
	group := rr("a:2")
	r := NewRouter([]Group{group}, Options{}, nil)
	a := group.Channels[0]
	first, second := r.Route(client, 0), r.Route(client, 0)
	first.Next(0)
	second.Next(0)
	second.Connected(0, 0)
	if got := a.Active(); got != 2 {
		t.Fatalf("active is %d, want 2", got)
	}
	first.Failed(errRefused, 0)
	second.Close(0)
	second.Close(0)
	if got := a.Active(); got != 0 {
		t.Errorf("active is %d at the end, want 0", got)
	}
	if s, f := a.Counters.Sessions.Load(), a.Counters.Failures.Load(); s != 1 || f != 1 {
		t.Errorf("sessions %d, failures %d, want 1 and 1", s, f)
	}
	if a.Limit() != 2 {
		t.Errorf("the limit became %d", a.Limit())
	}
}

func TestLimitIsNeverExceeded(t *testing.T) {
	const limit = 5
	group := rr("a:5", "b:5")
	r := NewRouter([]Group{group}, Options{}, nil)
	var inside [2]atomic.Int32
	var served atomic.Int32
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range 2000 {
				route := r.Route(client, 0)
				if route.Next(0) != Dial {
					continue
				}
				c := route.Channel()
				i := slices.Index(group.Channels, c)
				if n := inside[i].Add(1); n > limit {
					t.Errorf("%d sessions on %s, limit %d", n, c.Key(), limit)
				}
				served.Add(1)
				route.Connected(0, 0)
				inside[i].Add(-1)
				route.Close(0)
			}
		})
	}
	wg.Wait()
	if served.Load() == 0 {
		t.Error("nobody was served")
	}
	for _, c := range group.Channels {
		if c.Active() != 0 {
			t.Errorf("%s: %d slots are lost", c.Key(), c.Active())
		}
	}
}

func TestLoweringTheLimitClosesNobody(t *testing.T) {
	group := rr("a:3")
	r := NewRouter([]Group{group}, Options{}, nil)
	var routes []*Route
	for range 3 {
		route := r.Route(client, 0)
		route.Next(0)
		routes = append(routes, &route)
	}
	a := group.Channels[0]
	a.SetLimit(1)
	if a.Active() != 3 || usable(a) {
		t.Errorf("active %d, usable %v, want 3 and false", a.Active(), usable(a))
	}
	for _, route := range routes {
		route.Close(0)
	}
	if !usable(a) {
		t.Error("the channel is not usable once the sessions have ended")
	}
}

// hashed returns which host each of many clients is given.
func hashed(t *testing.T, hosts ...string) map[netip.Addr]string {
	t.Helper()
	r := NewRouter([]Group{hash(hosts...)}, Options{}, nil)
	got := map[netip.Addr]string{}
	for i := range 20000 {
		from := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		_, got[from] = journey(r, Client{Addr: from}, hosts...)
	}
	return got
}

func TestHashMovesOneNth(t *testing.T) {
	ten := []string{"h0", "h1", "h2", "h3", "h4", "h5", "h6", "h7", "h8", "h9"}
	before := hashed(t, ten...)
	count := map[string]int{}
	for _, host := range before {
		count[host]++
	}
	for _, host := range ten {
		if n := count[host]; n < 1700 || n > 2300 {
			t.Errorf("%s serves %d of 20000 clients, want about 2000", host, n)
		}
	}
	for from, host := range hashed(t, ten[:9]...) {
		if was := before[from]; was != "h9" && was != host {
			t.Fatalf("client %s moved from %s to %s though only h9 was removed", from, was, host)
		}
	}
	reordered := slices.Clone(ten)
	slices.Reverse(reordered)
	for from, host := range hashed(t, reordered...) {
		if before[from] != host {
			t.Fatalf("client %s moved from %s to %s with the order", from, before[from], host)
		}
	}
}

// The choice must be the same in every process and every release.
func TestHashIsStable(t *testing.T) {
	got := hashed(t, "h0", "h1", "h2")
	var line []string
	for i := range 12 {
		line = append(line, got[netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})])
	}
	const want = "h0 h1 h0 h2 h0 h0 h1 h0 h1 h2 h2 h2"
	if s := strings.Join(line, " "); s != want {
		t.Errorf("10.0.0.0 to 10.0.0.11 go to %q, want %q", s, want)
	}
}

func TestHashTakesTheAddressAlone(t *testing.T) {
	r := NewRouter([]Group{hash("a", "b", "c", "d", "e")}, Options{}, nil)
	for i := range 100 {
		v4 := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		_, one := journey(r, Client{Addr: v4}, "a", "b", "c", "d", "e")
		_, two := journey(r, Client{Addr: netip.AddrFrom16(v4.As16())}, "a", "b", "c", "d", "e")
		if one != two {
			t.Errorf("%s goes to %s, and on an IPv6 socket to %s", v4, one, two)
		}
	}
	_, plain := journey(r, Client{Addr: netip.MustParseAddr("fe80::1")}, "a", "b", "c", "d", "e")
	_, zoned := journey(r, Client{Addr: netip.MustParseAddr("fe80::1%eth0")}, "a", "b", "c", "d", "e")
	if plain != zoned {
		t.Errorf("fe80::1 goes to %s, with a zone to %s", plain, zoned)
	}
}

func TestHashFailover(t *testing.T) {
	for _, failover := range []bool{false, true} {
		r := NewRouter([]Group{hash("a", "b", "c"), rr("z")}, Options{HashFailover: failover}, nil)
		tried, _ := journey(r, client, "z")
		want := 2
		if failover {
			want = 4
		}
		slices.Sort(tried)
		if len(tried) != want || len(slices.Compact(tried)) != want {
			t.Errorf("failover %v: tried %v, want %d different channels", failover, tried, want)
		}
	}
}

// A client that lost its channel goes where it would go if the channel had
// never been there.
func TestHashFailoverIsTheNextBest(t *testing.T) {
	hosts := []string{"a", "b", "c", "d"}
	for i := range 200 {
		from := Client{Addr: netip.AddrFrom4([4]byte{10, 1, 0, byte(i)})}
		full := NewRouter([]Group{hash(hosts...)}, Options{HashFailover: true}, nil)
		tried, _ := journey(full, from)
		without := NewRouter([]Group{hash(slices.DeleteFunc(slices.Clone(hosts), func(h string) bool { return h == tried[0] })...)}, Options{}, nil)
		if next, _ := journey(without, from); next[0] != tried[1] {
			t.Errorf("%s: after %s comes %s, but without it the first is %s", from.Addr, tried[0], tried[1], next[0])
		}
	}
}

func TestAutoDisable(t *testing.T) {
	group := rr("a", "b")
	r := NewRouter([]Group{group}, Options{AutoDisable: true}, nil)
	a := group.Channels[0]
	if tried, _ := journey(r, client, "b"); strings.Join(tried, " ") != "a b" {
		t.Fatalf("tried %v", tried)
	}
	if a.Standing(0).State != StateAutoDisabled {
		t.Fatal("the channel that failed is still enabled")
	}
	for range 3 {
		if tried, _ := journey(r, client, "a", "b"); strings.Join(tried, " ") != "b" {
			t.Fatalf("tried %v though a is disabled", tried)
		}
	}
	if !a.Enable() || a.Enable() {
		t.Error("enabling must take effect once")
	}
	if tried, _ := journey(r, client, "a"); tried[0] != "a" && tried[1] != "a" {
		t.Errorf("tried %v after a was enabled", tried)
	}
}

func TestLocalErrorsDisableNothing(t *testing.T) {
	for _, err := range []error{syscall.EMFILE, syscall.EADDRNOTAVAIL, context.Canceled, fmt.Errorf("dial: %w", syscall.ENOBUFS)} {
		group := rr("a")
		r := NewRouter([]Group{group}, Options{AutoDisable: true}, nil)
		route := r.Route(client, 0)
		route.Next(0)
		if change := route.Failed(err, 0); change != Unchanged || !group.Channels[0].Enabled() {
			t.Errorf("%v: change %d, enabled %v", err, change, group.Channels[0].Enabled())
		}
	}
	if Local(errRefused) || Local(os.ErrDeadlineExceeded) || Local(errors.New("x")) {
		t.Error("an error of the channel counts as local")
	}
}

func TestOnlyTheFirstFailureIsAChange(t *testing.T) {
	group := rr("a")
	r := NewRouter([]Group{group}, Options{}, nil)
	fail := func() Change {
		route := r.Route(client, 0)
		route.Next(0)
		return route.Failed(errRefused, 0)
	}
	answer := func() Change {
		route := r.Route(client, 0)
		route.Next(0)
		defer route.Close(0)
		return route.Connected(0, 0)
	}
	got := []Change{answer(), fail(), fail(), answer(), answer(), fail()}
	want := []Change{Unchanged, Failing, Unchanged, Recovered, Unchanged, Failing}
	if !slices.Equal(got, want) {
		t.Errorf("changes %v, want %v", got, want)
	}
}

// fail is a failure of a dial that began just now.
// fail autodisables the channel.
func fail(c *Channel) {
	c.observeFailure(errRefused, generationOf(c.state.Load()), &Options{AutoDisable: true}, 1)
}

// usable reports whether a client could be given the channel at the time 0.
func usable(c *Channel) bool { return question{obstacles: obstacles}.admits(c, c.state.Load()) }

// A dial that began before the channel was given a new chance, and fails after
// it, is counted and changes nothing; an answer is news whenever it began.
func TestAFailureFromBeforeANewChance(t *testing.T) {
	for name, chance := range map[string]func(*Channel){
		"enable":                 func(c *Channel) { c.Enable() },
		"enable what is enabled": func(c *Channel) { c.Enable(); c.Enable() },
		"disable and enable":     func(c *Channel) { c.Disable(); c.Enable() },
		"a new declaration":      func(c *Channel) { c.Forgive() },
	} {
		for _, failed := range []bool{false, true} { // before the new chance
			group := rr("a")
			r := NewRouter([]Group{group}, Options{AutoDisable: true}, nil)
			a := group.Channels[0]
			var early [3]Route
			for i := range early {
				early[i] = r.Route(client, 0)
				early[i].Next(0)
			}
			want := uint64(1)
			if failed {
				early[2].Failed(errRefused, 0)
				want++
			}
			chance(a)
			failing := a.Failing()
			if change := early[0].Failed(errRefused, 0); change != Unchanged || !a.Enabled() || a.Failing() != failing {
				t.Errorf("%s: a failure from before changed the channel: %d", name, change)
			}
			if n := a.Counters.Failures.Load(); n != want || a.Dials.Failed(Refused) != want {
				t.Errorf("%s: %d failures are counted, want %d", name, n, want)
			}
			late := r.Route(client, 0)
			late.Next(0)
			if change := late.Failed(errRefused, 0); change != Disabled || a.Enabled() {
				t.Errorf("%s: a failure from after changed nothing: %d", name, change)
			}
			if change := early[1].Connected(0, 0); change != Recovered {
				t.Errorf("%s: an answer from before is no news: %d", name, change)
			}
			early[1].Close(0)
			early[2].Close(0)
			if a.Active() != 0 {
				t.Errorf("%s: %d slots are lost", name, a.Active())
			}
		}
	}
}

func TestState(t *testing.T) {
	steps := map[string]func(*Channel){
		"enable":   func(c *Channel) { c.Enable() },
		"disable":  func(c *Channel) { c.Disable() },
		"file+":    func(c *Channel) { c.Declare(false) },
		"file-":    func(c *Channel) { c.Declare(true) },
		"fails":    fail,
		"forgive":  func(c *Channel) { c.Forgive() },
		"removed":  func(c *Channel) { c.Remove() },
		"no route": func(c *Channel) { c.SetAddresses(nil) },
	}
	tests := []struct {
		do   string
		want bool
	}{
		{"", true},
		{"file-", false},
		{"file- enable", true},
		{"disable", false},
		{"disable file+", false},
		{"file- enable file-", true},
		{"file- enable file+ file-", false},
		{"disable file- file+", true},
		{"disable enable file-", false},
		{"fails", false},
		{"fails file+", false},
		{"fails enable", true},
		{"fails forgive", true},
		{"file- enable fails", false},
		{"file- enable fails forgive", true},
		{"fails disable forgive", false},
		{"removed enable", false},
		{"no route", false},
	}
	for _, test := range tests {
		c := channels("a")[0]
		for _, word := range strings.SplitAfter(test.do, " ") {
			if step := steps[strings.TrimSpace(word)]; step != nil {
				step(c)
			}
		}
		if test.do == "no route" {
			steps["no route"](c)
		}
		if got := usable(c); got != test.want {
			t.Errorf("%q: usable %v, want %v", test.do, got, test.want)
		}
	}
}

func TestANewRouterContinuesTheTurn(t *testing.T) {
	all := []string{"a", "b", "c", "d"}
	cs := channels(all...)
	first := NewRouter([]Group{{Channels: cs}}, Options{}, nil)
	journey(first, client, all...)
	journey(first, client, all...) // c is next
	without := NewRouter([]Group{{Channels: []*Channel{cs[3], cs[0], cs[1]}}}, Options{}, first)
	if tried, _ := journey(without, client, all...); tried[0] != "d" {
		t.Errorf("after c was removed %s is next, want d", tried[0])
	}
	moved := NewRouter([]Group{{Channels: []*Channel{cs[3], cs[2], cs[1], cs[0]}}}, Options{}, first)
	if tried, _ := journey(moved, client, all...); tried[0] != "c" {
		t.Errorf("after a new order %s is next, want c", tried[0])
	}
}

func TestZeroRoute(t *testing.T) {
	var route Route
	if route.Next(0) != Reject {
		t.Error("the zero route has a channel")
	}
	route.Close(0)
}

func TestKeyString(t *testing.T) {
	for want, key := range map[string]Key{
		"h1:80":             {Host: "h1", Port: 80},
		"h1:80#2":           {Host: "h1", Port: 80, Nth: 1},
		"[2001:db8::1]:443": {Host: "2001:db8::1", Port: 443},
	} {
		if got := key.String(); got != want {
			t.Errorf("%#v prints %q, want %q", key, got, want)
		}
	}
}

// BenchmarkRoute is what it costs to find a channel, with equal and with different
// weights, and with a bound on the load.
func BenchmarkRoute(b *testing.B) {
	for _, mode := range allModes {
		for _, n := range []int{1, 16, 1000} {
			for _, weighted := range []string{"", "/weighted", "/bounded", "/busy"} {
				if weighted == "/bounded" && mode != Hash || weighted == "/busy" && mode != LeastConn {
					continue
				}
				var specs []string
				for i := range n {
					specs = append(specs, fmt.Sprintf("h%d", i))
				}
				group := Group{Mode: mode, Channels: channels(specs...)}
				switch weighted {
				case "/bounded":
					group.HashLoad = 125
					for i, channel := range group.Channels { // in the middle the client's own has its share
						for range 8 + i%5 {
							channel.slots.take()
						}
					}
				case "/weighted", "/busy":
					for i, channel := range group.Channels {
						channel.SetWeight(1 + i*i%MaxWeight)
						for n := 0; weighted == "/busy" && n < 5*channel.Weight()+i%7; n++ {
							channel.slots.take()
						}
					}
				}
				var clients [1024]Client // so that no branch learns whose turn it is
				for i := range clients {
					clients[i].Addr = address(i)
				}
				r := NewRouter([]Group{group}, Options{}, nil)
				one := func(from Client) {
					route := r.Route(from, 0)
					route.Next(0)
					route.Connected(0, 0)
					route.Close(0)
				}
				b.Run(fmt.Sprintf("%s/%d%s", mode, n, weighted), func(b *testing.B) {
					b.ReportAllocs()
					for i := 0; b.Loop(); i++ {
						one(clients[i%len(clients)])
					}
				})
				b.Run(fmt.Sprintf("%s/%d%s/parallel", mode, n, weighted), func(b *testing.B) {
					b.ReportAllocs()
					b.RunParallel(func(pb *testing.PB) {
						for i := 0; pb.Next(); i++ {
							one(clients[i%len(clients)])
						}
					})
				})
			}
		}
	}
}

// BenchmarkPassedOver is what it costs to find no channel, or the only one,
// among many of which the others are out of service.
func BenchmarkPassedOver(b *testing.B) {
	for _, mode := range allModes {
		for _, n := range []int{16, 1000, 4000} {
			for _, usable := range []string{"none", "last"} {
				r, last := passedOver(mode, n)
				if usable == "none" {
					last.Disable()
				}
				b.Run(fmt.Sprintf("%s/%d/%s", mode, n, usable), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						route := r.Route(client, 0)
						if route.Next(0) != Dial {
							route.Rejection()
						}
						route.Close(0)
					}
				})
			}
		}
	}
}

// BenchmarkHeldOff is what it costs to find the one channel that is not held off,
// or if there is none the one that is free the soonest.
func BenchmarkHeldOff(b *testing.B) {
	for _, mode := range allModes {
		for _, n := range []int{16, 1000, 10000} {
			for _, usable := range []string{"none", "last"} {
				r, last := passedOver(mode, n)
				for _, channel := range r.groups[0].Channels {
					channel.Enable()
					if channel != last || usable == "none" {
						observe(channel, Options{HoldOff: time.Hour, HoldOffMax: time.Hour})
					}
				}
				b.Run(fmt.Sprintf("%s/%d/%s", mode, n, usable), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						route := r.Route(client, 0)
						route.Next(0)
						route.Close(0)
					}
				})
			}
		}
	}
}

// passedOver returns a router over n channels of which one alone is in service:
// the one that the client comes to last.
func passedOver(mode Mode, n int) (*Router, *Channel) {
	var specs []string
	for i := range n {
		specs = append(specs, fmt.Sprintf("h%d", i))
	}
	group := Group{Mode: mode, Channels: channels(specs...)}
	r := NewRouter([]Group{group}, Options{HashFailover: true}, nil)
	order := r.order(client)
	for _, channel := range order[:n-1] {
		channel.Disable()
	}
	return r, order[n-1]
}

// order returns the channels that a client may come by, usable or not.
func (r *Router) order(client Client) (order []*Channel) {
	route := r.Route(client, 0)
	return route.rest()
}

// rest returns the channels that the journey has still to come by, usable or not.
func (r *Route) rest() (list []*Channel) {
	route := *r
	if r.tried != nil {
		route.tried = &numbers{slices.Clone(r.tried.bits)}
	}
	for channel := route.candidate(0, nil, true); channel != nil; channel = route.candidate(0, nil, true) {
		list = append(list, channel)
		route.pass()
	}
	return list
}

func TestChoosingAllocatesNothing(t *testing.T) {
	for _, mode := range allModes {
		for _, load := range []int{0, 125} {
			group := Group{Mode: mode, Channels: weighing(1, 3, 1), HashLoad: load}
			options := Options{HashFailover: true, HoldOff: time.Hour, HoldOffMax: time.Hour}
			r := NewRouter([]Group{group}, options, nil)
			observe(group.Channels[0], options)
			group.Channels[1].slots.take()
			if n := testing.AllocsPerRun(100, func() {
				route := r.Route(client, 0)
				route.Next(0)
				route.Connected(0, 0)
				route.Close(0)
			}); n != 0 {
				t.Errorf("%s, load %d: %v allocations a client", mode, load, n)
			}
		}
	}
}
