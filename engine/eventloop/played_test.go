//go:build linux

package eventloop

import (
	"bytes"
	"log/slog"
	"math"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"balance/engine/balancer"
	"balance/engine/plane"
)

// played is a plane over a fake kernel. Its loops do not run: the test takes
// their turns, in a bubble of time. Every client finds a channel that does not
// answer, so the sessions stay until they are aborted.
type played struct {
	*Plane
	*testing.T
	kernel   *fakeKernel
	log      *bytes.Buffer
	channel  *balancer.Channel
	listener *plane.Listener
	ends     []plane.End
	came     int
}

func play(t *testing.T, loops int) *played {
	t.Helper()
	k := newFakeKernel(&script{})
	p := &played{T: t, kernel: k, log: new(bytes.Buffer), listener: new(plane.Listener)}
	p.Plane = &Plane{epoch: time.Now(), options: plane.Options{
		Log:    slog.New(slog.NewTextHandler(p.log, nil)),
		Ended:  func(end plane.End) { p.ends = append(p.ends, end) },
		Budget: plane.NewBudget(),
	}}
	p.places.Freed = p.feed
	p.places.SetLimit(math.MaxInt)
	p.awake.Store(int32(loops))
	k.locks = map[string]*sync.Mutex{}
	for i := range loops {
		l := newLoop(p.Plane, k)
		l.epoll, l.mailbox.event = int32(i+1), i+1
		p.loops = append(p.loops, l)
		k.locks["a mailbox "+string(rune('0'+i))] = &l.mailbox.mu
	}
	k.now = &p.loops[0].now
	p.channel = balancer.NewChannel(balancer.Key{Host: "channel", Port: 1})
	p.channel.SetAddresses([]netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1")})
	p.listener.SetService(&plane.Service{
		Name:           "played",
		Router:         balancer.NewRouter([]balancer.Group{{Channels: []*balancer.Channel{p.channel}}}, balancer.Options{}, nil),
		ConnectTimeout: time.Hour,
	})
	t.Cleanup(func() {
		for _, defect := range k.defects {
			t.Error(defect)
		}
		if t.Failed() {
			t.Logf("log:\n%s", p.log)
		}
	})
	return p
}

// accepting has the loops accept from a new socket.
func (p *played) accepting() (*fakeQueue, *adopted) {
	q := p.kernel.newQueue()
	s := &adopted{plane: p.Plane, fd: q.fd, serving: true}
	s.listener.Store(p.listener)
	for _, l := range p.loops {
		l.add(s)
	}
	return q, s
}

// come puts clients into the queue.
func (p *played) come(q *fakeQueue, n int) {
	for range n {
		p.came++
		s := p.kernel.newSocket()
		s.peer = netip.AddrPortFrom(netip.MustParseAddr("198.51.100.1"), uint16(p.came))
		q.clients = append(q.clients, s)
	}
}

// turns gives each of the loops so many turns, one after the other.
func (p *played) turns(n int, loops ...*loop) {
	for range n {
		for _, l := range loops {
			l.turn()
		}
	}
}

// finish ends so many sessions of a loop, the oldest first.
func (p *played) finish(l *loop, n int) {
	for i := range l.slab.pages {
		page, _ := l.page(i)
		for _, s := range page[:min(n, len(page))] {
			l.each([]token{s.token}, abort(plane.Operator))
			n--
		}
	}
}

func (p *played) live() (live []int64) {
	for _, l := range p.loops {
		live = append(live, l.live.Load())
	}
	return live
}

// said returns how many lines of the log have the text in it.
func (p *played) said(text string) int { return strings.Count(p.log.String(), text) }
