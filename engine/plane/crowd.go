package plane

import "sync"

// crowd are the clients of a listener that are in their greeting, in the order in
// which they came: a bound, so that those who say nothing do not take the places of
// those who do. Greetings alone touch it.
type crowd struct {
	mu          sync.Mutex // loops take it: whoever holds it only reckons
	first, last *Greeting  // guarded by mu
	n           int        // guarded by mu
}

// crowdShare is how many of the sessions that a listener may have may be in their
// greeting: one of so many.
const crowdShare = 10

// mostGreeting returns how many clients of a listener may greet at a time, in a
// process that may have so many sessions.
func mostGreeting(l *Listener, limit int) int {
	return int(max(min(l.maxSessions(), int64(limit))/crowdShare, 1))
}

// Greeting returns how many clients are in their greeting, and how many may be at a
// time in a process that may have so many sessions: a tenth of the sessions that the
// listener may have, but one at least. With one more, the one that greets longest is
// sent away.
func (l *Listener) Greeting(limit int) (now, most int) {
	l.crowd.mu.Lock()
	defer l.crowd.mu.Unlock()
	return l.crowd.n, mostGreeting(l, limit)
}

// join adds the greeting, and sends those away who greet longest, if there are more
// than so many.
func (c *crowd) join(g *Greeting, most int) {
	var away []func() // called without the mutex, which they may wait for
	c.mu.Lock()
	g.in, g.prev = true, c.last
	if c.last != nil {
		c.last.next = g
	} else {
		c.first = g
	}
	c.last = g
	for c.n++; c.n > most; {
		longest := c.first
		c.remove(longest)
		longest.out = true
		away = append(away, longest.away)
	}
	c.mu.Unlock()
	for _, send := range away {
		send()
	}
}

// leave takes the greeting out, if it is in.
func (c *crowd) leave(g *Greeting) {
	if g.stage == 0 || g.stage == passed {
		return // it never was, or is not any more
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(g)
}

func (c *crowd) remove(g *Greeting) {
	if !g.in {
		return
	}
	if g.prev != nil {
		g.prev.next = g.next
	} else {
		c.first = g.next
	}
	if g.next != nil {
		g.next.prev = g.prev
	} else {
		c.last = g.prev
	}
	g.in, g.prev, g.next = false, nil, nil
	c.n--
}

// sentAway reports whether the greeting had to make room for another.
func (c *crowd) sentAway(g *Greeting) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return g.out
}
