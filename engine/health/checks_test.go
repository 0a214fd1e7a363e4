package health

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"balance/engine/balancer"
	"balance/engine/spec"
)

// played is a kind that tests play. Its answers are by host; a host without one
// answers to the first visit when it is told to.
type played struct {
	mu      sync.Mutex
	answers map[string]func(ctx context.Context) error
	visits  map[string][]time.Time
	running int
	most    int // that ran at a time
}

func (p *played) ask(ctx context.Context, v *visit) (string, error) {
	p.mu.Lock()
	p.visits[v.target.Host] = append(p.visits[v.target.Host], time.Now())
	p.running++
	p.most = max(p.most, p.running)
	answer := p.answers[v.target.Host]
	p.mu.Unlock()
	var err error
	if answer != nil {
		err = answer(ctx)
	}
	p.mu.Lock()
	p.running--
	p.mu.Unlock()
	return "fine", err
}

func (p *played) set(host string, answer func(context.Context) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers[host] = answer
}

func (p *played) visited(host string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.visits[host])
}

// rig is Checks of a played kind, in a bubble of synctest.
type rig struct {
	*Checks
	*played
	log     bytes.Buffer // to be read when no check runs
	mu      sync.Mutex
	reports []string // "host#listener health reason", with ! if it changed
}

const playedType spec.CheckType = 200

func newRig(t *testing.T) *rig {
	r := &rig{played: &played{answers: map[string]func(context.Context) error{}, visits: map[string][]time.Time{}}}
	kinds[playedType] = func(*spec.Check) (kind, error) { return r.played, nil }
	r.Checks = New(Options{
		Log: slog.New(slog.NewTextHandler(&r.log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})),
		Addresses: func(string) []netip.Addr { return []netip.Addr{netip.MustParseAddr("192.0.2.1")} },
		Report: func(channel *balancer.Channel, health balancer.Health, changed bool, result Result) {
			line := fmt.Sprintf("%s %s %s %s", channel.Key().Host, health, result.Outcome, result.Answer)
			if changed {
				line += "!"
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.reports = append(r.reports, line)
		},
	})
	r.Checks.schedule.random = half
	t.Cleanup(func() {
		r.Checks.Close()
		delete(kinds, playedType)
	})
	return r
}

func (r *rig) told() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	told := r.reports
	r.reports = nil
	return told
}

func playedCheck() spec.Check {
	check := spec.DefaultCheck()
	check.Type = playedType
	return check
}

func channelOf(host string) *balancer.Channel {
	return balancer.NewChannel(balancer.Key{Host: host, Port: 80})
}

func targetOf(host string) Target {
	return Target{Listener: "web", Host: host, Port: 80, Check: playedCheck()}
}

func (r *rig) health(t *testing.T, channel *balancer.Channel) balancer.Health {
	t.Helper()
	status, ok := r.Status(channel)
	if !ok {
		t.Fatalf("%s is not checked", channel.Key())
	}
	return status.Health
}

// after lets time go by, and what happens in it happen.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func refuse(context.Context) error { return failed(Refused, "refused") }

func TestChecksGoUpAndDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		a := channelOf("a")
		r.Set(map[*balancer.Channel]Target{a: targetOf("a")})
		after(100 * time.Millisecond)
		if got := r.told(); !slices.Equal(got, []string{"a up passed fine!"}) {
			t.Fatalf("told %q", got)
		}
		r.set("a", refuse)
		after(2*time.Second + 600*time.Millisecond)
		if got := r.told(); !slices.Equal(got, []string{"a up refused refused", "a up refused refused"}) {
			t.Fatalf("told %q", got)
		}
		after(500 * time.Millisecond)
		if got := r.told(); !slices.Equal(got, []string{"a down refused refused!"}) {
			t.Fatalf("told %q", got)
		}
		status, _ := r.Status(a)
		if since := time.Since(status.Since); since <= 0 || since > 500*time.Millisecond {
			t.Errorf("down since %s ago", since)
		}
		if status.InARow != 3 || status.Results[Refused] != 3 || status.Results[Passed] != 1 || status.Last.Answer != "refused" {
			t.Errorf("status %+v", status)
		}
		if wait := time.Until(status.Next); wait < 4*time.Second || wait > 5*time.Second {
			t.Errorf("the next check is in %s, want one after the down_interval of 5s", wait)
		}
		r.set("a", nil)
		after(6 * time.Second)
		if got := r.told(); len(got) < 2 || got[0] != "a down passed fine" || got[1] != "a up passed fine!" {
			t.Fatalf("told %q", got)
		}
		_, count, _ := status.Durations.Read()
		if status, _ = r.Status(a); count != status.Results[Passed] {
			t.Errorf("%d durations of %d checks that passed", count, status.Results[Passed])
		}
	})
}

