package admit

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const ms = int64(time.Millisecond)

// client returns the address of a number.
func client(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

func TestMaxSessions(t *testing.T) {
	s := NewTable(10).Sources()
	limits := &Limits{MaxSessions: 2}
	first, _ := s.Arrive(limits, client(1), 0)
	_, second := s.Arrive(limits, client(1), 0)
	_, third := s.Arrive(limits, client(1), 0)
	_, other := s.Arrive(limits, client(2), 0)
	if second != Admitted || third != TooManySessions || other != Admitted {
		t.Errorf("second %v, third %v, other source %v", second, third, other)
	}
	s.Leave(first, 0)
	if _, again := s.Arrive(limits, client(1), 0); again != Admitted {
		t.Errorf("after one left: %v", again)
	}
	if _, again := s.Arrive(limits, client(1), 0); again != TooManySessions {
		t.Errorf("after another came: %v", again)
	}
}

// TestRefusedCountForTheRate has a source that is refused for its sessions, and by that
// uses up its rate.
func TestRefusedCountForTheRate(t *testing.T) {
	s := NewTable(10).Sources()
	limits := &Limits{MaxSessions: 1, Rate: Rate{3, time.Second}}
	for i, want := range []Refusal{Admitted, TooManySessions, TooManySessions, TooFast} {
		if _, got := s.Arrive(limits, client(1), 0); got != want {
			t.Errorf("connection %d: %v, want %v", i, got, want)
		}
	}
}

func TestUnlimitedIsFree(t *testing.T) {
	table := NewTable(10)
	s := table.Sources()
	for _, limits := range []*Limits{nil, {}, {Burst: 5, IPv4Bits: 8}} {
		if ticket, refusal := s.Arrive(limits, client(1), 0); ticket != (Ticket{}) || refusal != Admitted {
			t.Errorf("%v: %v %v", limits, ticket, refusal)
		}
	}
	if ticket, refusal := s.Arrive(&Limits{MaxSessions: 1}, netip.Addr{}, 0); ticket != (Ticket{}) || refusal != Admitted {
		t.Errorf("a client of a unix socket: %v %v", ticket, refusal)
	}
	s.Leave(Ticket{}, 0)
	if s.Len() != 0 || table.Untracked() != 0 {
		t.Errorf("%d sources, %d untracked", s.Len(), table.Untracked())
	}
}

// TestSource tells which addresses are one source.
func TestSource(t *testing.T) {
	for _, test := range []struct {
		limits Limits
		a, b   string
		one    bool
	}{
		{Limits{}, "10.0.0.1", "10.0.0.1", true},
		{Limits{}, "10.0.0.1", "10.0.0.2", false},
		{Limits{}, "10.0.0.1", "::ffff:10.0.0.1", true},
		{Limits{IPv4Bits: 24}, "10.0.0.1", "10.0.0.2", true},
		{Limits{IPv4Bits: 24}, "10.0.0.1", "10.0.1.1", false},
		{Limits{}, "2001:db8::1", "2001:db8::2", true},
		{Limits{}, "2001:db8::1", "2001:db8:0:1::1", false},
		{Limits{IPv6Bits: 128}, "2001:db8::1", "2001:db8::2", false},
		{Limits{IPv6Bits: 48}, "2001:db8::1", "2001:db8:0:1::1", true},
		{Limits{}, "fe80::1%a", "fe80::1%b", true},
		{Limits{}, "::1", "0.0.0.1", false},
		{Limits{IPv4Bits: 99, IPv6Bits: 999}, "2001:db8::1", "2001:db8::2", false},
		{Limits{IPv4Bits: 99, IPv6Bits: 999}, "10.0.0.1", "10.0.0.2", false},
	} {
		s := NewTable(10).Sources()
		test.limits.MaxSessions = 1
		s.Arrive(&test.limits, netip.MustParseAddr(test.a), 0)
		_, refusal := s.Arrive(&test.limits, netip.MustParseAddr(test.b), 0)
		if (refusal == TooManySessions) != test.one {
			t.Errorf("%v: %q after %q: %v", test.limits, test.b, test.a, refusal)
		}
	}
}

// TestBitsChange reloads with other bits while sessions go on: each is given back to the
// source that it was taken of.
func TestBitsChange(t *testing.T) {
	s := NewTable(10).Sources()
	wide, narrow := &Limits{MaxSessions: 1, IPv4Bits: 31}, &Limits{MaxSessions: 1}
	before, _ := s.Arrive(wide, client(2), 0)
	after, refusal := s.Arrive(narrow, client(2), 0)
	if refusal != Admitted {
		t.Fatalf("the source of other bits: %v", refusal)
	}
	s.Leave(before, 0)
	if _, refusal := s.Arrive(narrow, client(2), 0); refusal != TooManySessions {
		t.Errorf("given back to the wrong source: %v", refusal)
	}
	if _, refusal := s.Arrive(wide, client(3), 0); refusal != Admitted {
		t.Errorf("not given back: %v", refusal)
	}
	s.Leave(after, 0)
	if _, refusal := s.Arrive(narrow, client(2), 0); refusal != Admitted {
		t.Errorf("not given back: %v", refusal)
	}
}

func TestClose(t *testing.T) {
	table := NewTable(2)
	limits := &Limits{MaxSessions: 1}
	a, b := table.Sources(), table.Sources()
	old, _ := a.Arrive(limits, client(1), 0)
	b.Arrive(limits, client(1), 0)
	a.Close()
	a.Close()
	if a.Len() != 0 || b.Len() != 1 {
		t.Errorf("%d and %d sources", a.Len(), b.Len())
	}
	if ticket, refusal := a.Arrive(limits, client(1), 0); ticket != (Ticket{}) || refusal != Admitted {
		t.Errorf("of closed ones: %v %v", ticket, refusal)
	}
	c := table.Sources() // has what the closed ones gave back
	if _, refusal := c.Arrive(limits, client(1), 0); refusal != Admitted || table.Untracked() != 0 {
		t.Errorf("no room was given back: %v", refusal)
	}
	a.Leave(old, 0)
	if _, refusal := c.Arrive(limits, client(1), 0); refusal != TooManySessions {
		t.Errorf("an old ticket gave back a session of others: %v", refusal)
	}
	if _, refusal := b.Arrive(limits, client(1), 0); refusal != TooManySessions {
		t.Errorf("the source of another listener: %v", refusal)
	}
}

func TestWould(t *testing.T) {
	s := NewTable(10).Sources()
	limits := &Limits{MaxSessions: 1, Rate: Rate{2, time.Second}}
	for range 3 {
		if refusal, source := s.Would(limits, client(1), 0); refusal != Admitted || source.Sessions != 0 || source.Network != netip.MustParsePrefix("10.0.0.1/32") {
			t.Errorf("nobody came: %v %v", refusal, source)
		}
	}
	s.Arrive(limits, client(1), 0)
	if refusal, source := s.Would(limits, client(1), 0); refusal != TooManySessions || source.Sessions != 1 {
		t.Errorf("one came: %v %v", refusal, source)
	}
	s.Arrive(limits, client(1), 0)
	if refusal, source := s.Would(limits, client(1), 0); refusal != TooFast || source.Refused != 1 || !source.Limited {
		t.Errorf("two came: %v %v", refusal, source)
	}
	if refusal, source := s.Would(&Limits{}, client(1), 0); refusal != Admitted || source != (Source{}) {
		t.Errorf("without limits: %v %v", refusal, source)
	}
}

func TestTop(t *testing.T) {
	table := NewTable(1000)
	s, other := table.Sources(), table.Sources()
	limits := &Limits{MaxSessions: 3, IPv6Bits: 48}
	other.Arrive(limits, client(9), 0)
	arrive := func(addr string, at time.Duration, times int) {
		for range times {
			s.Arrive(limits, netip.MustParseAddr(addr), int64(at))
		}
	}
	arrive("10.0.0.1", 0, 1)
	arrive("10.0.0.2", 0, 2)
	arrive("2001:db8::1", 5*time.Second, 23)
	arrive("2001:db8::1", 12*time.Second, 10)
	for n := range 300 {
		leaving, _ := s.Arrive(limits, netip.AddrFrom4([4]byte{11, byte(n / 256), byte(n), 0}), 0)
		s.Leave(leaving, 0)
	}
	got := fmt.Sprint(s.Top(3, int64(15*time.Second)))
	// Of the 23 in the last window, which the present one has half replaced, 11.5 count.
	want := "[{2001:db8::/48 3 2.15 30 true 5000000000} {10.0.0.2/32 2 0.1 0 false 0} {10.0.0.1/32 1 0.05 0 false 0}]"
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if all := s.Top(1000, 0); len(all) != s.Len() || len(all) != 303 {
		t.Errorf("%d of %d sources", len(all), s.Len())
	}
	if none := s.Top(0, 0); len(none) != 0 {
		t.Errorf("none are %v", none)
	}
	for _, test := range []struct {
		at      time.Duration
		limited bool
		since   time.Duration
	}{
		{72 * time.Second, true, 5 * time.Second},
		{73 * time.Second, false, 0},
	} {
		if top := s.Top(1, int64(test.at)); top[0].Limited != test.limited || top[0].Since != int64(test.since) {
			t.Errorf("after %v: %v", test.at, top[0])
		}
	}
	arrive("2001:db8::1", 80*time.Second, 1)
	if top := s.Top(1, int64(81*time.Second)); !top[0].Limited || top[0].Since != int64(80*time.Second) || top[0].Refused != 31 {
		t.Errorf("refused again: %v", top[0])
	}
}

// TestForget has many sources, and one that comes each second when they are gone: the
// table does not stay as large.
func TestForget(t *testing.T) {
	table := NewTable(1000)
	s := table.Sources()
	limits := &Limits{MaxSessions: 1}
	for n := range 500 {
		ticket, _ := s.Arrive(limits, client(n), 0)
		s.Leave(ticket, 0)
	}
	now := int64(forget)
	for n := range 10 {
		s.Arrive(limits, client(1000+n), now)
	}
	if s.Len() != 510 {
		t.Errorf("%d sources at the end of their time", s.Len())
	}
	now++
	for n := range 250 {
		s.Arrive(limits, client(2000+n), now)
	}
	if s.Len() != 260 || table.Evicted() != 0 {
		t.Errorf("%d sources, %d evicted", s.Len(), table.Evicted())
	}
}

// TestFlood floods a full table, with addresses of a whole /8. Who has a session or is limited by
// its rate stays so.
func TestFlood(t *testing.T) {
	table := NewTable(4096) // of several shards
	s := table.Sources()
	limits := &Limits{MaxSessions: 1, Rate: Rate{1, time.Minute}}
	_, holds := s.Arrive(limits, client(0), 0)
	ticket, tooFast := s.Arrive(limits, client(1), 0)
	s.Leave(ticket, 0)
	if holds != Admitted || tooFast != Admitted {
		t.Fatalf("%v, %v", holds, tooFast)
	}
	flood := func(first, n int, now int64) {
		for i := range n {
			if ticket, refusal := s.Arrive(limits, client(first+i), now); refusal != Admitted {
				t.Fatalf("a newcomer: %v", refusal)
			} else {
				s.Leave(ticket, now)
			}
		}
	}
	flood(2, 100_000, 59_999*ms) // all of them have used up their rate, too
	if untracked := table.Untracked(); s.Len() != 4096 || table.Evicted() != 0 || untracked != 100_002-4096 {
		t.Errorf("%d sources, %d evicted, %d untracked", s.Len(), table.Evicted(), untracked)
	}
	if refusal, _ := s.Would(limits, client(1), 59_999*ms); refusal != TooFast {
		t.Errorf("who came too fast, after the flood: %v", refusal)
	}
	flood(200_000, 100_000, 120_000*ms) // now their buckets are full again
	if s.Len() != 4096 || table.Evicted() != 4095 {
		t.Errorf("%d sources, %d evicted", s.Len(), table.Evicted())
	}
	if refusal, _ := s.Would(limits, client(0), 120_000*ms); refusal != TooManySessions {
		t.Errorf("who has a session, after the flood: %v", refusal)
	}
}

// model is a table in plain values, with buckets that hold what is left of them.
type model struct {
	room               int
	kept               map[key]*kept
	evicted, untracked uint64
}

type key struct {
	owner   *Sources
	network netip.Prefix
}

type kept struct {
	sessions int
	refused  uint64
	lacks    int64 // what the bucket lacks, as the time in which it comes
	at       int64 // the time at which it lacked that
	idle     int64 // since when, if it has no sessions
}

func (k *kept) pass(now int64) {
	k.lacks, k.at = max(0, k.lacks-(now-k.at)), now
}

func (k *kept) settle(now int64) {
	k.idle = never
	if k.sessions == 0 {
		k.idle = now + k.lacks
	}
}

// gone takes out of the model what is no longer in the table, which must be n of those
// that have been idle for longest.
func (m *model) gone(t *rapid.T, n int, now int64) {
	there := make(map[key]bool)
	owners := make(map[*Sources]bool)
	for k := range m.kept {
		if !owners[k.owner] {
			owners[k.owner] = true
			for _, source := range k.owner.Top(1000, now) {
				there[key{k.owner, source.Network}] = true
			}
		}
	}
	latest, earliest, missing := int64(-1), int64(never), 0
	for k, kept := range m.kept {
		if there[k] {
			earliest = min(earliest, kept.idle)
		} else {
			latest = max(latest, kept.idle)
			missing++
			delete(m.kept, k)
		}
	}
	if missing != n || latest > earliest {
		t.Fatalf("%d sources went, want %d; one idle since %d while one since %d stayed", missing, n, latest, earliest)
	}
}

func (m *model) arrive(t *rapid.T, owner *Sources, limits *Limits, addr netip.Addr, now int64, ticketed func(Ticket, *kept)) {
	bits := limits.IPv4Bits
	if bits == 0 {
		bits = 32
	}
	network, _ := addr.Prefix(bits)
	k := key{owner, network}
	one := m.kept[k]
	goes := 0
	tracked := true
	if one == nil {
		forgotten, idle := 0, 0
		for _, kept := range m.kept {
			if kept.idle < now-int64(forget) {
				forgotten++
			}
			if kept.idle <= now {
				idle++
			}
		}
		goes = min(2, forgotten)
		if len(m.kept)-goes == m.room {
			if tracked = idle > goes; tracked {
				goes++
				m.evicted++
			} else {
				m.untracked++
			}
		}
	}
	would, _ := owner.Would(limits, addr, now)
	ticket, got := owner.Arrive(limits, addr, now)
	if one == nil {
		m.gone(t, goes, now)
		one = &kept{at: now}
		if tracked {
			m.kept[k] = one
		}
	}
	if !tracked {
		if ticket != (Ticket{}) || got != Admitted {
			t.Fatalf("an untracked one: %v %v", ticket, got)
		}
		return
	}
	one.pass(now)
	want := Admitted
	if limits.Rate.Count > 0 {
		burst := int64(limits.Burst)
		if burst == 0 {
			burst = int64(limits.Rate.Count)
		}
		interval := int64(limits.Rate.Per) / int64(limits.Rate.Count)
		if has := burst*interval - one.lacks; has < interval {
			want = TooFast
			one.lacks = burst * interval
		} else {
			one.lacks += interval
		}
	}
	if want == Admitted && limits.MaxSessions > 0 && one.sessions >= limits.MaxSessions {
		want = TooManySessions
	}
	if got != want || would != want || (ticket != Ticket{}) != (want == Admitted) {
		t.Fatalf("%v at %d: %v with %v, foretold %v, want %v", addr, now, got, ticket, would, want)
	}
	if want == Admitted {
		one.sessions++
		ticketed(ticket, one)
	} else {
		one.refused++
	}
	one.settle(now)
}

// TestTableIsItsModel plays what listeners do, with limits that change, against a plain
// model.
func TestTableIsItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{room: rapid.IntRange(0, 6).Draw(t, "room"), kept: make(map[key]*kept)}
		table := NewTable(m.room)
		owners := []*Sources{table.Sources(), table.Sources()}
		limits := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) *Limits {
			limits := Limits{MaxSessions: rapid.IntRange(0, 3).Draw(t, "sessions")}
			if limits.MaxSessions == 0 || rapid.Bool().Draw(t, "rated") {
				rated := drawLimits(t)
				limits.Rate, limits.Burst = rated.Rate, rated.Burst
			}
			limits.IPv4Bits = rapid.SampledFrom([]int{0, 31, 24}).Draw(t, "bits")
			return &limits
		}), 1, 3).Draw(t, "limits")
		type session struct {
			owner  *Sources
			ticket Ticket
			of     *kept
		}
		var sessions []session
		now := int64(0)
		t.Repeat(map[string]func(*rapid.T){
			"arrive": func(t *rapid.T) {
				owner := rapid.SampledFrom(owners).Draw(t, "owner")
				m.arrive(t, owner, rapid.SampledFrom(limits).Draw(t, "limits"), client(rapid.IntRange(0, 7).Draw(t, "client")), now,
					func(ticket Ticket, of *kept) { sessions = append(sessions, session{owner, ticket, of}) })
			},
			"leave": func(t *rapid.T) {
				if len(sessions) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(sessions)-1).Draw(t, "session")
				one := sessions[i]
				sessions = append(sessions[:i:i], sessions[i+1:]...)
				one.owner.Leave(one.ticket, now)
				one.of.pass(now)
				one.of.sessions--
				one.of.settle(now)
			},
			"wait": func(t *rapid.T) {
				now += rapid.OneOf(rapid.Int64Range(0, 2*int64(time.Second)), rapid.Int64Range(0, int64(time.Hour)),
					rapid.Just(int64(time.Second)/3), rapid.Just(int64(time.Minute)), rapid.Just(int64(forget))).Draw(t, "time")
			},
			"close": func(t *rapid.T) {
				if rapid.IntRange(0, 4).Draw(t, "seldom") > 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(owners)-1).Draw(t, "owner")
				owners[i].Close()
				for k := range m.kept {
					if k.owner == owners[i] {
						delete(m.kept, k)
					}
				}
				owners[i] = table.Sources()
			},
			"": func(t *rapid.T) {
				if table.Evicted() != m.evicted || table.Untracked() != m.untracked {
					t.Fatalf("%d evicted, want %d; %d untracked, want %d", table.Evicted(), m.evicted, table.Untracked(), m.untracked)
				}
				length := 0
				for _, owner := range owners {
					top := owner.Top(1000, now)
					if len(top) != owner.Len() {
						t.Fatalf("%d sources, and %d are told", owner.Len(), len(top))
					}
					length += len(top)
					for _, source := range top {
						if one := m.kept[key{owner, source.Network}]; one == nil || one.sessions != source.Sessions || one.refused != source.Refused {
							t.Fatalf("%v, want %v", source, one)
						}
					}
				}
				if length != len(m.kept) {
					t.Fatalf("%d sources, want %d", length, len(m.kept))
				}
			},
		})
	})
}

