package planetest

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"balance/engine/balancer"
	"balance/engine/plane"
)

// queueing is a door behind which clients wait for the slots of the channels, which
// are one group.
type queueing struct {
	*door
	service *plane.Service
}

func (r *rig) queueing(size int, change func(*plane.Service), channels ...*balancer.Channel) *queueing {
	r.Helper()
	d := r.bind("127.0.0.1", nil)
	q := &queueing{door: d}
	q.follow(size, change, channels...)
	d.acceptor.Serve(d.listener)
	return q
}

// follow puts another service in force.
func (q *queueing) follow(size int, change func(*plane.Service), channels ...*balancer.Channel) {
	s := service(balancer.NewRouter([]balancer.Group{{Channels: channels}}, balancer.Options{Queue: &q.listener.Queue}, nil))
	s.QueueSize, s.QueueTimeout = size, patience
	if change != nil {
		change(s)
	}
	q.service = s
	q.listener.SetService(s)
	q.listener.Queue.Review(q.plane.Now())
}

// wait dials a client that is to wait, as one of so many.
func (q *queueing) wait(n int) *net.TCPConn {
	q.Helper()
	client := q.dial()
	q.waiting(n)
	return client
}

// waiting waits until n sessions are shown to wait, and as many do.
func (q *queueing) waiting(n int) {
	q.Helper()
	eventually(q, "the clients wait", func() bool {
		shown := 0
		q.plane.Sessions(func(s plane.Session) bool {
			if s.State == plane.Queued {
				shown++
				if s.Channel != nil {
					q.Errorf("who waits has channel %s", s.Channel.Key())
				}
			}
			return true
		})
		return shown == n && q.listener.Queue.Len() == n
	})
}

// untold fails if the client was told anything.
func untold(t testing.TB, client *net.TCPConn) {
	t.Helper()
	client.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := client.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("who waits was told: %v", err)
	}
	client.SetReadDeadline(time.Now().Add(patience))
}

func (q *queueing) rejected(why balancer.Rejection) {
	q.Helper()
	cause := map[balancer.Rejection]plane.Cause{
		balancer.AllDown: plane.NoChannel, balancer.QueueFull: plane.QueueFull, balancer.QueueTimeout: plane.QueueTimeout, balancer.TooLate: plane.ConnectDeadline,
	}[why]
	if end := q.end(); end.Cause != cause || end.State != plane.Closed {
		q.Errorf("a session ends: %s %s", end.Cause.By(), end.Cause.How())
	}
	if n := q.listener.Rejected[why].Load(); n != 1 {
		q.Errorf("%d were rejected as %s", n, why)
	}
}

// Clients are served in the order in which they came, as slots get free, and what
// they have said meanwhile is not lost.
func testQueue(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	channel := r.serve(echo)
	channel.SetLimit(1)
	q := r.queueing(5, nil, channel)
	clients := []*net.TCPConn{q.dial()}
	exchange(t, clients[0], "first")
	for i := range 3 {
		clients = append(clients, q.wait(i+1))
	}
	waiting := q.listener.Queue.Waiting(r.plane.Now(), 100)
	for i, client := range clients[1:] {
		if waiting[i].Client.String() != client.LocalAddr().String() || len(waiting[i].For) != 1 || waiting[i].Since == 0 {
			t.Errorf("place %d: %+v, want %s", i, waiting[i], client.LocalAddr())
		}
		io.WriteString(client, "in the queue")
	}
	for i, client := range clients[1:] {
		untold(t, client)
		clients[i].Close()
		got := make([]byte, len("in the queue"))
		if _, err := io.ReadFull(client, got); err != nil || string(got) != "in the queue" {
			t.Fatalf("client %d: %q, %v", i+1, got, err)
		}
		q.waiting(2 - i)
		if n := channel.Active(); n != 1 {
			t.Errorf("%d slots are taken", n)
		}
	}
	if _, n, _ := q.listener.Queue.Waits.Read(); n != 3 {
		t.Errorf("%d waits were counted", n)
	}
}

// Who waits and leaves frees its place.
func testQueueLeft(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	channel := r.serve(echo)
	channel.SetLimit(1)
	q := r.queueing(2, nil, channel)
	first := q.dial()
	exchange(t, first, "first")
	leaving := q.wait(1)
	last := q.wait(2)
	leaving.SetLinger(0)
	leaving.Close()
	q.waiting(1)
	if end := r.end(); end.Cause != plane.ClientFailed {
		t.Errorf("a session ends: %s %s", end.Cause.By(), end.Cause.How())
	}
	q.wait(2)
	first.Close()
	exchange(t, last, "last")
}

