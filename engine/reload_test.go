package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"balance/engine"
	"balance/engine/balancer"
	"balance/engine/spec"
)

// inode identifies the socket that listens at an address in /proc/net/tcp.
func inode(t testing.TB, address string) string {
	t.Helper()
	addr := netip.MustParseAddrPort(address)
	ip := addr.Addr().As4()
	local := fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[3], ip[2], ip[1], ip[0], addr.Port())
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Skip("this system has no /proc/net/tcp")
	}
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 9 && f[1] == local && f[3] == "0A" { // 0A: TCP_LISTEN
			return f[9]
		}
	}
	return ""
}

// TestSequence goes through numbered configurations, and after each asks for
// routing, sockets, sessions and counters.
func TestSequence(t *testing.T) {
	r := newRig(t)
	a, b, c, d := r.server("a"), r.server("b"), r.server("c"), r.server("d")
	web, mail, extra := free(t, "127.0.0.1"), free(t, "127.0.0.1"), free(t, "127.0.0.1")

	// 1: two listeners.
	r.apply(declare(listener("web", web, a, b), listener("mail", mail, c)))
	webInode, mailInode := inode(t, web), inode(t, mail)
	sameSockets := func(step int) {
		t.Helper()
		if got := inode(t, web); got != webInode {
			t.Errorf("%d: the socket of web changed from %s to %s", step, webInode, got)
		}
	}
	if got := served(t, web, 2); got != "a b" {
		t.Errorf("1: served by %q", got)
	}
	onA, onB := dial(t, web), dial(t, web)
	if onA.by != "a" || onB.by != "b" {
		t.Fatalf("1: sessions on %s and %s", onA.by, onB.by)
	}

	// 2: nothing changes.
	if changes := r.apply(declare(listener("web", web, a, b), listener("mail", mail, c))); len(changes) != 0 {
		t.Errorf("2: changes\n%s", changes)
	}
	if r.Snapshot().Generation != 1 {
		t.Error("2: the generation grew")
	}

	// 3: b is removed, d added; the session on b goes on.
	r.apply(declare(listener("web", web, a, d), listener("mail", mail, c)))
	if got := served(t, web, 4); strings.Contains(got, "b") || !strings.Contains(got, "d") {
		t.Errorf("3: served by %q", got)
	}
	onB.works()
	sameSockets(3)
	if s := r.status("web", a); s.Sessions != 4 || s.Active != 1 {
		t.Errorf("3: the counters of a are lost: %+v", s)
	}

	// 4: b comes back and starts from zero, a moves to a second group.
	l := listener("web", web, d, b)
	l.Groups = append(l.Groups, group(a))
	r.apply(declare(l, listener("mail", mail, c)))
	if s := r.status("web", b); s.Sessions != 0 || s.Active != 0 {
		t.Errorf("4: b did not start from zero: %+v", s)
	}
	if s := r.status("web", a); s.Sessions != 4 || s.Active != 1 {
		t.Errorf("4: the counters of a are lost: %+v", s)
	}
	if got := served(t, web, 4); strings.Contains(got, "a") {
		t.Errorf("4: served by %q", got)
	}
	onA.works()
	onB.works()

	// 5: a group is put in front; groups are renumbered.
	l.Groups = append([]spec.Group{group(c)}, l.Groups...)
	r.apply(declare(l, listener("mail", mail, c)))
	if got := served(t, web, 2); got != "c c" {
		t.Errorf("5: served by %q", got)
	}
	sameSockets(5)

	// 6: the groups turn round, with limits.
	l.Groups = []spec.Group{group(a), group(d, b), group(c)}
	l.Groups[0].Channels[0].MaxConns = 1
	l.Groups[1].Channels[0].MaxConns = 1
	r.apply(declare(l, listener("mail", mail, c)))
	onD := dial(t, web) // a has one session already
	if onD.by != "d" {
		t.Errorf("6: served by %q", onD.by)
	}
	if got := served(t, web, 2); got != "b b" {
		t.Errorf("6: served by %q", got)
	}

	// 7: a listener more, one less; web gets a second address and a new name.
	l.Name = "www"
	l.Listen = []string{web, extra}
	r.apply(declare(l))
	refused(t, mail)
	if got := served(t, extra, 1); got != "b" {
		t.Errorf("7: served by %q", got)
	}
	sameSockets(7)
	if s := r.status("www", a); s.Sessions != 4 {
		t.Errorf("7: the new name lost counters: %+v", s)
	}
	extraInode := inode(t, extra)

	// 8: www loses its first address, a new listener takes it with its socket.
	l.Listen = []string{extra}
	r.apply(declare(l, listener("web", web, c)))
	if got := served(t, web, 1); got != "c" {
		t.Errorf("8: served by %q", got)
	}
	sameSockets(8)
	if got := inode(t, extra); got != extraInode {
		t.Errorf("8: the socket of www changed")
	}

	// 9: mail comes back.
	r.apply(declare(l, listener("web", web, c), listener("mail", mail, a)))
	if got := served(t, mail, 1); got != "a" {
		t.Errorf("9: served by %q", got)
	}
	if got := inode(t, mail); got == mailInode {
		t.Errorf("9: the socket of mail was never closed")
	}
	for _, session := range []*client{onA, onB, onD} {
		session.works()
		session.Close()
	}
	eventually(t, "all sessions have ended", func() bool { return sessions(r) == 0 })
}

