package control

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"balance/engine"
	"balance/engine/balancer"
	"balance/engine/health"
)

func (c *conversation) health(args []string) Status {
	args, asJSON := option(args, "-json")
	listeners, status := c.chooseListeners(args)
	switch {
	case status != OK:
		return status
	case asJSON:
		return c.sayJSON(ReportHealth(listeners))
	}
	c.reply.add(HealthTable(listeners, time.Now())...)
	return OK
}

// HealthTable returns the lines of health about listeners: one for each channel,
// under a head. They can be printed.
func HealthTable(listeners []engine.ListenerStatus, now time.Time) []string {
	rows := [][]string{{"listener", "GRP", "#", "channel", "state", "for", "since", "checked", "took", "next"}}
	named := isNamed(listeners...)
	if named {
		rows[0] = slices.Insert(rows[0], 4, "name")
	}
	words := []string{"why"}
	for _, l := range listeners {
		for g, group := range l.Groups {
			for i := range group.Channels {
				ch := &group.Channels[i]
				row := []string{l.Name, strconv.Itoa(g), strconv.Itoa(i), ch.Key.String()}
				if named {
					row = append(row, ch.Name)
				}
				row = append(append(row, ch.State.String()), since(ch.Since, now)...)
				rows = append(rows, append(row, checked(ch.Check, now)...))
				words = append(words, wordsOf(ch, now))
			}
		}
	}
	lines := table(rows, make([]int, len(rows[0])))
	for i := range lines {
		lines[i] = printable(strings.TrimRight(lines[i]+"  "+words[i], " "))
	}
	return lines
}

// since tells how long ago a moment was, and when.
func since(t, now time.Time) []string {
	if t.IsZero() {
		return []string{"-", "-"}
	}
	return []string{seconds(now.Sub(t)), clock(t, now)}
}

// clock is the local time of day, with the date unless that is today's.
func clock(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format("2006-01-02T15:04:05")
}

// checked tells when a channel was checked last, how long that took, and when
// it is checked next.
func checked(check *health.Status, now time.Time) []string {
	if check == nil {
		return []string{"no check", "-", "-"}
	}
	last, took, next := "not yet", "-", "-"
	if !check.Last.Time.IsZero() {
		last, took = clock(check.Last.Time, now), short(check.Last.Took)
	}
	if !check.Next.IsZero() {
		next = "in " + short(max(check.Next.Sub(now), 0))
	}
	return []string{last, took, next}
}

// wordsOf tells why the channel is in its state, and what the last check was
// answered.
func wordsOf(ch *engine.ChannelStatus, now time.Time) string {
	var words []string
	if !ch.Until.IsZero() {
		words = append(words, "for another "+short(max(ch.Until.Sub(now), 0)))
	}
	if ch.Reason != "" {
		words = append(words, ch.Reason)
	}
	if ch.Check != nil && ch.Check.Last.Answer != "" && ch.Check.Last.Answer != ch.Reason {
		words = append(words, ch.Check.Last.Answer)
	}
	return strings.Join(words, "; ")
}

// short is a duration with three digits or so, or in whole seconds.
func short(d time.Duration) string {
	if d >= time.Minute {
		return d.Round(time.Second).String()
	}
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= unit {
			return d.Round(unit / 10).String()
		}
	}
	return d.String()
}

// check checks channels now, one after the other. It answers what each step came
// to.
func (c *conversation) check(args []string) Status {
	chosen, status := c.choose("", args...)
	if status != OK {
		return status
	}
	for _, ch := range chosen {
		if ch.Check == nil {
			return c.fail("channel %s has no check", ch.words)
		}
	}
	for _, ch := range chosen {
		if len(chosen) > 1 {
			c.say("channel %s", ch.words)
		}
		// A check has its own timeout, and ends with the engine.
		result, err := c.daemon.Engine.Check(context.Background(), ch.listener, ch.Key, func(step health.Step) {
			c.say("%-32s %8s  %s", step.Name, short(step.Took), step.Note)
		})
		if err != nil {
			status = c.failed(err)
			continue
		}
		c.audit.told = true
		c.did(ch.listener, ch.Key, "%s after %s: %s", result.Outcome, short(result.Took), result.Answer)
		c.say("%s after %s: %s", result.Outcome, short(result.Took), result.Answer)
		if result.Outcome != health.Passed {
			status = Failed
		}
	}
	return status
}

// defaultEvents is how many events are shown without a number.
const defaultEvents = 20

func (c *conversation) events(args []string) Status {
	args, asJSON := option(args, "-json")
	n := defaultEvents
	if len(args) > 1 {
		return c.misused("%.60q is not -json", args[1])
	}
	if len(args) > 0 {
		var err error
		if n, err = strconv.Atoi(args[0]); err != nil {
			return c.misused("%.60q is not a number", args[0])
		}
		if n < 1 || n > engine.MaxEvents {
			return c.fail("value out of range")
		}
	}
	if asJSON {
		return c.sayJSON(EventReport{append([]engine.Event{}, c.daemon.Engine.Events(n)...)})
	}
	for _, event := range c.daemon.Engine.Events(n) {
		c.say("%s", eventLine(event))
	}
	return OK
}

func eventLine(e engine.Event) string {
	line := e.Time.Local().Format(time.RFC3339)
	for _, word := range []string{e.Listener, titled(e.Channel, e.Name), e.What} {
		if word != "" {
			line += " " + word
		}
	}
	if e.Reason != "" {
		line += ": " + e.Reason
	}
	if e.By != "" {
		line += " (by " + e.By + ")"
	}
	return line
}

// standings counts the channels of listeners in each state, in words such as
// "3 up, 1 down".
func standings(listeners []engine.ListenerStatus) string {
	counts := map[balancer.State]int{}
	for _, l := range listeners {
		for _, g := range l.Groups {
			for _, ch := range g.Channels {
				counts[ch.State]++
			}
		}
	}
	var words []string
	for _, state := range slices.Sorted(maps.Keys(counts)) {
		words = append(words, fmt.Sprintf("%d %s", counts[state], state))
	}
	return strings.Join(words, ", ")
}
