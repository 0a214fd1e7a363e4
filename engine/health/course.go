package health

import (
	"time"

	"balance/engine/balancer"
	"balance/engine/spec"
)

// course is how the checks of a target go: what they have made of its health.
//
//	            first result counts alone
//	untested ─────────────┬──────────────► up ◄──────┐
//	                      └──────────────► down      │
//	up:   Fall failures in a row  ──► down           │
//	down: Rise successes in a row ───────────────────┘
//
// Outcome Local is no result: it passes the course by.
type course struct {
	health balancer.Health
	tested bool // a result has counted
	passed bool // the last one
	row    int  // results like the last one, up to it
}

// count takes a result into account, and reports whether it changed the health.
func (c *course) count(passed bool, rise, fall int) (changed bool) {
	first := !c.tested
	if first || passed != c.passed {
		c.row = 0
	}
	c.tested, c.passed = true, passed
	c.row++
	towards, need := balancer.Unhealthy, fall
	if passed {
		towards, need = balancer.Healthy, rise
	}
	if c.health == towards || !first && c.row < need {
		return false
	}
	c.health = towards
	return true
}

// changing reports whether a run of results has begun that says otherwise.
func (c *course) changing() bool {
	return c.tested && c.passed != (c.health == balancer.Healthy)
}

// settledDown reports whether there is nothing but failures to expect.
func (c *course) settledDown() bool { return c.health == balancer.Unhealthy && c.tested && !c.passed }

// interval returns the time from the beginning of the last check to that of the
// next.
func (c *course) interval(check *spec.Check) time.Duration {
	switch {
	case c.changing():
		return check.FastInterval
	case c.settledDown():
		return check.DownInterval
	}
	return check.Interval
}
