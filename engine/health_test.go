package engine_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"balance/engine"
	"balance/engine/balancer"
	"balance/engine/spec"
)

// verdict answers checks as the test says: a line with UP or DOWN.
type verdict struct {
	port  uint16
	up    atomic.Bool
	asked atomic.Int64
}

func (r *rig) verdict(up bool) *verdict {
	r.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		r.Fatal(err)
	}
	v := &verdict{port: listener.Addr().(*net.TCPAddr).AddrPort().Port()}
	v.up.Store(up)
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			v.asked.Add(1)
			if v.up.Load() {
				fmt.Fprintln(conn, "UP")
			} else {
				fmt.Fprintln(conn, "DOWN")
			}
			conn.Close()
		}
	})
	r.Cleanup(func() {
		listener.Close()
		accepting.Wait()
	})
	return v
}

// checkedBy declares a server as a channel that the verdict decides about.
func (s *server) checkedBy(v *verdict) spec.Channel {
	channel := s.channel()
	channel.CheckPort = v.port
	return channel
}

// quick is a check of verdicts that needs no patience.
func quick() spec.Check {
	check := spec.DefaultCheck()
	check.Type, check.Expect = spec.CheckTCP, "^UP"
	check.Interval, check.FastInterval, check.DownInterval = 20*time.Millisecond, 10*time.Millisecond, 20*time.Millisecond
	check.Timeout = patience
	check.Rise, check.Fall = 1, 1
	return check
}

func (r *rig) becomes(listener string, s *server, state balancer.State) {
	r.Helper()
	eventually(r, fmt.Sprintf("%s is %s", s.name, state), func() bool { return r.status(listener, s).State == state })
}

func checkedListener(address string, check spec.Check, groups ...[]spec.Channel) spec.Listener {
	l := spec.Defaults()
	l.Name, l.Listen = "web", []string{address}
	for _, channels := range groups {
		l.Groups = append(l.Groups, spec.Group{Check: check, Channels: channels})
	}
	return l
}

func TestDownIsNotTried(t *testing.T) {
	r := newRig(t)
	a, b := r.server("a"), r.server("b")
	of := r.verdict(false)
	address := free(t, "127.0.0.1")
	r.apply(declare(checkedListener(address, quick(), []spec.Channel{a.checkedBy(of), b.checkedBy(r.verdict(true))})))
	r.becomes("web", a, balancer.StateDown)
	r.becomes("web", b, balancer.StateUp)
	if by := served(t, address, 4); by != "b b b b" {
		t.Errorf("with a down, clients are served by %s", by)
	}
	if is := r.status("web", a); !strings.Contains(is.Reason, "DOWN") || is.Since.IsZero() || time.Since(is.Since) > patience || is.Check == nil {
		t.Errorf("a is down since %s because %q, check %v", is.Since, is.Reason, is.Check)
	}
	of.up.Store(true)
	r.becomes("web", a, balancer.StateUp)
	eventually(t, "the log and the events tell", func() bool {
		log := r.log.String()
		return strings.Count(log, `msg="channel down"`) == 1 && strings.Count(log, `msg="channel up"`) == 1 &&
			slices.Equal(r.happened(a), []string{"down", "up"})
	})
	if by := served(t, address, 4); !strings.Contains(by, "a") || !strings.Contains(by, "b") {
		t.Errorf("with a up again, clients are served by %s", by)
	}
}

// happened lists what the events say of a channel.
func (r *rig) happened(s *server) []string {
	var list []string
	for _, event := range r.Events(engine.MaxEvents) {
		if event.Channel == s.key().String() {
			list = append(list, event.What)
		}
	}
	return list
}

