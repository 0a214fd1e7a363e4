//go:build linux

package load

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// schedule sends requests at fixed times, whether earlier ones are answered
// or not, and measures each from the time it was meant to be sent: a proxy
// that stalls makes every request late that should have gone out meanwhile.
type schedule struct {
	*trips           // its connections
	gap    float64   // nanoseconds from one request to the next
	due    [][]int64 // by connection: when its unanswered requests were meant to be sent
}

func newSchedule(ep int, to *unix.SockaddrInet4, w Workload, conns int, rate float64) *schedule {
	return &schedule{trips: newTrips(ep, to, w, conns), gap: 1e9 / rate, due: make([][]int64, conns)}
}

func (s *schedule) run(b *budget) error {
	sent := 0
	post := func(due int64) error {
		sent++
		return s.post((sent-1)%len(s.conns), due)
	}
	return s.onTime(b, func() float64 { return s.gap }, post, func(ev unix.EpollEvent) error { return s.collect(int(ev.Fd)) })
}

// onTime posts requests until the budget is spent, each gap nanoseconds after
// the one before, and collects what arrives until all are answered.
func (t *trips) onTime(b *budget, gap func() float64, post func(due int64) error, collect func(unix.EpollEvent) error) error {
	// Sleeps that end late would count as latency: the slack of a thread's
	// timers is 50 µs unless it asks for less (prctl(2), PR_SET_TIMERSLACK).
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set the timer slack: %w", err)
	}
	start := now()
	next, passed := start, 0.0
	heard := start // when something last arrived
	more := b.take(next, 1)
	for more || t.busy > 0 {
		for at := now(); more && next <= at; more = b.take(next, 1) {
			if err := post(next); err != nil {
				return err
			}
			passed += gap()
			next = start + int64(passed)
		}
		wait := stallTimeout
		if more {
			wait = max(0, time.Duration(next-now()))
		}
		n, err := epollWait(t.ep, t.events, wait)
		if err != nil {
			return err
		}
		switch at := now(); {
		case n > 0:
			heard = at
		case t.busy > 0 && at-heard > int64(stallTimeout):
			return fmt.Errorf("%d answers missing after %v", t.busy, stallTimeout)
		}
		for _, ev := range t.events[:n] {
			if err := collect(ev); err != nil {
				return err
			}
		}
	}
	return nil
}

// post sends, on connection i, the request that was due at the time due.
func (s *schedule) post(i int, due int64) error {
	n, err := send(s.conns[i].fd, s.request)
	if err != nil && !again(err) {
		return fmt.Errorf("send a request: %w", err)
	}
	if n < len(s.request) {
		return fmt.Errorf("the offered load is not carried: %d requests wait for an answer", s.busy)
	}
	s.due[i] = append(s.due[i], due)
	s.busy++
	return nil
}

// collect takes the answers that have arrived on connection i.
func (s *schedule) collect(i int) error {
	c := &s.conns[i]
	n, err := receive(c.fd, s.buffer, 0)
	switch {
	case err != nil && again(err):
		return nil
	case err != nil:
		return fmt.Errorf("receive an answer: %w", err)
	case n == 0:
		return errors.New("connection closed with answers missing")
	}
	t := now()
	c.got += n
	answered := c.got / len(s.request)
	c.got %= len(s.request)
	if answered > len(s.due[i]) {
		return errors.New("more answers than requests received")
	}
	for _, due := range s.due[i][:answered] {
		s.latencies = append(s.latencies, latency(t-due))
	}
	s.due[i] = slices.Delete(s.due[i], 0, answered)
	s.done += int64(answered)
	s.busy -= answered
	return nil
}
