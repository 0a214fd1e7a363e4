package plane

import (
	"context"
	"errors"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"
)

// AttemptDelay is how long an attempt to connect may go without an answer until
// the one to the next address of the name begins: the Connection Attempt Delay
// of RFC 8305, sections 5 and 8.
const AttemptDelay = 250 * time.Millisecond

// MaxAttempts is how many attempts to connect to one channel are under way at a
// time.
const MaxAttempts = 16

// Attempt is one to connect to an address of a channel.
type Attempt struct {
	Addr netip.AddrPort // not valid if the channel is a unix socket
	Lack error          // what this machine lacked when it was to make it last, if it did
	nth  int            // of the addresses
}

// race says when which address of a channel is tried, and makes one error of
// what came of those that failed. The attempts are the caller's:
//
//	to come ──► under way ──► answered, which ends the race, or failed
//	               ▲ ▼
//	             waiting for what this machine lacks
//
// The first attempt is due at once, each other one when the one before it has
// failed or AttemptDelay after that began. Those under way go on.
type race struct {
	addrs    []netip.AddrPort // as they were when the race began
	deadline int64
	begun    int       // of the addresses
	due      int64     // when the attempt at the next one is
	underWay int       // attempts
	waiting  []waiting // attempts
	err      error     // of the attempts that failed so far
}

// waiting is an attempt that is made again.
type waiting struct {
	Attempt
	ready int64 // when
}

func (r *race) begin(addrs []netip.AddrPort, timeout time.Duration, now int64) {
	*r = race{addrs: addrs, deadline: now + min(int64(timeout), math.MaxInt64-now), due: now}
}

// Attempt returns an attempt that is due, for the caller to make. It reports
// false if there is none now.
func (r *race) Attempt(now int64) (a Attempt, ok bool) {
	if now >= r.deadline || r.underWay == MaxAttempts {
		return Attempt{}, false
	}
	if i := slices.IndexFunc(r.waiting, func(w waiting) bool { return w.ready <= now }); i >= 0 {
		a = r.waiting[i].Attempt
		r.waiting = slices.Delete(r.waiting, i, i+1)
		r.underWay++
		return a, true
	}
	if r.begun == len(r.addrs) || now < r.due {
		return Attempt{}, false
	}
	a = Attempt{Addr: r.addrs[r.begun], nth: r.begun}
	r.begun++
	r.due = now + int64(AttemptDelay)
	r.underWay++
	return a, true
}

// Wait returns how long it is until an attempt is due, unless one fails before,
// or until the time is over. It reports false if nothing is under way nor ever
// will be.
func (r *race) Wait(now int64) (pause time.Duration, ok bool) {
	more := r.begun < len(r.addrs) || len(r.waiting) > 0
	if r.underWay == 0 && (!more || now >= r.deadline) {
		return 0, false
	}
	until := r.deadline
	if r.underWay < MaxAttempts {
		if r.begun < len(r.addrs) {
			until = min(until, r.due)
		}
		for _, w := range r.waiting {
			until = min(until, w.ready)
		}
	}
	return time.Duration(max(until-now, 0)), true
}

// Left returns how much time is left.
func (r *race) Left(now int64) time.Duration { return time.Duration(r.deadline - now) }

// failed takes note of why an attempt failed.
func (r *race) failed(a Attempt, err error, now int64) {
	r.underWay--
	r.hasten(a, now)
	if a.Lack != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		err = a.Lack // that is where the time went
	}
	r.Undialled(err)
}

// hasten has the next attempt begin now that the one before it came to nothing.
func (r *race) hasten(before Attempt, now int64) {
	if before.nth == r.begun-1 {
		r.due = min(r.due, now)
	}
}

// again has an attempt wait for what this machine lacks, as the error says.
func (r *race) again(a Attempt, err error, ready int64) {
	r.underWay--
	a.Lack = err
	r.waiting = append(r.waiting, waiting{a, ready})
}

// Undialled takes note of why an address could not be connected to.
func (r *race) Undialled(err error) { r.err = Undialled(r.err, err) }

var errNoAddress = errors.New("the channel has no address")

// lost returns why no address answered. What still waits was never to be had.
func (r *race) lost() error {
	for _, w := range r.waiting {
		r.Undialled(w.Lack)
	}
	r.waiting = nil
	if r.err == nil {
		return errNoAddress
	}
	return r.err
}

// answer is what came of an attempt.
type answer struct {
	Attempt
	conn net.Conn
	err  error
}

// Run makes the attempts, each in a goroutine of its own, but for one beside
// which there is nothing to do, and returns the first connection, or nil if
// there is none or ctx has ended. The other attempts are cancelled and waited
// for then. An attempt is to fail when its context ends, or the time of the race
// is over; failed, which is not called concurrently, takes note of that. The
// caller closes the connection.
func (r *race) Run(ctx context.Context, now func() int64, dial func(context.Context, Attempt) (net.Conn, error), failed func(Attempt, error)) net.Conn {
	var answers chan answer
	attempts, cancel := ctx, context.CancelFunc(func() {})
	if len(r.addrs) > 1 {
		answers = make(chan answer)
		attempts, cancel = context.WithCancel(ctx)
	}
	defer func() {
		cancel()
		for r.underWay > 0 {
			late := <-answers
			if late.err != nil {
				failed(late.Attempt, late.err)
				continue
			}
			r.underWay--
			late.conn.Close()
		}
	}()
	for ctx.Err() == nil {
		came, ok := answer{}, false
		came.Attempt, ok = r.Attempt(now())
		switch {
		case !ok:
			pause, more := r.Wait(now())
			if !more {
				return nil
			}
			var due <-chan time.Time
			if r.Left(now()) > 0 { // or else the attempts end by themselves
				due = time.After(pause)
			}
			select {
			case <-ctx.Done():
				return nil
			case <-due:
				continue
			case came = <-answers:
			}
		case r.underWay == 1 && r.begun == len(r.addrs) && len(r.waiting) == 0:
			came.conn, came.err = dial(ctx, came.Attempt)
		default:
			go attempt(attempts, came.Attempt, dial, answers)
			continue
		}
		if came.err == nil {
			r.underWay--
			return came.conn
		}
		failed(came.Attempt, came.err)
	}
	return nil
}

func attempt(ctx context.Context, a Attempt, dial func(context.Context, Attempt) (net.Conn, error), answers chan<- answer) {
	conn, err := dial(ctx, a)
	answers <- answer{a, conn, err}
}

// Race connects to whichever of the addresses of a name answers first, as
// sessions do: the attempt at the next one begins when the one before has failed
// or has not answered for AttemptDelay. At most MaxAttempts calls of dial are
// under way at a time; they are to return when their context ends, and none is
// left when Race returns. Without a connection, the error tells of all addresses
// that were tried. The caller closes the connection.
func Race(ctx context.Context, addrs []netip.AddrPort, dial func(ctx context.Context, addr netip.AddrPort) (net.Conn, error)) (net.Conn, error) {
	began := time.Now()
	now := func() int64 { return int64(time.Since(began)) }
	var r race
	r.begin(addrs, math.MaxInt64, now())
	conn := r.Run(ctx, now,
		func(ctx context.Context, a Attempt) (net.Conn, error) { return dial(ctx, a.Addr) },
		func(a Attempt, err error) { r.failed(a, err, now()) })
	if conn != nil {
		return conn, nil
	}
	if r.err == nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, r.lost()
}
