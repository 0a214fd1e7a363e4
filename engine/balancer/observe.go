package balancer

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// observeFailure reports what a failure, with err, of a dial that began in that
// generation changed. It changes nothing if the state has left the generation.
func (c *Channel) observeFailure(err error, began uint32, options *Options, now int64) Change {
	if generationOf(c.state.Load()) != began {
		return Unchanged
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.state.Load()
	if generationOf(old) != began {
		return Unchanged
	}
	if old&failing == 0 {
		if now-c.until.Load() > int64(options.HoldOffMax) {
			c.strikes = 0
		}
		c.failure.since, c.row = now, 0
	}
	c.row++
	c.strikes++
	c.failure.reason = FailureWords(err)
	add := failing
	if d := options.holdOff(c.hash, c.strikes); d > 0 {
		c.until.Store(now + int64(d))
		add |= held
	}
	if options.AutoDisable {
		add |= autoDisabled
	}
	c.change(func(state uint64) uint64 { return state&^untested | add + generation })
	switch {
	case options.AutoDisable && old&autoDisabled == 0:
		c.out = note{now, c.failure.reason}
		return Disabled
	case old&failing == 0:
		return Failing
	}
	return Unchanged
}

// holdOff returns how long a channel with this hash is passed over after so many
// failures in a row. The fifth that it may be more or less hangs on both alone:
// channels that failed together come back one after the other, and a run can be
// played again.
func (o *Options) holdOff(hash uint64, row int) time.Duration {
	d := min(o.HoldOff, o.HoldOffMax)
	for n := 1; n < row && d > 0 && d < o.HoldOffMax; n++ {
		d = min(2*d, o.HoldOffMax)
	}
	const steps = 1 << 20
	jitter := float64(mix(hash+uint64(row))%steps)/steps*0.4 - 0.2
	return d + time.Duration(jitter*float64(d))
}

// observeAnswer reports whether this answer is the first after a failure. That
// a channel answers is news whenever the dial began.
func (c *Channel) observeAnswer(now int64) Change {
	if c.state.Load()&(failing|untested) == 0 {
		return Unchanged
	}
	c.mu.Lock()
	c.strikes = 0
	c.mu.Unlock()
	return c.Answers(now)
}

// Answers says that the channel was connected to, where clients are, by somebody
// else than a client, such as a check: that clears what failed dials have said of
// it, but for an autodisable. What being held off has grown to it does not: a
// server may answer a check now and then, and clients not.
func (c *Channel) Answers(now int64) Change {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.state.Load()
	if old&(failing|untested) == 0 {
		return Unchanged
	}
	if old&(failing|healthy) != healthy {
		c.up = note{since: now}
	}
	if old&failing == 0 {
		c.state.Store(old &^ untested)
		return Unchanged
	}
	c.clearFailure()
	c.state.Store(old&^(failing|held|untested) + generation)
	return Recovered
}

// clearFailure forgets the failures in a row. The mutex is held, and the state is
// about to lose the words that tell of them.
func (c *Channel) clearFailure() {
	c.failure, c.row = note{}, 0
}

// FailureWords tells why connecting failed, in printable words that are not many.
// Of the errors of several addresses the first counts, as for FailureOf.
func FailureWords(err error) string {
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "no answer within the connect timeout"
	}
	return printable(err.Error())
}

// maxReason bounds the words of an error of which nothing else is known.
const maxReason = 200

func printable(text string) string {
	if len(text) > maxReason {
		text = text[:maxReason]
	}
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// HeldOff returns for how long the channel is passed over, as a client could not
// be connected to it; 0 if it is not.
func (c *Channel) HeldOff(now int64) time.Duration {
	if c.state.Load()&held == 0 {
		return 0
	}
	return max(time.Duration(c.until.Load()-now), 0)
}
