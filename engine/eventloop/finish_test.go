//go:build linux

package eventloop

import (
	"net/netip"
	"testing"
	"time"

	"balance/engine/plane"
)

// Sessions that are being finished go on while bytes move, for one step; what
// comes then is dropped, for another one at most.
func TestFinishing(t *testing.T) {
	const each = 20 * time.Millisecond
	for name, busy := range map[string]time.Duration{"Idle": 0, "Busy": 10 * each, "AlwaysBusy": time.Hour} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(nil)
			c := w.kernel.newSocket()
			w.clients = append(w.clients, c)
			peer := netip.MustParseAddrPort("198.51.100.1:1")
			w.loop.begin(c.fd, peer, w.listener)
			s := w.kernel.servers[c.token]
			c.space, s.space = 1<<20, 1<<20
			s.connecting, s.event = false, true
			w.deliver(s)
			s.give(1)
			w.deliver(s)
			w.loop.now += int64(time.Hour)
			w.loop.expire(w.loop.now)
			if busy > 0 {
				s.give(1)
				w.deliver(s)
			}
			began := w.loop.now
			w.loop.each([]token{c.token}, finish(plane.Rebalanced))
			parted := time.Duration(-1)
			taken := 0
			for {
				passed := time.Duration(w.loop.now - began)
				if parted < 0 && c.shut {
					parted, taken = passed, c.taken
				}
				if passed > time.Minute || len(w.ends) > 0 {
					break
				}
				if passed < busy {
					s.give(1)
					w.deliver(s)
				}
				w.loop.now += int64(each)
				w.loop.expire(w.loop.now)
			}
			want := map[string]time.Duration{"Idle": 0, "Busy": busy + 2*each, "AlwaysBusy": plane.Finishing}[name]
			if parted < want || parted > want+each {
				t.Errorf("parted after %s, want %s", parted, want)
			}
			if took := time.Duration(w.loop.now-began) - parted; took < plane.Finishing || took > plane.Finishing+each {
				t.Errorf("ended %s after that, want %s", took, plane.Finishing)
			}
			if c.taken != taken {
				t.Errorf("%d bytes came after the end of stream", c.taken-taken)
			}
			if c.reset || s.reset || w.ends[peer].Cause != plane.Rebalanced {
				t.Errorf("reset %t and %t; the session ends: %s", c.reset, s.reset, w.ends[peer].Cause.How())
			}
			if n := len(s.readable()); n > 0 {
				t.Errorf("closed with %d bytes to read", n)
			}
		})
	}
}
