package health

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"balance/engine/balancer"
	"balance/engine/spec"
)

// Options are what Checks are made with.
type Options struct {
	Log *slog.Logger
	// Now is the clock of the plane, on which channels are told since when they
	// are what they are. Nil stands for a clock of its own.
	Now func() int64
	// Addresses returns the addresses of a host, in the order in which they are
	// to be tried.
	Addresses func(host string) []netip.Addr
	// Report is told of each result of a channel's checks: whether it changed the
	// health of the channel, which has it already. The first failure of a channel
	// that was down only because nobody had checked it counts as a change, and so
	// does what a channel is told that joins a target which is checked already.
	// Calls for one target come one at a time, in the order of the results; one
	// may still come for a channel that Set has just let go. It must not block for
	// long, for it holds up other checks, nor call Set, Now or Close.
	Report func(channel *balancer.Channel, health balancer.Health, changed bool, result Result)
}

// Checks checks channels. All methods may be called from any goroutine.
//
// One goroutine holds the schedule. A check runs in a goroutine that it takes for
// as long as it lasts, but for checks that only connect, which have a poller for
// all of them where there is one (connector). Sessions are not to suffer: nothing
// runs on an event loop; at most maxRunning checks exist, whatever is late; a server
// cannot have more than maxAnswer read of what it sends, nor looked at more often
// than it doubles or pauses; many checks have one waking in common; and a client's
// failure to connect asks for no more than one check in a fast interval.
type Checks struct {
	options      Options
	newConnector func(concluded func(*attempt, error)) *connector
	life         context.Context // ends with Close
	end          context.CancelFunc
	workers      sync.WaitGroup
	wakeUp       chan struct{} // holds one word: look at the schedule again

	mu        sync.Mutex
	connector *connector                    // guarded by mu; nil before it is needed, and where there is none
	schedule  schedule                      // guarded by mu
	channels  map[*balancer.Channel]*member // guarded by mu
	targets   map[identity]*target          // guarded by mu
	joined    []*member                     // guarded by mu; to be told of to Report
	asleep    time.Time                     // guarded by mu; until when the schedule sleeps, zero for ever
	beat      time.Duration                 // guarded by mu; how long it rests at least between two looks
}

// target is what is checked, for all channels that have the same one.
type target struct {
	Target
	id      identity
	turn    *turn
	telling sync.Mutex // held while a result is counted and told, so that they come in order; taken before mu

	// Of the one check at a time that only connects: what it says of an address that
	// it connected to.
	connectedTo    netip.AddrPort
	connectedWords string

	// The rest is guarded by Checks.mu.

	probe     *probe
	course    course
	since     time.Time // when its health began, zero if that is not known; and
	told      int64     // on the clock of the plane
	reason    string
	members   map[*member]struct{}
	cancel    context.CancelFunc // of the check that runs, if it can be cancelled
	gone      bool               // nobody has it any more
	last      Result
	local     bool // the last result was Local
	results   [Outcomes]uint64
	durations balancer.Histogram
}

// member is a channel that is checked.
type member struct {
	channel *balancer.Channel
	target  *target
	health  balancer.Health // what the channel was told last
	reason  string
}

// identity is what equal targets have in common.
type identity struct {
	listener, host string
	port           uint16
	source         netip.Addr
	sendProxy      int
	check          string // all fields of the Check, in one text
}

// NotChecked is why a channel is down before its first result.
const NotChecked = "not checked yet"

// maxBeat is how long the schedule rests at most between two looks at what is due:
// many checks have one waking in common, and are made while the processor remembers
// how.
const maxBeat = 25 * time.Millisecond

// beatOf returns how long the schedule rests for a check: a tenth of its shortest
// interval is no harm.
func beatOf(check *spec.Check) time.Duration {
	return min(maxBeat, min(check.Interval, check.FastInterval, check.DownInterval)/10)
}

