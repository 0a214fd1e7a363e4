package balancer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// own returns whose client each of many is, as the index of the channel.
func own(group Group, clients int) []int {
	r := NewRouter([]Group{group}, Options{}, nil)
	index := map[*Channel]int{}
	for i, c := range group.Channels {
		index[c] = i
	}
	got := make([]int, clients)
	for i := range got {
		route := r.Route(Client{Addr: address(i)}, 0)
		route.Next(0)
		got[i] = index[route.Channel()]
		route.Close(0)
	}
	return got
}

func TestDepth(t *testing.T) {
	last := uint64(math.MaxUint64)
	check := func(score uint64) {
		want := -math.Log2((float64(score) + 0.5) / (1 << 64))
		if got := float64(depth(score)) / (1 << depthBits); math.Abs(got-want) > 1e-5 && score > 1<<20 {
			t.Errorf("the depth of %#x is %g, want %g", score, got, want)
		}
		if depth(score) < least(score) || depth(score) == 0 {
			t.Errorf("the depth of %#x is %d, at least %d", score, depth(score), least(score))
		}
	}
	for shift := range 64 {
		for _, near := range []uint64{0, 1, 2, math.MaxUint64} {
			check(1<<shift + near)
		}
	}
	random := rand.New(rand.NewPCG(1, 1))
	for range 100000 {
		low := random.Uint64() >> random.IntN(64)
		high := low + random.Uint64()>>random.IntN(64)
		if high < low {
			high = last
		}
		check(low)
		if depth(low) < depth(high) || least(low) < least(high) {
			t.Fatalf("%#x is deeper than %#x", high, low)
		}
	}
	if depth(0)*MaxWeight<<fineBits>>fineBits/MaxWeight != depth(0) {
		t.Error("the greatest depth overflows with the greatest weight")
	}
}

func TestWeightedHashAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(0, MaxWeight), 1, 12).Draw(t, "weights")
		if rapid.Bool().Draw(t, "equal") {
			for i := range weights {
				weights[i] = weights[0]
			}
		}
		weights[0] = max(weights[0], 1)
		group := Group{Mode: Hash, Channels: weighing(weights...)}
		r := NewRouter([]Group{group}, Options{}, nil)
		from := Client{Addr: netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "client")))}
		route := r.Route(from, 0)
		route.Next(0)
		if want := preferred(group.Channels, hashAddr(from.Addr, 0, 0)); route.Channel() != want {
			t.Fatalf("%v: given %s, want %s", weights, route.Channel().Key(), want.Key())
		}
	})
}

// Among many most are passed over at a glance, which must not be one too many.
func TestManyAgainstReference(t *testing.T) {
	for _, weigh := range []func(i int) int{
		func(int) int { return 1 },
		func(i int) int { return i * i % (MaxWeight + 1) },
		func(i int) int { return i % 2 * MaxWeight },
		func(i int) int { return 1 + i/299*(MaxWeight-1) },
	} {
		var weights []int
		for i := range 300 {
			weights = append(weights, weigh(i))
		}
		group := Group{Mode: Hash, Channels: weighing(weights...)}
		for i, is := range own(group, 2000) {
			if want := preferred(group.Channels, hashAddr(address(i), 0, 0)); group.Channels[is] != want {
				t.Fatalf("client %d is given %s, want %s", i, group.Channels[is].Key(), want.Key())
			}
		}
	}
}

// The last step of the hash decides where the leading bits before it are the same.
func TestHighest(t *testing.T) {
	unstir := func(x uint64) uint64 {
		for _, step := range []struct{ factor, shift uint64 }{{0x94d049bb133111eb, 27}, {0xbf58476d1ce4e5b9, 30}} {
			inverse := step.factor // right in 3 bits, and in twice as many after each round
			for range 5 {
				inverse *= 2 - step.factor*inverse
			}
			x *= inverse
			x ^= x>>step.shift ^ x>>(2*step.shift)
		}
		return x - 0x9e3779b97f4a7c15
	}
	random := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		client, leading := random.Uint64(), random.Uint64()&^(math.MaxUint64>>farBits)
		hashes := make([]uint64, 1+random.IntN(20))
		want := 0
		for i := range hashes {
			hashes[i] = unstir(leading|random.Uint64()>>farBits) ^ client
			if stir(hashes[i]^client)&^(math.MaxUint64>>farBits) != leading {
				t.Fatal("unstir is not the inverse of stir")
			}
			if score(hashes[i], client) > score(hashes[want], client) {
				want = i
			}
		}
		if got := highest(hashes, client); got != want {
			t.Fatalf("%d of %d has the highest score, want %d", got, len(hashes), want)
		}
	}
}

func TestHashSharesByWeight(t *testing.T) {
	for _, weights := range [][]int{{3, 1}, {1, 2, 3, 4}, {1000, 500, 20}, {1, 0, 1}} {
		const clients = 50000
		sum, count := 0, make([]int, len(weights))
		for _, w := range weights {
			sum += w
		}
		for _, i := range own(Group{Mode: Hash, Channels: weighing(weights...)}, clients) {
			count[i]++
		}
		for i, w := range weights {
			if want := clients * w / sum; count[i] < want*97/100-50 || count[i] > want*103/100+50 {
				t.Errorf("%v: channel %d has %d clients, want about %d", weights, i, count[i], want)
			}
		}
	}
}