// TestHealthOutlivesReload has a check that takes down at once and that brings
// nothing up before many results: who had forgotten what it knew would be up with
// the first.
func TestHealthOutlivesReload(t *testing.T) {
	r := newRig(t)
	a, b := r.server("a"), r.server("b")
	of := r.verdict(false)
	check := quick()
	check.Rise = spec.MaxCheckCount
	l := checkedListener(free(t, "127.0.0.1"), check, []spec.Channel{a.checkedBy(of), b.channel()})
	r.apply(declare(l))
	r.becomes("web", a, balancer.StateDown)
	since := r.status("web", a).Since
	of.up.Store(true)
	l.IdleTimeout = time.Minute
	l.Groups = append(slices.Clone(l.Groups), spec.Group{Channels: []spec.Channel{r.server("c").channel()}})
	r.apply(declare(l, listener("other", free(t, "127.0.0.1"), b)))
	asked := of.asked.Load()
	eventually(t, "it was checked again", func() bool { return of.asked.Load() > asked+3 })
	if is := r.status("web", a); is.State != balancer.StateDown || is.Since.Sub(since).Abs() > 10*time.Millisecond {
		t.Errorf("after a reload it is %s since %s, not down since %s", is.State, is.Since, since)
	}
	l.Groups = slices.Clone(l.Groups)
	l.Groups[0].Check.Rise = 1 // another check, which begins anew
	r.apply(declare(l))
	r.becomes("web", a, balancer.StateUp)
	l.Groups = slices.Clone(l.Groups)
	l.Groups[0].Check = spec.Check{}
	of.up.Store(false)
	r.apply(declare(l))
	if is := r.status("web", a); is.State == balancer.StateDown || is.Check != nil {
		t.Errorf("without a check it is %s, check %v", is.State, is.Check)
	}
}

// closed waits for the session's end and says whether that was a reset.
func (c *client) closed() (reset bool) {
	c.t.Helper()
	_, err := io.Copy(io.Discard, c)
	return errors.Is(err, syscall.ECONNRESET)
}

func TestOnDown(t *testing.T) {
	for _, test := range []struct {
		name   string
		before func(r *rig, l *spec.Listener, a *server) // what happens to a while it is up
	}{
		{"in service", func(*rig, *spec.Listener, *server) {}},
		{"draining", func(r *rig, _ *spec.Listener, a *server) {
			if n, err := r.Drain("web", a.key()); n != 1 || err != nil {
				r.Fatalf("%d sessions, %v", n, err)
			}
		}},
		{"removed", func(r *rig, l *spec.Listener, a *server) {
			l.Groups[0].Channels = l.Groups[0].Channels[1:]
			r.apply(declare(*l))
		}},
		{"listener removed", func(r *rig, l *spec.Listener, a *server) {
			r.apply(declare(listener("other", free(r, "127.0.0.1"), a)))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			a, b := r.server("a"), r.server("b")
			of := r.verdict(true)
			address := free(t, "127.0.0.1")
			l := checkedListener(address, quick(), []spec.Channel{a.checkedBy(of), b.channel()})
			l.OnDown = spec.CloseSessions
			l.Groups[0].Channels[1].CheckPort = r.verdict(true).port
			r.apply(declare(l))
			r.becomes("web", a, balancer.StateUp)
			on := map[string]*client{}
			for range 2 {
				c := dial(t, address)
				on[c.by] = c
			}
			copied := l
			copied.Groups = []spec.Group{{Check: l.Groups[0].Check, Channels: slices.Clone(l.Groups[0].Channels)}}
			test.before(r, &copied, a)
			on["a"].works()
			of.up.Store(false)
			if !on["a"].closed() {
				t.Error("the session of the channel that is down was not reset")
			}
			on["b"].works()
		})
	}
}