// Who has nothing more to say may wait for what it is told.
func testQueueHalfClosed(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	channel := r.serve(echo)
	channel.SetLimit(1)
	q := r.queueing(2, nil, channel)
	first := q.dial()
	exchange(t, first, "first")
	client := q.wait(1)
	io.WriteString(client, "question")
	client.CloseWrite()
	untold(t, client)
	q.waiting(1)
	first.Close()
	if got := readAll(t, client); got != "question" {
		t.Errorf("got %q", got)
	}
}

func testQueueTimeout(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	channel := r.serve(echo)
	channel.SetLimit(1)
	q := r.queueing(2, func(s *plane.Service) { s.QueueTimeout = 100 * time.Millisecond }, channel)
	first := q.dial()
	exchange(t, first, "first")
	second := q.dial()
	if got := readAll(t, second); got != "" {
		t.Errorf("got %q", got)
	}
	q.rejected(balancer.QueueTimeout)
	q.waiting(0)
	exchange(t, first, "and on")
	first.Close()
	r.end()
	exchange(t, q.dial(), "there is room again")
}

func testQueueFull(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	channel := r.serve(echo)
	channel.SetLimit(1)
	q := r.queueing(1, nil, channel)
	exchange(t, q.dial(), "first")
	second := q.wait(1)
	if got := readAll(t, q.dial()); got != "" {
		t.Errorf("got %q", got)
	}
	q.rejected(balancer.QueueFull)
	untold(t, second)
}

// A change of the configuration loses nobody who waits, not even one that has no
// queue, and those go on who can.
func testQueueReload(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	channel, other := r.serve(echo), r.serve(echo)
	channel.SetLimit(1)
	q := r.queueing(5, nil, channel)
	first := q.dial()
	exchange(t, first, "first")
	second, third, fourth := q.wait(1), q.wait(2), q.wait(3)
	q.follow(0, nil, channel)
	q.waiting(3)
	untold(t, second)
	other.SetLimit(1)
	q.follow(1, nil, channel, other)
	exchange(t, second, "second")
	q.waiting(2)
	untold(t, third)
	channel.SetLimit(2)
	q.listener.Queue.Review(r.plane.Now())
	exchange(t, third, "third")
	second.Close()
	exchange(t, fourth, "fourth")
	if channel.Active() != 2 || other.Active() != 1 {
		t.Errorf("%d and %d slots are taken", channel.Active(), other.Active())
	}
}

// One that is enabled takes those who wait for others.
func testQueueEnable(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	channel, other := r.serve(echo), r.serve(echo)
	channel.SetLimit(1)
	other.Disable()
	q := r.queueing(5, nil, channel, other)
	exchange(t, q.dial(), "first")
	second := q.wait(1)
	untold(t, second)
	other.Enable()
	q.listener.Queue.Review(r.plane.Now())
	exchange(t, second, "second")
	if other.Active() != 1 {
		t.Errorf("%d slots are taken", other.Active())
	}
}

// Who waits for nothing any more is turned away at once, as one that comes then.
func testQueueOutOfService(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	channel, other := r.serve(echo), r.serve(echo)
	channel.SetLimit(1)
	other.SetLimit(1)
	q := r.queueing(5, nil, channel, other)
	first := q.dial()
	exchange(t, first, "first")
	exchange(t, q.dial(), "second")
	third := q.wait(1)
	other.Disable()
	q.listener.Queue.Review(r.plane.Now())
	untold(t, third)
	channel.SetHealth(balancer.Unhealthy, r.plane.Now(), "")
	q.listener.Queue.Review(r.plane.Now())
	if got := readAll(t, third); got != "" {
		t.Errorf("got %q", got)
	}
	q.rejected(balancer.AllDown)
	q.waiting(0)
	exchange(t, first, "and on")
}

// Another time to wait holds for those who wait already.
func testQueueShortened(t *testing.T, newPlane New) {
	for name, change := range map[string]func(*plane.Service){
		"queue timeout":    func(s *plane.Service) { s.QueueTimeout = 50 * time.Millisecond },
		"connect deadline": func(s *plane.Service) { s.ConnectDeadline = 50 * time.Millisecond },
	} {
		r := newRig(t, newPlane)
		channel := r.serve(echo)
		channel.SetLimit(1)
		q := r.queueing(5, func(s *plane.Service) { s.QueueTimeout = time.Hour }, channel)
		exchange(t, q.dial(), "first")
		second := q.wait(1)
		q.follow(5, change, channel)
		if got := readAll(t, second); got != "" {
			t.Errorf("%s: got %q", name, got)
		}
		q.waiting(0)
	}
}

