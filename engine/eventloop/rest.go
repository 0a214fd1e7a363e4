//go:build linux

package eventloop

// The kernel wakes the loop that was the first to wait, so of loops with
// little to do one would get all the sessions. A loop that has many more than
// the mean rests: it leaves new clients to the others until it is back at the
// mean, or until one of these has many more than it. At least one loop is
// awake.

// crowdedSlack keeps loops with few sessions from resting.
const crowdedSlack = 16

// sessions returns how many there are.
func (p *Plane) sessions() int64 {
	total := int64(0)
	for _, l := range p.loops {
		total += l.live.Load()
	}
	return total
}

// mean returns the number of sessions a loop.
func (p *Plane) mean() int64 { return p.sessions() / int64(len(p.loops)) }

// crowded reports whether the loop has many more sessions than the mean.
func (l *loop) crowded() bool {
	live := l.live.Load()
	if live <= crowdedSlack || len(l.plane.loops) == 1 {
		return false
	}
	mean := l.plane.mean()
	return live > mean+mean/8+crowdedSlack
}

// rest stops accepting if another loop goes on, and wakes those who rested
// long enough.
func (l *loop) rest() {
	mean := l.plane.mean()
	for _, other := range l.plane.loops {
		if other.resting.Load() && other.live.Load() <= mean && other.invited.CompareAndSwap(false, true) {
			other.mailbox.post(other.rejoin)
		}
	}
	for {
		awake := l.plane.awake.Load()
		if awake <= 1 {
			return
		}
		if l.plane.awake.CompareAndSwap(awake, awake-1) {
			break
		}
	}
	l.resting.Store(true)
	for _, a := range l.acceptors {
		if a != nil {
			a.unwatch(l)
		}
	}
	// The kernel may have woken this loop alone for a client who came before it
	// left. A session that ends at once may end the rest, too.
	more := false
	for _, a := range l.acceptors {
		if a != nil && !a.timer.armed() {
			more = a.take(l, maxBatch) || more
		}
	}
	if more {
		l.rejoin()
	}
}

// rejoin ends the rest.
func (l *loop) rejoin() {
	l.invited.Store(false)
	if !l.resting.Load() {
		return
	}
	l.resting.Store(false)
	l.plane.awake.Add(1)
	for _, a := range l.acceptors {
		if a != nil {
			a.watch(l)
		}
	}
}