func TestOnReturn(t *testing.T) {
	for _, wanted := range []spec.KeepOrClose{spec.KeepSessions, spec.CloseSessions} {
		t.Run(wanted.String(), func(t *testing.T) {
			r := newRig(t)
			a, b := r.server("a"), r.server("b")
			of := r.verdict(false)
			address := free(t, "127.0.0.1")
			l := checkedListener(address, quick(), []spec.Channel{a.checkedBy(of)}, []spec.Channel{b.checkedBy(r.verdict(true))})
			l.OnReturn = wanted
			l.Groups[0].Channels[0].MaxConns = 2
			r.apply(declare(l))
			r.becomes("web", a, balancer.StateDown)
			for range 3 {
				if c := dial(t, address); c.by != "b" {
					t.Fatalf("served by %s", c.by)
				}
			}
			of.up.Store(true)
			r.becomes("web", a, balancer.StateUp)
			left := 3
			if wanted == spec.CloseSessions {
				left = 1 // a has two slots
				eventually(t, "two sessions are closed", func() bool { return r.status("web", b).Active == left })
			}
			if by := served(t, address, 1); by != "a" {
				t.Errorf("a new client is served by %s", by)
			}
			if n := r.status("web", b).Active; n != left {
				t.Errorf("%d sessions are left", n)
			}
		})
	}
}

// TestCloseSpread has an hour to close four sessions.
func TestCloseSpread(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	of := r.verdict(true)
	address := free(t, "127.0.0.1")
	l := checkedListener(address, quick(), []spec.Channel{a.checkedBy(of)})
	l.OnDown, l.CloseSpread = spec.CloseSessions, time.Hour
	r.apply(declare(l))
	r.becomes("web", a, balancer.StateUp)
	for range 4 {
		dial(t, address)
	}
	of.up.Store(false)
	eventually(t, "the first is closed", func() bool { return r.status("web", a).Active == 3 })
	asked := of.asked.Load()
	eventually(t, "it was checked again", func() bool { return of.asked.Load() > asked+10 })
	if n := r.status("web", a).Active; n != 3 {
		t.Errorf("%d sessions are left, not 3", n)
	}
}

func TestPanicIgnoresChecks(t *testing.T) {
	r := newRig(t)
	a, b := r.server("a"), r.server("b")
	first, second := r.verdict(false), r.verdict(true)
	address := free(t, "127.0.0.1")
	l := checkedListener(address, quick(), []spec.Channel{a.checkedBy(first), b.checkedBy(second)})
	l.Panic, l.OnDown = 50, spec.CloseSessions
	r.apply(declare(l))
	r.becomes("web", a, balancer.StateDown)
	r.becomes("web", b, balancer.StateUp)
	c := dial(t, address)
	if c.by != "b" {
		t.Fatalf("with one of two up, served by %s", c.by)
	}
	second.up.Store(false)
	r.becomes("web", b, balancer.StateDown)
	by := map[string]bool{}
	eventually(t, "both serve", func() bool {
		if c, err := tryDial(address); err == nil { // for a moment nobody does
			by[c.by] = true
			c.Close()
		}
		return by["a"] && by["b"]
	})
	c.works()
}

// TestEqualChecksAreOne counts the first checks of two listeners; the next ones
// are an hour away.
func TestEqualChecksAreOne(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	of := r.verdict(true)
	check := quick()
	check.Interval = time.Hour
	one := checkedListener(free(t, "127.0.0.1"), check, []spec.Channel{a.checkedBy(of)})
	two := one
	two.Name, two.Listen = "two", []string{free(t, "127.0.0.1")}
	r.apply(declare(one, two))
	r.becomes("web", a, balancer.StateUp)
	r.becomes("two", a, balancer.StateUp)
	if n := of.asked.Load(); n != 1 {
		t.Errorf("%d checks were made", n)
	}
}

// TestInitDown has a check that comes to no end.
func TestInitDown(t *testing.T) {
	r := newRig(t)
	a, silent := r.server("a"), r.server("")
	address := free(t, "127.0.0.1")
	check := quick()
	check.Init = spec.InitDown
	channel := a.channel()
	channel.CheckPort = silent.addr.Port()
	r.apply(declare(checkedListener(address, check, []spec.Channel{channel})))
	if is := r.status("web", a); is.State != balancer.StateDown || is.Reason != "not checked yet" {
		t.Errorf("before the first result it is %s, %q", is.State, is.Reason)
	}
	if c, err := tryDial(address); err == nil {
		t.Errorf("a client was served by %s", c.by)
	}
	if told := r.happened(a); len(told) > 0 {
		t.Errorf("the events tell of %q", told)
	}
}