// A configuration that cannot be applied changes nothing at all.
func TestAllOrNothing(t *testing.T) {
	busy, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	r := newRig(t)
	a, b := r.server("a"), r.server("b")
	web, other := free(t, "127.0.0.1"), free(t, "127.0.0.1")
	good := declare(listener("web", web, a))
	r.apply(good)
	before, session := inode(t, web), dial(t, web)
	for name, bad := range map[string]*spec.Config{
		"port in use": declare(listener("web", web, b), listener("other", other, b), listener("busy", busy.Addr().String(), b)),
		"fault":       declare(listener("web", web, b), listener("other", other)),
		"overlap": func() *spec.Config {
			wide := "0.0.0.0" + web[strings.LastIndex(web, ":"):]
			return declare(listener("web", wide, b), listener("busy", busy.Addr().String(), b))
		}(),
	} {
		if _, err := r.Apply(context.Background(), bad); err == nil {
			t.Errorf("%s: applied", name)
		}
		if r.Config() != good || r.Snapshot().Generation != 1 {
			t.Errorf("%s: another configuration is in force", name)
		}
		if got := served(t, web, 2); got != "a a" {
			t.Errorf("%s: served by %q", name, got)
		}
		if got := inode(t, web); got != before {
			t.Errorf("%s: the socket changed", name)
		}
		refused(t, other)
	}
	session.works()
}

// A socket that moves between overlapping addresses loses nobody: clients
// connect without pause while it moves to and fro.
func TestMoveBetweenOverlappingAddresses(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("sockets are moved without a gap on Linux only")
	}
	r := newRig(t)
	a := r.server("a")
	narrow := free(t, "127.0.0.1")
	port := narrow[strings.LastIndex(narrow, ":"):]
	r.apply(declare(listener("web", narrow, a)))
	stop := make(chan struct{})
	failures := make(chan error, 8)
	var clients atomic.Int64
	for range cap(failures) {
		go func() {
			for {
				select {
				case <-stop:
					failures <- nil
					return
				default:
				}
				c, err := tryDial(narrow)
				if err != nil {
					failures <- err
					return
				}
				c.Close()
				clients.Add(1)
			}
		}()
	}
	for range 5 {
		for _, address := range []string{"0.0.0.0" + port, port, narrow} {
			r.apply(declare(listener("web", address, a)))
			before := clients.Load()
			eventually(t, "clients came", func() bool { return clients.Load() > before+50 || len(failures) > 0 })
		}
	}
	close(stop)
	for range cap(failures) {
		if err := <-failures; err != nil {
			t.Errorf("a client failed: %v", err)
		}
	}
	if s := r.status("web", a); s.Sessions == 0 {
		t.Error("the counters did not survive the move")
	}
	// A second daemon's bind is refused afterwards as before.
	if l, err := net.Listen("tcp4", narrow); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second bind: %v, %v", l, err)
	}
}

