package engine

import (
	"fmt"
	"hash/fnv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"balance/engine/balancer"
	"balance/engine/health"
	"balance/engine/spec"
)

// Observation is what was observed of a channel, for the next process to go on
// with. Its times are nanoseconds since 1970.
type Observation struct {
	balancer.Observation
	// Check stands for the check that Health came of, 0 for none. With another
	// check Health means nothing.
	Check uint64
}

// Observe returns what was observed of a channel in force.
func (e *Engine) Observe(channel *balancer.Channel) Observation {
	o := Observation{Observation: channel.Observed()}
	if status, checked := e.checking.checks.Status(channel); checked {
		o.Check = fingerprint(&status.Target)
	}
	o.shift(time.Now().UnixNano() - e.plane.Now())
	return o
}

// restore has a new channel go on with what was observed of it before this
// process began.
func (e *Engine) restore(l *spec.Listener, channel *balancer.Channel, t health.Target) {
	o, known := e.observed(l.Name, channel.Key())
	if !known {
		return
	}
	if t.Check.Type == spec.CheckNone || o.Check != fingerprint(&t) {
		o.Health, o.HealthSince, o.HealthReason = balancer.Unchecked, 0, ""
	}
	for _, reason := range []*string{&o.HealthReason, &o.FailureReason} {
		if strings.ContainsFunc(*reason, func(r rune) bool { return !unicode.IsPrint(r) }) || !utf8.ValidString(*reason) {
			*reason = "" // somebody else wrote to the file
		}
	}
	o.shift(e.plane.Now() - time.Now().UnixNano())
	// The clock of the machine may have been set back since then.
	now := e.plane.Now()
	o.FailingSince, o.HealthSince = min(o.FailingSince, now), min(o.HealthSince, now)
	o.HeldUntil = min(o.HeldUntil, now+int64(l.HoldOffMax+l.HoldOffMax/5)) // the fifth that it may be longer
	channel.Restore(o.Observation)
}

// shift moves the times to another clock.
func (o *Observation) shift(by int64) {
	for _, at := range []*int64{&o.FailingSince, &o.HeldUntil, &o.HealthSince} {
		if *at != 0 {
			*at += by
		}
	}
}

func fingerprint(t *health.Target) uint64 {
	hash := fnv.New64a()
	fmt.Fprintf(hash, "%q %d %s %q %s", t.Host, t.Port, t.Source, t.Listener, t.Check.Text())
	if t.SendProxy != 0 {
		fmt.Fprintf(hash, " %d", t.SendProxy)
	}
	return hash.Sum64()
}