// TestConcurrent has many loops on few sources in little room, while others look and
// close. No source ever has more than its sessions, and in the end all are given back.
func TestConcurrent(t *testing.T) {
	table := NewTable(2048)
	s := table.Sources()
	limits := &Limits{MaxSessions: 3}
	const clients, rounds = 8, 2000
	var have [clients]atomic.Int32
	var clock atomic.Int64
	var loops, others sync.WaitGroup
	done := make(chan struct{})
	for loop := range 8 {
		loops.Go(func() {
			random := rand.New(rand.NewPCG(uint64(loop), 0))
			for range rounds {
				n := random.IntN(clients)
				ticket, refusal := s.Arrive(limits, client(n), clock.Add(1))
				if refusal == Admitted {
					if have[n].Add(1) > 3 {
						t.Error("too many sessions")
					}
					runtime.Gosched()
					have[n].Add(-1)
					s.Leave(ticket, clock.Add(1))
				}
				ticket, _ = s.Arrive(limits, client(1000+random.IntN(10_000)), clock.Add(1))
				s.Leave(ticket, clock.Add(1))
			}
		})
	}
	others.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				s.Top(3, clock.Load())
				short := table.Sources()
				short.Arrive(limits, client(1), clock.Load())
				short.Close()
			}
		}
	})
	loops.Wait()
	close(done)
	others.Wait()
	if top := s.Top(1, clock.Load()+int64(time.Hour)); top[0].Sessions != 0 { // nothing else makes it busy by then
		t.Errorf("%v", top[0])
	}
	if table.Untracked() != 0 || table.Evicted() == 0 {
		t.Errorf("%d untracked, %d evicted", table.Untracked(), table.Evicted())
	}
}