func TestOnRemove(t *testing.T) {
	for _, removal := range []string{"channel", "listener"} {
		for _, mode := range []spec.OnRemove{spec.Keep, spec.Drain, spec.Close} {
			t.Run(fmt.Sprintf("%s/%s", removal, mode), func(t *testing.T) {
				r := newRig(t)
				a, b := r.server("a"), r.server("b")
				web, other := free(t, "127.0.0.1"), free(t, "127.0.0.1")
				l := listener("web", web, a, b)
				l.OnRemove, l.DrainTimeout = mode, 50*time.Millisecond
				if mode == spec.Drain {
					l.DrainTimeout = time.Second
				}
				stays := listener("other", other, a)
				r.apply(declare(l, stays))
				onA, onB, bystander := dial(t, web), dial(t, web), dial(t, other)
				if removal == "channel" {
					l.Groups = []spec.Group{group(b)}
					r.apply(declare(l, stays))
					onB.works()
				} else {
					r.apply(declare(stays))
				}
				bystander.works()
				if mode == spec.Keep {
					time.Sleep(100 * time.Millisecond) // longer than the drain timeout
					onA.works()
					return
				}
				if mode == spec.Drain {
					onA.works()
				}
				want := map[spec.OnRemove]error{spec.Drain: io.EOF, spec.Close: syscall.ECONNRESET}[mode]
				if _, err := onA.Read(make([]byte, 1)); !errors.Is(err, want) {
					t.Errorf("the session on the removed %s saw %v, want %v", removal, err, want)
				}
				bystander.works()
			})
		}
	}
}

// TestDrainEndsTheIdlestFirst has an hour to end three sessions.
func TestDrainEndsTheIdlestFirst(t *testing.T) {
	r := newRig(t)
	a, b := r.server("a"), r.server("b")
	web := free(t, "127.0.0.1")
	l := listener("web", web, a)
	l.OnRemove, l.DrainTimeout, l.CloseSpread = spec.Drain, 10*time.Millisecond, time.Hour
	r.apply(declare(l))
	busy, idle, other := dial(t, web), dial(t, web), dial(t, web)
	idle.works()
	eventually(t, "its bytes are counted", func() bool {
		counted := false
		for s := range r.Sessions {
			counted = counted || s.Client.String() == idle.LocalAddr().String() && s.Sent > 0 && s.Received > s.Sent
		}
		return counted
	})
	// A loop tells the time once a turn, so one that was held up may be late with it.
	eventually(t, "the others have had a byte since", func() bool {
		other.works()
		busy.works()
		first := ""
		var oldest time.Time
		for s := range r.Sessions {
			if oldest.IsZero() || s.Active.Before(oldest) {
				first, oldest = s.Client.String(), s.Active
			}
		}
		return first == idle.LocalAddr().String()
	})
	l.Groups = []spec.Group{group(b)}
	r.apply(declare(l))
	if _, err := idle.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the idle session saw %v", err)
	}
	busy.works()
	other.works()
}

func TestOperatorsWordSurvives(t *testing.T) {
	r := newRig(t)
	a, b := r.server("a"), r.server("b")
	web := free(t, "127.0.0.1")
	l := listener("web", web, a, b)
	r.apply(declare(l))
	if changed, err := r.Enable("web", a.key(), false); !changed || err != nil {
		t.Fatalf("disable: %v, %v", changed, err)
	}
	l.Groups = []spec.Group{group(b, a)}
	l.Groups[0].Channels[1].MaxConns = 7
	r.apply(declare(l))
	if got := served(t, web, 2); got != "b b" {
		t.Errorf("served by %q", got)
	}
	if changed, err := r.Enable("web", a.key(), true); !changed || err != nil {
		t.Fatalf("enable: %v, %v", changed, err)
	}
	if got := served(t, web, 2); !strings.Contains(got, "a") {
		t.Errorf("served by %q", got)
	}
	for _, key := range nobody(a.key()) {
		if _, err := r.Enable("web", key, true); !errors.Is(err, engine.ErrNoChannel) {
			t.Errorf("channel %s exists: %v", key, err)
		}
	}
	if _, err := r.Enable("nobody", a.key(), true); err == nil {
		t.Error("listener nobody exists")
	}
}

// nobody returns keys like this one that no channel has.
func nobody(key balancer.Key) []balancer.Key {
	repeat, other := key, key
	repeat.Nth, other.Host = key.Nth+1, "192.0.2.1"
	return []balancer.Key{{}, repeat, other}
}