// TestEqualTargetsAreCheckedOnce has three channels of one target and one of
// another, and a fifth that joins.
func TestEqualTargetsAreCheckedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.set("a", refuse)
		set := map[*balancer.Channel]Target{}
		for i := range 3 {
			target := targetOf("a")
			target.Listener = fmt.Sprint("listener", i)
			target.Check.Headers = map[string]string{"X": "y", "A": "b"}
			set[channelOf("a")] = target
		}
		other := targetOf("a")
		other.Check.Headers = map[string]string{"X": "z", "A": "b"}
		set[channelOf("a")] = other
		r.Set(set)
		after(500 * time.Millisecond)
		if n := r.visited("a"); n != 2 {
			t.Errorf("checked %d times, want once for each of two targets", n)
		}
		if got := r.told(); len(got) != 4 {
			t.Errorf("told %q", got)
		}
		joins := channelOf("a")
		set[joins] = other
		r.Set(set)
		if got := r.health(t, joins); got != balancer.Unhealthy {
			t.Errorf("a channel that joins a target that is down is %s", got)
		}
		synctest.Wait()
		if got := r.told(); !slices.Equal(got, []string{"a down refused refused!"}) {
			t.Errorf("told %q", got)
		}
		if n := r.visited("a"); n != 2 {
			t.Errorf("checked %d times, want no check for the one that joins", n)
		}
	})
}

func TestExecTargetsDifferByListener(t *testing.T) {
	one, two := targetOf("a"), targetOf("a")
	two.Listener = "mail"
	if identify(one) != identify(two) {
		t.Error("listeners tell targets apart")
	}
	one.Check.Type, two.Check.Type = spec.CheckExec, spec.CheckExec
	if identify(one) == identify(two) {
		t.Error("listeners do not tell targets of a program apart")
	}
}

// TestSetKeeps sets anew what is the same, in the middle of an interval, and then
// another check.
func TestSetKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		a, b := channelOf("a"), channelOf("b")
		set := map[*balancer.Channel]Target{a: targetOf("a"), b: targetOf("b")}
		r.Set(set)
		after(time.Second)
		before, _ := r.Status(a)
		r.Set(set)
		synctest.Wait()
		if now, _ := r.Status(a); !reflect.DeepEqual(now, before) {
			t.Errorf("what stays equal changed: %+v, was %+v", now, before)
		}
		if n := r.visited("a"); n != 1 {
			t.Errorf("checked %d times, want one", n)
		}
		hold := make(chan struct{})
		r.set("a", func(ctx context.Context) error { <-hold; return refuse(ctx) })
		another := targetOf("a")
		another.Check.Path = "/other"
		r.told()
		r.Set(map[*balancer.Channel]Target{a: another})
		if got := r.health(t, a); got != balancer.Healthy {
			t.Errorf("with another check it is %s before the first result, want what it was", got)
		}
		if _, checked := r.Status(b); checked {
			t.Error("what goes is checked still")
		}
		close(hold)
		after(100 * time.Millisecond)
		if got := r.told(); !slices.Equal(got, []string{"a down refused refused!"}) {
			t.Errorf("told %q, want the first result to count alone", got)
		}
		after(time.Minute)
		if n := r.visited("b"); n != 1 {
			t.Errorf("what went was checked %d times, want one", n)
		}
	})
}