// A channel that weighs more takes clients from the others, and one that weighs
// less gives them away; no client moves between the others.
func TestAWeightMovesOnlyItsClients(t *testing.T) {
	weights := []int{3, 5, 2, 5, 0}
	before := own(Group{Mode: Hash, Channels: weighing(weights...)}, 5000)
	for changed, was := range weights {
		for _, now := range []int{0, 1, 4, 9, MaxWeight} {
			group := Group{Mode: Hash, Channels: weighing(weights...)}
			group.Channels[changed].SetWeight(now)
			moved := 0
			for i, is := range own(group, 5000) {
				if is == before[i] {
					continue
				}
				moved++
				if now > was && is != changed || now < was && before[i] != changed || now == was {
					t.Fatalf("from %d to %d of channel %d a client moved from %d to %d", was, now, changed, before[i], is)
				}
			}
			if now != was && moved == 0 {
				t.Errorf("from %d to %d of channel %d nobody moved", was, now, changed)
			}
		}
	}
}

// Weights that are equal, whatever they are, and the order of the group change nothing.
func TestEqualWeightsHashAsNone(t *testing.T) {
	plain := own(Group{Mode: Hash, Channels: weighing(1, 1, 1, 1, 1)}, 2000)
	for _, w := range []int{2, 7, MaxWeight} {
		for i, is := range own(Group{Mode: Hash, Channels: weighing(w, w, w, w, w)}, 2000) {
			if is != plain[i] {
				t.Fatalf("with weight %d a client moved from %d to %d", w, plain[i], is)
			}
		}
	}
	cs := weighing(4, 1, 0, 9)
	forth := own(Group{Mode: Hash, Channels: cs}, 2000)
	for i, is := range own(Group{Mode: Hash, Channels: []*Channel{cs[3], cs[2], cs[1], cs[0]}}, 2000) {
		if 3-is != forth[i] {
			t.Fatalf("with the order a client moved from %d to %d", forth[i], 3-is)
		}
	}
}

// The choice must be the same in every process, on every machine and in every release.
func TestWeightedHashIsStable(t *testing.T) {
	var line strings.Builder
	for _, i := range own(Group{Mode: Hash, Channels: weighing(1, 2, 3)}, 40) {
		fmt.Fprint(&line, i)
	}
	const want = "1222212021012202022221200111220222212212"
	if line.String() != want {
		t.Errorf("10.0.0.0 to 10.0.0.39 go to %s, want %s", &line, want)
	}
	for score, want := range map[uint64]uint64{0: 64 << depthBits, math.MaxUint64: 2, 1 << 63: 1 << depthBits, 0xc0ffee << 40: 448100486678, 0xdeadbeefcafe: 17813387018000} {
		if got := depth(score); got != want {
			t.Errorf("the depth of %#x is %d, want %d", score, got, want)
		}
	}
}

// Clients of one network stay together, if no more of the address is to count.
func TestHashBits(t *testing.T) {
	for _, test := range []struct {
		v4, v6 int
		a, b   string
		same   bool
	}{
		{0, 0, "10.1.2.3", "10.1.2.4", false},
		{32, 128, "10.1.2.3", "10.1.2.4", false},
		{24, 0, "10.1.2.3", "10.1.2.200", true},
		{24, 0, "10.1.2.3", "10.1.3.3", false},
		{24, 0, "10.1.2.3", "::ffff:10.1.2.9", true},
		{8, 1, "10.1.2.3", "10.200.3.4", true},
		{8, 1, "10.1.2.3", "11.1.2.3", false},
		{1, 0, "127.0.0.1", "1.2.3.4", true},
		{1, 0, "127.0.0.1", "128.0.0.1", false},
		{24, 0, "2001:db8::1", "2001:db8::2", false},
		{0, 64, "2001:db8::1", "2001:db8::ffff:2", true},
		{0, 64, "2001:db8::1", "2001:db8:0:1::1", false},
		{0, 64, "10.1.2.3", "10.1.2.4", false},
		{0, 56, "2001:db8::1", "2001:db8:0:ff::1", true},
		{0, 56, "2001:db8::1", "2001:db8:0:100::1", false},
		{0, 96, "2001:db8::1", "2001:db8::ffff:ffff", true},
		{0, 96, "2001:db8::1", "2001:db8::1:ffff:ffff", false},
	} {
		a, b := hashAddr(netip.MustParseAddr(test.a), test.v4, test.v6), hashAddr(netip.MustParseAddr(test.b), test.v4, test.v6)
		if (a == b) != test.same {
			t.Errorf("%d and %d bits: %s and %s hash alike: %t", test.v4, test.v6, test.a, test.b, !test.same)
		}
	}
	// Each group counts its own bits, also the one that a journey goes on to.
	var groups []Group
	for _, bits := range []int{8, 24, 0} {
		groups = append(groups, Group{Mode: Hash, Channels: channels("a", "b", "c", "d", "e", "f", "g", "h"), HashIPv4Bits: bits})
	}
	r := NewRouter(groups, Options{}, nil)
	for i := range 50 {
		address := netip.AddrFrom4([4]byte{10, 0, byte(i), byte(i)})
		route := r.Route(Client{Addr: address}, 0)
		for g := 0; route.Next(0) == Dial; g++ {
			if want := preferred(groups[g].Channels, hashAddr(address, groups[g].HashIPv4Bits, 0)); route.Channel() != want {
				t.Errorf("%s is given %s in group %d, want %s", address, route.Channel().Key(), g, want.Key())
			}
			route.Failed(errRefused, 0)
		}
	}
}