// TestMemory fills a table. What it takes is counted with all that belongs to it.
func TestMemory(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("counts memory")
	}
	before := heap()
	table := NewTable(MaxSources)
	s := table.Sources()
	limits := &Limits{MaxSessions: 1, Rate: Rate{1, time.Second}}
	for n := range 2 * MaxSources {
		s.Arrive(limits, client(n), 0)
	}
	taken := heap() - before
	if s.Len() != MaxSources {
		t.Errorf("%d sources", s.Len())
	}
	if taken > 128*MaxSources {
		t.Errorf("%d bytes for each source", taken/MaxSources)
	}
	t.Logf("%.1f bytes for each source", float64(taken)/MaxSources)
	runtime.KeepAlive(table)
}

func heap() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// TestNoAllocation counts what it takes when a table is full, and its sources change.
func TestNoAllocation(t *testing.T) {
	table := NewTable(1000)
	s := table.Sources()
	limits := &Limits{MaxSessions: 1, Rate: Rate{1, time.Second}}
	n, now := 0, int64(0)
	once := func() {
		n, now = n+1, now+int64(time.Second)
		ticket, _ := s.Arrive(limits, client(n%3000), now)
		s.Arrive(limits, client(n%3000), now)
		s.Leave(ticket, now)
	}
	for range 1000 {
		once()
	}
	if allocations := testing.AllocsPerRun(10_000, once); allocations > 0 {
		t.Errorf("%v allocations", allocations)
	}
}