func TestAutoDisabledStaysSo(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	dead := &server{name: "dead", addr: netip.MustParseAddrPort(free(t, "127.0.0.1"))}
	web := free(t, "127.0.0.1")
	l := listener("web", web, dead, a)
	l.AutoDisable = true
	r.apply(declare(l))
	served(t, web, 1)
	if s := r.status("web", dead); s.State != balancer.StateAutoDisabled {
		t.Fatalf("the dead channel: %+v", s)
	}
	l.Groups = []spec.Group{group(dead, a)}
	l.Groups[0].Channels[1].MaxConns = 9
	r.apply(declare(l))
	if s := r.status("web", dead); s.State != balancer.StateAutoDisabled {
		t.Error("a reload that does not name the channel enabled it")
	}
	l.Groups = []spec.Group{group(dead, a)}
	l.Groups[0].Channels[0].CheckPort = 9
	r.apply(declare(l))
	if s := r.status("web", dead); s.State != balancer.StateAutoDisabled {
		t.Error("a reload that has it checked elsewhere enabled it")
	}
	l.Groups = []spec.Group{group(dead, a)}
	l.Groups[0].Channels[0].CheckPort = 9
	l.Groups[0].Channels[0].Weight = spec.WeightOf(3)
	r.apply(declare(l))
	if s := r.status("web", dead); s.State != balancer.StateAutoDisabled {
		t.Error("a reload that gives it another weight enabled it")
	}
	l.Groups = []spec.Group{group(dead, a)}
	l.Groups[0].Channels[0].MaxConns = 9
	r.apply(declare(l))
	if s := r.status("web", dead); s.State == balancer.StateAutoDisabled {
		t.Error("a reload that changes the channel did not give it a new chance")
	}
}

// A group that chooses in another way is the same group.
func TestAnotherModeKeepsCountersAndSessions(t *testing.T) {
	r := newRig(t)
	a, b := r.server("a"), r.server("b")
	web := free(t, "127.0.0.1")
	l := listener("web", web, a, b)
	r.apply(declare(l))
	served(t, web, 4)
	first, second := dial(t, web), dial(t, web)
	for _, mode := range []balancer.Mode{balancer.LeastConn, balancer.Random, balancer.First, balancer.Hash, balancer.RoundRobin} {
		l.Groups = []spec.Group{{Mode: mode, SlowStart: time.Hour, Channels: slices.Clone(l.Groups[0].Channels)}}
		l.Groups[0].Channels[0].Weight++
		if changes := r.apply(declare(l)); len(changes) == 0 {
			t.Errorf("%s: nothing changed", mode)
		}
		for _, s := range []*server{a, b} {
			if is := r.status("web", s); is.Active != 1 || is.Sessions != 3 || is.State != balancer.StateUp {
				t.Errorf("%s: channel %s has %d sessions of %d, and is %s", mode, s.name, is.Active, is.Sessions, is.State)
			}
		}
		if got := r.Snapshot().Listeners[0].Groups[0].Mode; got != mode {
			t.Errorf("the mode is %s, want %s", got, mode)
		}
		first.works()
		second.works()
	}
}

// Every setting of a listener takes effect for new sessions, and the idle
// timeout for running ones too.
func TestSettingsTakeEffect(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	web := free(t, "127.0.0.1")
	l := listener("web", web, a)
	r.apply(declare(l))
	idle := dial(t, web)
	l.IdleTimeout = 50 * time.Millisecond
	r.apply(declare(l))
	if _, err := idle.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("an idle session saw %v, want a reset", err)
	}
	l.IdleTimeout = 0
	l.Groups = []spec.Group{{Mode: balancer.Hash, Channels: group(a).Channels}, group(a)}
	l.Groups[0].Channels[0].Disabled = true
	r.apply(declare(l))
	if got := served(t, web, 1); got != "a" {
		t.Errorf("served by %q", got)
	}
	if g := r.Snapshot().Listeners[0].Groups; g[0].Mode != balancer.Hash || g[0].Channels[0].State.Enabled() || g[1].Channels[0].Sessions != 1 {
		t.Errorf("groups %+v", g)
	}
}

func TestANewNameThatDoesNotResolve(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	web := free(t, "127.0.0.1")
	l := listener("web", web, a)
	r.apply(declare(l))
	l.Groups = []spec.Group{{Channels: []spec.Channel{{Host: "new.example", Port: 80}}}, group(a)}
	r.apply(declare(l))
	if got := served(t, web, 2); got != "a a" {
		t.Errorf("served by %q", got)
	}
	if !strings.Contains(r.log.String(), "new.example") {
		t.Error("the name is not in the log")
	}
}