// TestSlow has a server that takes what comes and says nothing after its
// greeting.
func TestSlow(t *testing.T) {
	r := newRig(t)
	silent, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	taken := make(chan net.Conn, 1)
	go func() {
		conn, err := silent.Accept()
		if err == nil {
			fmt.Fprintln(conn, "silent")
			taken <- conn
		}
	}()
	t.Cleanup(func() { silent.Close() })
	s := &server{name: "silent", addr: silent.Addr().(*net.TCPAddr).AddrPort()}
	address := free(t, "127.0.0.1")
	l := listener("web", address, s)
	l.StallAfter = time.Millisecond
	r.apply(declare(l))
	c := dial(t, address)
	if _, err := c.Write([]byte("hello?")); err != nil {
		t.Fatal(err)
	}
	r.becomes("web", s, balancer.StateSlow)
	conn := <-taken
	defer conn.Close()
	if by, err := conn.Write([]byte("oh")); by != 2 || err != nil {
		t.Fatal(err)
	}
	r.becomes("web", s, balancer.StateUp)
	eventually(t, "the events tell", func() bool { return slices.Equal(r.happened(s), []string{"slow", "up"}) })
}

// TestHeldOff has a channel that refuses, and an hour to hold it off.
func TestHeldOff(t *testing.T) {
	r := newRig(t)
	a, b := r.server("a"), r.server("b")
	dead := &server{name: "dead", addr: a.addr}
	address := free(t, "127.0.0.1")
	l := listener("web", address, b)
	dead.addr = r.silentPort()
	l.Groups = []spec.Group{group(dead, b)}
	l.HoldOff, l.HoldOffMax = time.Hour, time.Hour
	r.apply(declare(l))
	if by := served(t, address, 6); by != "b b b b b b" {
		t.Errorf("served by %s", by)
	}
	if is := r.status("web", dead); is.Failures != 1 || is.State != balancer.StateHeld || time.Until(is.Until) < time.Minute {
		t.Errorf("it was tried %d times, is %s until %s", is.Failures, is.State, is.Until)
	}
	if _, err := r.Enable("web", b.key(), false); err != nil {
		t.Fatal(err)
	}
	if c, err := tryDial(address); err == nil {
		t.Errorf("served by %s", c.by)
	}
	if is := r.status("web", dead); is.Failures != 2 {
		t.Errorf("with nobody else there it was tried %d times", is.Failures)
	}
	eventually(t, "the events tell", func() bool { return slices.Equal(r.happened(dead), []string{"failing"}) })
}