func TestInit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		hold := make(chan struct{})
		wait := func(context.Context) error { <-hold; return failed(Refused, "refused") }
		r.set("down", wait)
		r.set("up", wait)
		down, up := channelOf("down"), channelOf("up")
		target := targetOf("down")
		target.Check.Init = spec.InitDown
		target.Check.Timeout = time.Hour
		r.Set(map[*balancer.Channel]Target{down: target, up: targetOf("up")})
		after(time.Second)
		if got := r.health(t, down); got != balancer.Unhealthy {
			t.Errorf("init down: %s", got)
		}
		if reason := r.channels[down].reason; reason != "not checked yet" {
			t.Errorf("init down: the reason is %q", reason)
		}
		if got := r.health(t, up); got != balancer.Unchecked {
			t.Errorf("init up: %s", got)
		}
		close(hold)
		synctest.Wait()
		got := r.told()
		slices.Sort(got)
		if !slices.Equal(got, []string{"down down refused refused!", "up down refused refused!"}) {
			t.Errorf("told %q", got)
		}
		if reason := r.channels[down].reason; reason != "refused" {
			t.Errorf("after a failure the reason is %q", reason)
		}
	})
}

// TestLocalChangesNothing has a target that this machine cannot check.
func TestLocalChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		a := channelOf("a")
		r.set("a", func(context.Context) error { return failed(Local, "no descriptors") })
		r.Set(map[*balancer.Channel]Target{a: targetOf("a")})
		after(9 * time.Second)
		if got := r.health(t, a); got != balancer.Unchecked {
			t.Errorf("it is %s", got)
		}
		if got := r.told(); len(got) < 4 || got[0] != "a unchecked local no descriptors" {
			t.Errorf("told %q", got)
		}
		r.set("a", nil)
		after(2 * time.Second)
		if got := r.health(t, a); got != balancer.Healthy {
			t.Errorf("then it is %s: the first result counts alone", got)
		}
	})
}

// TestLocalIsLogged has a target that this machine cannot check twice for a while.
func TestLocalIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		fail := func(context.Context) error { return failed(Local, "no descriptors") }
		r.Set(map[*balancer.Channel]Target{channelOf("a"): targetOf("a"), channelOf("b"): targetOf("b")})
		after(9 * time.Second)
		for _, answer := range []func(context.Context) error{fail, refuse, fail, nil} {
			r.set("a", answer)
			after(9 * time.Second)
		}
		began := `level=WARN msg="cannot check" listener=web target=a:80 reason="no descriptors"` + "\n"
		ended := `level=INFO msg="can check again" listener=web target=a:80` + "\n"
		if got := r.log.String(); got != began+ended+began+ended {
			t.Errorf("logged\n%s", got)
		}
	})
}

// TestNudged has a client find a channel down in the middle of an interval.
func TestNudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		a := channelOf("a")
		target := targetOf("a")
		target.Check.Interval = time.Hour
		r.Set(map[*balancer.Channel]Target{a: target})
		after(time.Minute)
		r.set("a", refuse)
		for range 10 {
			r.Nudge(a)
			synctest.Wait()
		}
		if n := r.visited("a"); n != 2 {
			t.Errorf("checked %d times, want once more at once", n)
		}
		after(1100 * time.Millisecond)
		if got := r.health(t, a); got != balancer.Unhealthy {
			t.Errorf("it is %s after two fast intervals", got)
		}
		r.Nudge(channelOf("nobody"))
	})
}

// TestManyHang has more targets that hang than there are places, and one that
// lives.
func TestManyHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		set := map[*balancer.Channel]Target{}
		lives := channelOf("lives")
		set[lives] = targetOf("lives")
		for i := range 200 {
			host := fmt.Sprint("hangs", i)
			r.set(host, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
			set[channelOf(host)] = targetOf(host)
		}
		r.Set(set)
		after(time.Minute)
		r.played.mu.Lock()
		if r.most != maxRunning {
			t.Errorf("%d checks ran at a time, want %d", r.most, maxRunning)
		}
		r.played.mu.Unlock()
		before := r.visited("lives")
		after(time.Minute)
		if n := r.visited("lives") - before; n < 28 || n > 32 {
			t.Errorf("one that lives was checked %d times in a minute, every 2s, beside 200 that hang", n)
		}
		for channel := range set {
			if status, _ := r.Status(channel); channel != lives && status.Last.Outcome != TimedOut {
				t.Fatalf("%s: %+v", channel.Key(), status)
			}
		}
	})
}