// New returns Checks of nothing yet. Close ends them.
func New(options Options) *Checks {
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	if options.Now == nil {
		epoch := time.Now()
		options.Now = func() int64 { return int64(time.Since(epoch)) + 1 }
	}
	if options.Report == nil {
		options.Report = func(*balancer.Channel, balancer.Health, bool, Result) {}
	}
	c := &Checks{
		options:      options,
		newConnector: newConnector,
		wakeUp:       make(chan struct{}, 1),
		schedule:     schedule{random: rand.Float64},
		channels:     map[*balancer.Channel]*member{},
		targets:      map[identity]*target{},
	}
	c.life, c.end = context.WithCancel(context.Background())
	c.workers.Go(c.run)
	return c
}

// Close ends all checks and waits for them. Channels keep their health.
func (c *Checks) Close() {
	c.end()
	c.mu.Lock()
	connector := c.connector
	c.mu.Unlock()
	if connector != nil {
		connector.close()
	}
	c.workers.Wait()
	if connector != nil {
		connector.closeSpare()
	}
}

// Set says which channels are to be checked from now on, and how. Those whose
// target stays what it was keep their health and their schedule; one whose target
// is another one keeps its health until the first result, which counts alone, and
// so does one that has a health already. A channel that is not among them any more
// is unchecked. Files that checks name are read again; where that fails, what was
// read before goes on, so Load is to be called before anything depends on it.
func (c *Checks) Set(targets map[*balancer.Channel]Target) {
	ids := make(map[*balancer.Channel]identity, len(targets))
	probes := map[string]*probe{}
	texts := map[string]string{}
	for channel, t := range targets {
		if t.Check.Type == spec.CheckNone {
			continue
		}
		id := identify(t)
		if text, known := texts[id.check]; known {
			id.check = text // one copy for all
		} else {
			texts[id.check] = id.check
			p, err := newProbe(&t.Check)
			if err != nil {
				c.options.Log.Warn("cannot prepare a check", "listener", t.Listener, "channel", channel.Key(), "error", err)
			}
			probes[id.check] = p // that fails, if there was an error
		}
		ids[channel] = id
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life.Err() != nil {
		return
	}
	c.leave(ids)
	c.beat = maxBeat
	var fresh []*target
	for channel, id := range ids {
		t := c.targets[id]
		if t == nil {
			t = &target{Target: targets[channel], id: id, members: map[*member]struct{}{}}
			t.turn = newTurn(t)
			c.targets[id] = t
			fresh = append(fresh, t)
		}
		if p := probes[id.check]; p.fault == nil || t.probe == nil {
			t.probe = p
		}
		if t.probe.connectsOnly && t.silent() && c.connector == nil {
			c.connector = c.newConnector(c.concluded)
		}
		c.join(channel, t)
		c.beat = min(c.beat, beatOf(&t.Check))
	}
	now := time.Now()
	for i, t := range fresh {
		t.begin(now, c.options.Now())
		apart := min(firstStarts, t.Check.Interval/time.Duration(len(fresh)))
		c.schedule.add(t.turn, now.Add(time.Duration(i)*apart))
	}
	for channel := range ids {
		m := c.channels[channel]
		if t := m.target; t.course.health != m.health {
			if c.tell(m) && t.course.tested {
				c.joined = append(c.joined, m)
			}
		}
	}
	c.wake()
}

func identify(t Target) identity {
	id := identity{host: t.Host, port: t.Port, source: t.Source, sendProxy: t.SendProxy}
	if t.Check.Type == spec.CheckExec {
		id.listener = t.Listener
	}
	// Strings are quoted and maps sorted, so no two checks have one text.
	id.check = fmt.Sprintf("%#v", t.Check)
	return id
}

// leave takes the channels away whose target goes, and targets that nobody has
// any more. Those that get another target stay members of none. It needs mu held.
func (c *Checks) leave(ids map[*balancer.Channel]identity) {
	for channel, m := range c.channels {
		id, stays := ids[channel]
		if stays && id == m.target.id {
			continue
		}
		t := m.target
		delete(t.members, m)
		if !stays {
			delete(c.channels, channel)
			channel.SetHealth(balancer.Unchecked, c.options.Now(), "")
		}
		if len(t.members) > 0 {
			continue
		}
		t.gone = true
		delete(c.targets, t.id)
		c.schedule.drop(t.turn)
		if t.cancel != nil {
			t.cancel()
		}
	}
}

// join makes the channel a member of the target. It needs mu held.
func (c *Checks) join(channel *balancer.Channel, t *target) {
	m := c.channels[channel]
	if m == nil {
		m = &member{channel: channel, health: channel.Health()}
		c.channels[channel] = m
	}
	m.target = t
	t.members[m] = struct{}{}
}

// begin sets what a target is before its first result: what its channels are that
// were checked before, the worst of that, or what the check says. It needs mu
// held.
func (t *target) begin(now time.Time, told int64) {
	for m := range t.members {
		if m.health <= t.course.health {
			continue
		}
		t.course.health, t.reason, t.told = m.health, m.reason, told
		standing := m.channel.Standing(told)
		if standing.Since != 0 && (standing.State == balancer.StateDown || standing.State == balancer.StateUp) {
			t.reason, t.told = standing.Reason, standing.Since
			t.since = now.Add(-time.Duration(told - standing.Since))
		}
	}
	if t.course.health == balancer.Unchecked {
		t.since, t.told = now, told
		if t.Check.Init == spec.InitDown {
			t.course.health, t.reason = balancer.Unhealthy, NotChecked
		}
	}
}

// tell gives the channel the health of its target, and reports whether that is
// another one. It needs mu held.
func (c *Checks) tell(m *member) (changed bool) {
	t := m.target
	changed = m.health != t.course.health
	if changed || m.reason != t.reason {
		if now := c.options.Now(); changed && m.health == balancer.Unhealthy && m.channel.Standing(now).Reason != NotChecked {
			m.channel.Warm(now)
		}
		m.health, m.reason = t.course.health, t.reason
		m.channel.SetHealth(m.health, t.told, m.reason)
	}
	return changed
}

// Nudge has the channel checked at once: a client could not be connected to it.
func (c *Checks) Nudge(channel *balancer.Channel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.channels[channel]
	if m == nil {
		return
	}
	if c.schedule.nudge(m.target.turn, time.Now(), m.target.Check.FastInterval) {
		c.wake()
	}
}

// wake has the schedule looked at again.
func (c *Checks) wake() {
	select {
	case c.wakeUp <- struct{}{}:
	default:
	}
}

// Now checks a channel at once, beside the schedule, calls step, which may be nil,
// for each step, and returns the result, which counts. It reports false if the
// channel is not checked.
func (c *Checks) Now(ctx context.Context, channel *balancer.Channel, step func(Step)) (Result, bool) {
	c.mu.Lock()
	m := c.channels[channel]
	if m == nil || c.life.Err() != nil {
		c.mu.Unlock()
		return Result{}, false
	}
	t, p := m.target, m.target.probe
	c.workers.Add(1)
	c.mu.Unlock()
	defer c.workers.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	result := p.run(ctx, &t.Target, c.addresses(t), step)
	if ctx.Err() == nil {
		c.count(t, result, false)
	}
	return result, true
}

// addresses returns those of the host of a target, none of a unix socket.
func (c *Checks) addresses(t *target) []netip.Addr {
	if _, unix := t.unix(); unix {
		return nil
	}
	return c.options.Addresses(t.Host)
}

// Status returns how it stands with the checks of a channel; false if it is not
// checked.
func (c *Checks) Status(channel *balancer.Channel) (Status, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.channels[channel]
	if m == nil {
		return Status{}, false
	}
	t := m.target
	return Status{
		Target: t.Target, Health: t.course.health, Since: t.since,
		Last: t.last, InARow: t.course.row, Next: t.next(),
		Results: t.results, Durations: &t.durations,
	}, true
}

// next returns when the next check begins, as far as it is known: while one runs,
// that one did.
func (t *target) next() time.Time {
	if t.turn.index < 0 {
		return t.turn.began
	}
	return t.turn.next
}

// run is the goroutine that holds the schedule.
func (c *Checks) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for c.life.Err() == nil {
		c.announce()
		for c.startDue() {
		}
		c.mu.Lock()
		next, any := c.schedule.wake()
		c.asleep = time.Time{}
		if any {
			now := time.Now()
			pause := max(next.Sub(now), c.beat)
			c.asleep = now.Add(pause)
			timer.Reset(pause)
		}
		c.mu.Unlock()
		if !any {
			timer.Stop()
		}
		select {
		case <-timer.C:
		case <-c.wakeUp:
		case <-c.life.Done():
		}
	}
}