// TestObservationsOutliveRestart has a second engine go on with what the first
// one observed, with a check that comes to no end.
func TestObservationsOutliveRestart(t *testing.T) {
	r := newRig(t)
	a, b, dead := r.server("a"), r.server("b"), &server{name: "dead", addr: r.silentPort()}
	of := r.verdict(false)
	check := quick()
	l := checkedListener(free(t, "127.0.0.1"), check, []spec.Channel{dead.channel(), a.checkedBy(of), b.channel()})
	l.Groups[0].Channels[2].CheckPort = r.verdict(true).port
	l.Groups[0].Channels[0].CheckPort = r.verdict(true).port
	l.HoldOff, l.HoldOffMax = time.Hour, time.Hour
	r.apply(declare(l))
	r.becomes("web", a, balancer.StateDown)
	served(t, l.Listen[0], 3)
	r.becomes("web", dead, balancer.StateHeld)
	observed := map[balancer.Key]engine.Observation{}
	r.Channels(func(_ string, _, _ int, _ balancer.Mode, channel *balancer.Channel) {
		observed[channel.Key()] = r.Observe(channel)
	})
	before := map[*server]engine.ChannelStatus{a: r.status("web", a), dead: r.status("web", dead)}
	r.Shutdown(canceled())

	for _, changed := range []bool{false, true} {
		next := newRig(t)
		next.Engine.Shutdown(canceled())
		next.Engine = newEngine(t, engine.Options{
			Log: slog.New(slog.NewTextHandler(next.log, nil)), DataPlane: dataPlane, Resolver: next.names,
			Observed: func(listener string, key balancer.Key) (engine.Observation, bool) {
				o, known := observed[key]
				return o, known && listener == "web"
			},
		})
		again := l
		again.Listen = []string{free(t, "127.0.0.1")}
		again.Groups = []spec.Group{{Check: check, Channels: slices.Clone(l.Groups[0].Channels)}}
		if changed {
			again.Groups[0].Check.Fall = 2
		}
		of.up.Store(true)
		again.Groups[0].Check.Interval = time.Hour
		if !changed {
			again.Groups[0].Check.Interval = check.Interval
		}
		next.apply(declare(again))
		is := next.status("web", a)
		if changed {
			if is.State == balancer.StateDown {
				t.Errorf("with another check a is %s: %s", is.State, is.Reason)
			}
		} else if was := before[a]; is.State != balancer.StateDown || is.Since.Sub(was.Since).Abs() > time.Second || is.Reason != was.Reason {
			t.Errorf("a is %s since %s, %q; before %s since %s, %q", is.State, is.Since, is.Reason, was.State, was.Since, was.Reason)
		}
		if is, was := next.status("web", dead), before[dead]; is.State != balancer.StateHeld || is.Until.Sub(was.Until).Abs() > time.Second || is.Reason != was.Reason {
			t.Errorf("dead is %s until %s, %q; before until %s, %q", is.State, is.Until, is.Reason, was.Until, was.Reason)
		}
		next.becomes("web", a, balancer.StateUp) // the first result counts alone
	}
}

// silentPort is an address that refuses.
func (r *rig) silentPort() netip.AddrPort {
	r.Helper()
	gone, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		r.Fatal(err)
	}
	defer gone.Close()
	return gone.Addr().(*net.TCPAddr).AddrPort()
}

// TestFilesOfChecks has a check whose authority cannot be read.
func TestFilesOfChecks(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	l := listener("web", free(t, "127.0.0.1"), a)
	r.apply(declare(l))
	check := spec.DefaultCheck()
	check.Type, check.TLS, check.CAFile = spec.CheckTCP, true, filepath.Join(t.TempDir(), "none.pem")
	checked := l
	checked.Groups = []spec.Group{{Check: check, Channels: l.Groups[0].Channels}}
	_, err := r.Apply(t.Context(), declare(checked))
	var fault spec.Fault
	if !errors.As(err, &fault) || !strings.Contains(err.Error(), "none.pem") || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("apply: %v", err)
	}
	if r.Config().Listeners[0].Groups[0].Check.Type != spec.CheckNone {
		t.Error("it is in force")
	}
}