// No channel gets above its share of the load, and a client is given the one that
// it prefers of those that are below it; Why says the same.
func TestBoundedLoadAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		group := Group{Mode: Hash, Channels: weighing(rapid.SliceOfN(rapid.IntRange(0, 5), 1, 8).Draw(t, "weights")...)}
		group.HashLoad = rapid.IntRange(101, 200).Draw(t, "load")
		failover := rapid.Bool().Draw(t, "failover")
		r := NewRouter([]Group{group}, Options{HashFailover: failover}, nil)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			c := rapid.SampledFrom(group.Channels).Draw(t, "channel")
			switch rapid.IntRange(0, 11).Draw(t, "step") {
			case 0:
				c.SetWeight(rapid.IntRange(0, 5).Draw(t, "weight"))
				continue
			case 1:
				c.Disable()
				continue
			case 2:
				c.Enable()
				continue
			case 3:
				c.SetLimit(rapid.IntRange(0, 9).Draw(t, "limit"))
				continue
			case 4:
				if c.Active() > 0 {
					c.Leave(0)
				}
				continue
			}
			from := Client{Addr: netip.AddrFrom4([4]byte{10, 0, 0, rapid.Byte().Draw(t, "client")})}
			hashed := hashAddr(from.Addr, 0, 0)
			sessions, weights := 1, 0
			var below []*Channel
			for _, c := range group.Channels {
				if usable(c) {
					sessions += c.Active()
					weights += c.Weight()
				}
			}
			for _, c := range group.Channels {
				if usable(c) && c.Active()*100*weights < group.HashLoad*sessions*c.Weight() {
					below = append(below, c)
				}
			}
			var want *Channel
			if own := preferred(group.Channels, hashed); len(below) > 0 && (failover || usable(own)) {
				want = preferred(below, hashed)
			} else if weights > 0 && len(below) == 0 {
				t.Fatal("all are above their bound")
			}
			verdicts := r.Why(from, 0)
			last := verdicts[len(verdicts)-1]
			route := r.Route(from, 0)
			route.Next(0)
			if route.Channel() != want {
				t.Fatalf("given %v, want %v", route.Channel(), want)
			}
			if (last.Reason == Chosen) != (want != nil) || want != nil && last.Channel != want {
				t.Fatalf("why says %+v, the client got %v", verdicts, want)
			}
		}
	})
}

func TestBoundedLoadWhy(t *testing.T) {
	group := Group{Mode: Hash, Channels: channels("a", "b"), HashLoad: 125}
	r := NewRouter([]Group{group}, Options{}, nil)
	own := preferred(group.Channels, hashAddr(client.Addr, 0, 0))
	for range 5 {
		own.slots.take()
	}
	why := r.Why(client, 0)
	if len(why) != 2 || why[0].Channel != own || why[0].Reason != IsFull || why[0].Words != "at its bound of the load, 5 of at most 4 sessions" ||
		why[1].Words != "chosen: bounded load, 0 of at most 4 sessions" {
		t.Errorf("%+v", why)
	}
	own.Disable() // its client goes to no other, but for the load
	route := r.Route(client, 0)
	if step := route.Next(0); step != Reject {
		t.Errorf("a client of a disabled channel is given %s", route.Channel().Key())
	}
}

// A dial that fails is the end of a journey without failover.
func TestBoundedLoadWithoutFailover(t *testing.T) {
	r := NewRouter([]Group{{Mode: Hash, Channels: channels("a", "b", "c"), HashLoad: 125}}, Options{}, nil)
	if tried, _ := journey(r, client); len(tried) != 1 {
		t.Errorf("tried %v", tried)
	}
}

// The bound holds when clients come at the same time, to within how many those are.
func TestBoundedLoadAtOnce(t *testing.T) {
	const loops = 4
	group := Group{Mode: Hash, Channels: weighing(1, 1, 2), HashLoad: 110}
	r := NewRouter([]Group{group}, Options{}, nil)
	var wg sync.WaitGroup
	for range loops {
		wg.Go(func() {
			for range 100 {
				route := r.Route(client, 0)
				if route.Next(0) != Dial {
					t.Error("a client is turned away")
				}
			}
		})
	}
	wg.Wait()
	for i, most := range []int{110, 110, 220} {
		if n := group.Channels[i].Active(); n > most+loops {
			t.Errorf("channel %d carries %d, at most %d", i, n, most)
		}
	}
}