// announce tells of channels that were given a health when they joined a target.
func (c *Checks) announce() {
	type news struct {
		member *member
		target *target
		health balancer.Health
		last   Result
	}
	c.mu.Lock()
	var all []news
	for _, m := range c.joined {
		all = append(all, news{m, m.target, m.health, m.target.last})
	}
	c.joined = nil
	c.mu.Unlock()
	for _, n := range all {
		n.target.telling.Lock()
		c.options.Report(n.member.channel, n.health, true, n.last)
		n.target.telling.Unlock()
	}
}

// startDue starts what is due, as far as there are places, and reports whether
// some of it is over already, so that there are places again.
func (c *Checks) startDue() (again bool) {
	now := time.Now()
	var quick []*attempt
	c.mu.Lock()
	connector := c.connector
	for turn := c.schedule.start(now); turn != nil; turn = c.schedule.start(now) {
		t := turn.target
		addrs := c.addresses(t)
		if connector != nil && t.probe.connectsOnly && t.silent() && len(addrs) == 1 && addrs[0].Zone() == "" {
			a := &attempt{target: t, addr: netip.AddrPortFrom(addrs[0], t.Port)}
			t.cancel = func() { connector.cancel(a) }
			quick = append(quick, a)
			continue
		}
		ctx, cancel := context.WithCancel(c.life)
		t.cancel = cancel
		p := t.probe
		c.workers.Go(func() {
			defer cancel()
			c.count(t, p.run(ctx, &t.Target, addrs, nil), true)
		})
	}
	c.mu.Unlock()
	return len(quick) > 0 && connector.begin(quick)
}