// TestFlapIsTold has a check that takes a channel down and up again before anybody
// can have looked.
func TestFlapIsTold(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	of := r.verdict(true)
	address := free(t, "127.0.0.1")
	check := quick()
	check.Interval, check.FastInterval, check.DownInterval = time.Hour, time.Hour, time.Hour
	l := checkedListener(address, check, []spec.Channel{a.checkedBy(of)})
	l.OnDown = spec.CloseSessions
	r.apply(declare(l))
	r.becomes("web", a, balancer.StateUp)
	c := dial(t, address)
	for _, up := range []bool{false, true} {
		of.up.Store(up)
		if _, err := r.Check(t.Context(), "web", a.key(), nil); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the events tell", func() bool { return slices.Equal(r.happened(a), []string{"down", "up"}) })
	if !c.closed() {
		t.Error("the session was not reset")
	}
}

// TestPanicSparesForAWhile has sessions on a channel that is down while so few are
// up that checks are ignored: they end when that is over.
func TestPanicSparesForAWhile(t *testing.T) {
	r := newRig(t)
	a, b := r.server("a"), r.server("b")
	first, second := r.verdict(true), r.verdict(true)
	address := free(t, "127.0.0.1")
	l := checkedListener(address, quick(), []spec.Channel{a.checkedBy(first), b.checkedBy(second)})
	l.Panic, l.OnDown = 60, spec.CloseSessions // with one of two up
	r.apply(declare(l))
	r.becomes("web", a, balancer.StateUp)
	r.becomes("web", b, balancer.StateUp)
	on := map[string]*client{}
	for range 2 {
		c := dial(t, address)
		on[c.by] = c
	}
	first.up.Store(false)
	r.becomes("web", a, balancer.StateDown)
	on["a"].works()
	l.Panic = 50
	r.apply(declare(l))
	if !on["a"].closed() {
		t.Error("after the panic the session of the channel that is down was not reset")
	}
	on["b"].works()
}

// TestEditHangsOnNoFile changes a channel while a file that a check of another
// listener needs is gone.
func TestEditHangsOnNoFile(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	program := filepath.Join(t.TempDir(), "plugin")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	check := spec.DefaultCheck()
	check.Type, check.Command, check.Interval = spec.CheckExec, []string{program}, time.Hour
	other := listener("other", free(t, "127.0.0.1"), a)
	other.Groups[0].Check = check
	r.apply(declare(listener("web", free(t, "127.0.0.1"), a), other))
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	if _, err := r.EditChannel(t.Context(), "web", a.key(), func(c *spec.Channel) error { c.MaxConns = 7; return nil }); err != nil {
		t.Error(err)
	}
	next := declare(listener("web", free(t, "127.0.0.1"), a), other)
	if _, err := r.Apply(t.Context(), next); err == nil {
		t.Error("a file without the program is applied")
	}
}

// TestHeldOffByAClockAhead has a daemon that was killed while the clock of the
// machine was an hour ahead.
func TestHeldOffByAClockAhead(t *testing.T) {
	r := newRig(t)
	r.Engine.Shutdown(canceled())
	ahead := time.Now().Add(time.Hour).UnixNano()
	r.Engine = newEngine(t, engine.Options{
		Log: slog.New(slog.NewTextHandler(r.log, nil)), DataPlane: dataPlane, Resolver: r.names,
		Observed: func(string, balancer.Key) (engine.Observation, bool) {
			return engine.Observation{Observation: balancer.Observation{Failures: 1, FailingSince: ahead, HeldUntil: ahead}}, true
		},
	})
	a := r.server("a")
	r.apply(declare(listener("web", free(t, "127.0.0.1"), a)))
	if is := r.status("web", a); is.State != balancer.StateHeld || time.Until(is.Until) > 37*time.Second || time.Until(is.Since) > time.Second {
		t.Errorf("it is %s since %s until %s", is.State, is.Since, is.Until)
	}
}

// A check that a reload gives to a channel that is used, and that has not come to its
// end, closes no session: only one that fails does, and is told of before.
func TestNotCheckedClosesNobody(t *testing.T) {
	r := newRig(t)
	a, b := r.server("a"), r.server("b")
	listening, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listening.Close() })
	address := free(t, "127.0.0.1")
	l := checkedListener(address, spec.DefaultCheck(), []spec.Channel{a.channel()}, []spec.Channel{b.channel()})
	l.OnDown = spec.CloseSessions
	r.apply(declare(l))
	c := dial(t, address)
	checked := checkedListener(address, quick(), []spec.Channel{a.checkedBy(&verdict{port: listening.Addr().(*net.TCPAddr).AddrPort().Port()})}, []spec.Channel{b.channel()})
	checked.Groups[0].Check.Init, checked.Groups[1].Check.Type = spec.InitDown, spec.CheckNone
	checked.OnDown = spec.CloseSessions
	r.apply(declare(checked))
	check, err := listening.Accept()
	if err != nil {
		t.Fatal(err)
	}
	r.enable("web", b, false)
	eventually(t, "the channels were looked at", func() bool { return slices.Equal(r.happened(b), []string{"disabled"}) })
	c.works()
	fmt.Fprintln(check, "DOWN")
	check.Close()
	if !c.closed() {
		t.Error("the session is not reset")
	}
	if !strings.Contains(r.log.String(), `msg="channel down"`) {
		t.Error("the session was closed before it was told that the channel is down")
	}
}