// TestStartsAreSpread watches a thousand targets in their third interval.
func TestStartsAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.Checks.mu.Lock()
		r.schedule.random = fraction()
		r.Checks.mu.Unlock()
		set := map[*balancer.Channel]Target{}
		for i := range 1000 {
			host := fmt.Sprint("host", i)
			set[channelOf(host)] = targetOf(host)
		}
		began := time.Now()
		r.Set(set)
		after(10 * time.Second)
		const parts = 10
		var first, later [parts]int
		for _, visits := range r.visits {
			for _, visit := range visits {
				since := visit.Sub(began)
				part := int(since % (2 * time.Second) * parts / (2 * time.Second))
				switch {
				case since < 2*time.Second && visit == visits[0]:
					first[part]++
				case since >= 6*time.Second && since < 8*time.Second:
					later[part]++
				}
			}
		}
		for part := range parts {
			if first[part] < 80 || first[part] > 120 || later[part] < 60 || later[part] > 140 {
				t.Errorf("checks began in tenths of the interval: %d first, %d later", first, later)
				break
			}
		}
	})
}

// fraction returns a sequence that fills [0, 1) evenly.
func fraction() func() float64 {
	x := 0.0
	return func() float64 {
		x += 0.6180339887498949
		if x >= 1 {
			x--
		}
		return x
	}
}

// TestCancelled has the target of a check that runs go, and its Checks close.
func TestCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		cancelled := 0
		hang := func(ctx context.Context) error { <-ctx.Done(); cancelled++; return ctx.Err() }
		r.set("a", hang)
		r.set("b", hang)
		a, b := channelOf("a"), channelOf("b")
		r.Set(map[*balancer.Channel]Target{a: targetOf("a"), b: targetOf("b")})
		after(100 * time.Millisecond)
		r.Set(map[*balancer.Channel]Target{b: targetOf("b")})
		synctest.Wait()
		if cancelled != 1 {
			t.Error("the check of a target that went goes on")
		}
		r.Close()
		if cancelled != 2 {
			t.Error("Close has not waited for the check that ran")
		}
		if got := r.told(); len(got) > 0 {
			t.Errorf("told %q", got)
		}
		r.Set(map[*balancer.Channel]Target{a: targetOf("a")})
		if _, checked := r.Now(context.Background(), b, nil); checked {
			t.Error("checked after Close")
		}
	})
}

func TestNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		a := channelOf("a")
		target := targetOf("a")
		target.Check.Interval, target.Check.Rise = time.Hour, 1
		r.set("a", refuse)
		r.Set(map[*balancer.Channel]Target{a: target})
		after(time.Second)
		r.told()
		r.set("a", nil)
		result, ok := r.Now(context.Background(), a, nil)
		if !ok || result.Outcome != Passed || result.Answer != "fine" {
			t.Errorf("got %+v, %v", result, ok)
		}
		if got := r.told(); !slices.Equal(got, []string{"a up passed fine!"}) {
			t.Errorf("told %q, want the result to count", got)
		}
		if _, ok := r.Now(context.Background(), channelOf("nobody"), nil); ok {
			t.Error("checked a channel that is not to be checked")
		}
	})
}

// TestUnprepared has a check whose file is not there.
func TestUnprepared(t *testing.T) {
	check := spec.DefaultCheck()
	check.Type = 201
	if Load(&check) == nil {
		t.Error("a check of no type was loaded")
	}
	result := Once(context.Background(), Target{Host: "a", Port: 1, Check: check}, nil, nil)
	if result.Outcome != Local || !strings.Contains(result.Answer, "cannot check") {
		t.Errorf("got %+v", result)
	}
}