// concluded is told by the connector what came of a check.
func (c *Checks) concluded(a *attempt, err error) {
	c.count(a.target, a.target.connected(a.addr, a.began, err), true)
}

// count takes the result of a check into account, and tells of it. A check that
// was scheduled gets its next turn.
func (c *Checks) count(t *target, result Result, scheduled bool) {
	type news struct {
		channel *balancer.Channel
		changed bool
	}
	t.telling.Lock()
	defer t.telling.Unlock()
	c.mu.Lock()
	if t.gone || c.life.Err() != nil {
		if scheduled {
			c.schedule.leave(t.turn)
		}
		c.mu.Unlock()
		c.wake()
		return
	}
	began, ended := result.Outcome == Local && !t.local, result.Outcome != Local && t.local
	t.last, t.local = result, result.Outcome == Local
	t.results[result.Outcome]++
	if result.Outcome == Passed {
		t.durations.Observe(result.Took)
	}
	first := false
	if result.Outcome != Local {
		first = !t.course.tested && t.reason == NotChecked
		if t.course.count(result.Outcome == Passed, t.Check.Rise, t.Check.Fall) {
			t.since, t.told = time.Now(), c.options.Now()
			t.reason = ""
		}
		if t.course.health == balancer.Unhealthy && result.Outcome != Passed {
			t.reason = result.Answer
		}
	}
	all := make([]news, 0, 1)
	for m := range t.members {
		all = append(all, news{m.channel, c.tell(m) || first})
	}
	health := t.course.health
	if scheduled {
		t.cancel = nil
		now := time.Now()
		c.schedule.end(t.turn, now, t.course.settledDown(), t.course.interval(&t.Check), t.Check.FastInterval)
	}
	if next, any := c.schedule.wake(); any && (c.asleep.IsZero() || next.Before(c.asleep)) {
		c.wake()
	}
	c.mu.Unlock()
	switch {
	case began:
		c.options.Log.Warn("cannot check", "listener", t.Listener, "target", t.server(), "reason", result.Answer)
	case ended:
		c.options.Log.Info("can check again", "listener", t.Listener, "target", t.server())
	}
	for _, n := range all {
		c.options.Report(n.channel, health, n.changed, result)
	}
}