// A client whose channel does not answer waits for the ones that are full, and comes
// to the channel that refused it no more.
func testQueueAfterFailure(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	channel, refusing := r.serve(echo), channelTo(r.refused())
	channel.SetLimit(1)
	q := r.queueing(5, nil, channel, refusing)
	first := q.dial()
	exchange(t, first, "first")
	second := q.wait(1)
	untold(t, second)
	first.Close()
	exchange(t, second, "second")
	if n := refusing.Counters.Failures.Load(); n != 1 {
		t.Errorf("%d attempts", n)
	}
}

func testQueueAbort(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	channel := r.serve(echo)
	channel.SetLimit(1)
	q := r.queueing(5, nil, channel)
	first := q.dial()
	exchange(t, first, "first")
	second, third := q.wait(1), q.wait(2)
	if n := r.plane.Abort(plane.Operator, func(s *plane.Session) bool {
		return s.State == plane.Queued && s.Client.String() == second.LocalAddr().String()
	}); n != 1 {
		t.Errorf("%d were aborted", n)
	}
	if end := r.end(); end.Cause != plane.Operator {
		t.Errorf("a session ends: %s %s", end.Cause.By(), end.Cause.How())
	}
	if _, err := second.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client saw %v, want a reset", err)
	}
	first.Close()
	exchange(t, third, "third")
	for why := range q.listener.Rejected {
		if n := q.listener.Rejected[why].Load(); n > 0 {
			t.Errorf("%d were rejected as %s", n, balancer.Rejection(why))
		}
	}
}

// Who waits is a session like the others when the plane comes to its end.
func testQueueShutdown(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	channel := r.serve(echo)
	channel.SetLimit(1)
	q := r.queueing(5, nil, channel)
	first := q.dial()
	exchange(t, first, "first")
	second := q.wait(1)
	q.wait(2)
	q.acceptor.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	down := make(chan struct{})
	go func() {
		defer close(down)
		r.plane.Shutdown(ctx)
	}()
	first.Close()
	exchange(t, second, "second")
	cancel()
	await(t, down)
	r.plane = newPlane(plane.Options{}) // for the clean-up
	causes := map[plane.Cause]int{}
	for range 3 {
		causes[r.end().Cause]++
	}
	if causes[plane.Shutdown] != 2 || q.listener.Queue.Len() != 0 || channel.Active() != 0 {
		t.Errorf("causes %v; %d wait, %d slots are taken", causes, q.listener.Queue.Len(), channel.Active())
	}
}

// A client has one time for all its attempts, after which it goes to nobody, and
// none of the channels is blamed for what is left of it.
func testConnectDeadline(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	slow, good := channelTo(blackhole(t)), r.serve(echo)
	q := r.queueing(0, func(s *plane.Service) { s.ConnectDeadline = 200 * time.Millisecond }, slow, good)
	if got := readAll(t, q.dial()); got != "" {
		t.Errorf("got %q", got)
	}
	q.rejected(balancer.TooLate)
	if slow.Failing() || slow.Dials.Failed(balancer.TimedOut) != 1 || good.Counters.Sessions.Load() != 0 {
		t.Errorf("failing %t, %d timeouts; the next channel had %d clients", slow.Failing(), slow.Dials.Failed(balancer.TimedOut), good.Counters.Sessions.Load())
	}
	client := q.dial()
	exchange(t, client, "in time")
	time.Sleep(300 * time.Millisecond)
	exchange(t, client, "and for ever")
}

// The time in the queue counts.
func testDeadlineInQueue(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	channel := r.serve(echo)
	channel.SetLimit(1)
	q := r.queueing(2, func(s *plane.Service) { s.ConnectDeadline = 200 * time.Millisecond }, channel)
	exchange(t, q.dial(), "first")
	if got := readAll(t, q.dial()); got != "" {
		t.Errorf("got %q", got)
	}
	q.rejected(balancer.TooLate)
	q.waiting(0)
}

// Who waits has nothing in flight, so it is closed at once, as one that dials.
func testQueueFinish(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	channel := r.serve(echo)
	channel.SetLimit(1)
	q := r.queueing(5, nil, channel)
	first := q.dial()
	exchange(t, first, "first")
	second, third := q.wait(1), q.wait(2)
	r.finish(second)
	if got := readAll(t, second); got != "" {
		t.Errorf("got %q", got)
	}
	if end := r.end(); end.Cause != plane.Rebalanced || end.Channel != nil {
		t.Errorf("a session ends: %s %s", end.Cause.By(), end.Cause.How())
	}
	q.waiting(1)
	first.Close()
	exchange(t, third, "third")
}