// BenchmarkArrive is one session of one of so many sources: it arrives and leaves.
func BenchmarkArrive(b *testing.B) {
	limits := &Limits{MaxSessions: 1 << 30, Rate: Rate{MaxCount, time.Second}}
	for _, sources := range []int{1, 1000, MaxSources} {
		for _, parallel := range []bool{false, true} {
			b.Run(fmt.Sprintf("sources=%d/parallel=%v", sources, parallel), func(b *testing.B) {
				s := NewTable(MaxSources).Sources()
				var clock atomic.Int64
				for n := range sources {
					ticket, _ := s.Arrive(limits, client(n), 0)
					s.Leave(ticket, 0)
				}
				session := func(random *rand.Rand) {
					now := clock.Add(1000)
					ticket, _ := s.Arrive(limits, client(random.IntN(sources)), now)
					s.Leave(ticket, now)
				}
				b.ReportAllocs()
				b.ResetTimer()
				if parallel {
					b.RunParallel(func(pb *testing.PB) {
						random := rand.New(rand.NewPCG(1, 2))
						for pb.Next() {
							session(random)
						}
					})
					return
				}
				random := rand.New(rand.NewPCG(1, 2))
				for range b.N {
					session(random)
				}
			})
		}
	}
}

// BenchmarkFlood is a newcomer to a full table, for whom another goes.
func BenchmarkFlood(b *testing.B) {
	limits := &Limits{MaxSessions: 1}
	s := NewTable(MaxSources).Sources()
	n := 0
	session := func() {
		n++
		ticket, _ := s.Arrive(limits, client(n), int64(n))
		s.Leave(ticket, int64(n))
	}
	for range MaxSources {
		session()
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		session()
	}
}