// What waits in the queue of a listener that is removed is served.
func TestRemovedListenerServesItsQueue(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	web, other := free(t, "127.0.0.1"), free(t, "127.0.0.1")
	for range 20 {
		r.apply(declare(listener("web", web, a), listener("other", other, a)))
		conns := make(chan *client, 8)
		for range cap(conns) {
			conn, err := net.Dial("tcp", web)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(patience))
				if n, err := conn.Read(make([]byte, 2)); n == 0 {
					t.Errorf("a client who had connected: %v", err)
				}
				conns <- nil
			}()
		}
		r.apply(declare(listener("other", other, a)))
		for range cap(conns) {
			<-conns
		}
	}
}

// Two configurations each of which serves everybody must not turn anybody away
// on the way from one to the other: the first channel is full in one and
// without a limit, but alone, in the other.
func TestSwapTurnsNobodyAway(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	web := free(t, "127.0.0.1")
	limited := listener("web", web, a)
	limited.Groups[0].Channels[0].MaxConns = 1
	limited.Groups = append(limited.Groups, group(a))
	alone := listener("web", web, a)
	configs := []*spec.Config{declare(limited), declare(alone)}
	r.apply(configs[0])
	dial(t, web) // fills the first channel
	stop := make(chan struct{})
	done := make(chan error, 16)
	for range cap(done) {
		go func() {
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				c, err := tryDial(web)
				if err != nil {
					done <- err
					return
				}
				c.Close()
			}
		}()
	}
	for i := range 2000 {
		r.apply(configs[(i+1)%2])
	}
	close(stop)
	for range cap(done) {
		if err := <-done; err != nil {
			t.Errorf("a client failed: %v", err)
		}
	}
}

// TestApplyLeavesNothingBehind goes through many configurations and compares
// what is on the heap after 100 and after 1000 of them.
func TestApplyLeavesNothingBehind(t *testing.T) {
	r := newRig(t)
	a, b := r.server("a"), r.server("b")
	web, other := free(t, "127.0.0.1"), free(t, "127.0.0.1")
	heap := func() uint64 {
		var stats runtime.MemStats
		eventually(t, "retired sockets are closed", func() bool { return inode(t, other) == "" })
		r.log.reset()
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	var early uint64
	for i := range 1000 {
		l := listener(fmt.Sprintf("name%d", i), web, a)
		for k := range i % 5 {
			l.Groups = append(l.Groups, group(b, a))
			l.Groups[k].Channels[0].MaxConns = i
		}
		l.Groups = append(l.Groups, spec.Group{Channels: []spec.Channel{{Host: fmt.Sprintf("h%d.example", i), Port: 80}}})
		c := declare(l)
		if i%50 == 1 {
			c.Listeners = append(c.Listeners, listener("other", other, a))
		}
		r.apply(c)
		if i == 99 {
			early = heap()
		}
	}
	// The runtime keeps a few KiB more as it goes; what an Apply makes for one
	// listener alone takes more than a KiB.
	if late := heap(); late > early+100<<10 {
		t.Errorf("the heap grew from %d to %d bytes", early, late)
	}
}

func BenchmarkApply(b *testing.B) {
	const listeners, channels = 1000, 10
	config := func(maxc int) *spec.Config {
		c := declare()
		for i := range listeners {
			l := spec.Defaults()
			l.Name = fmt.Sprintf("l%d", i)
			l.Listen = []string{fmt.Sprintf("127.1.%d.%d:8009", i/250, i%250+1)}
			var g spec.Group
			for k := range channels {
				g.Channels = append(g.Channels, spec.Channel{Host: fmt.Sprintf("127.2.%d.%d", i/250, k+1), Port: 9})
			}
			l.Groups = []spec.Group{g}
			c.Listeners = append(c.Listeners, l)
		}
		c.Listeners[500].Groups[0].Channels[5].MaxConns = maxc
		return c
	}
	b.Run("1000Listeners", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			r := newRig(b)
			b.StartTimer()
			r.apply(config(0))
			b.StopTimer()
			r.Shutdown(canceled())
			b.StartTimer()
		}
	})
	b.Run("OneChannelOf10000", func(b *testing.B) {
		r := newRig(b)
		configs := []*spec.Config{config(0), config(1)}
		r.apply(configs[0])
		for i := 1; b.Loop(); i++ {
			r.apply(configs[i%2])
		}
	})
}
