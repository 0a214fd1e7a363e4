//go:build linux

package load

import (
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testLoop makes the loop of a workload against address, opened.
func testLoop(t *testing.T, w Workload, address string) loop {
	t.Helper()
	loops, err := newLoops(Job{Workload: w, Target: address, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(loops[0].close)
	if err := loops[0].open(); err != nil {
		t.Fatal(err)
	}
	return loops[0]
}

func startTestBackend(t *testing.T) string {
	t.Helper()
	p, address, err := StartBackend()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return address
}

func TestLoopsAgainstTheBackend(t *testing.T) {
	address := startTestBackend(t)
	for _, c := range []struct {
		w         Workload
		count     int64
		latencies bool
	}{
		{Workload{Kind: Short, Connections: 1, Size: 64}, 20, true},
		{Workload{Kind: Short, Connections: 8, Size: 64}, 100, true},
		{Workload{Kind: Trip, Connections: 1, Size: 64}, 100, true},
		{Workload{Kind: Trip, Connections: 200, Size: 64}, 1000, true},
		{Workload{Kind: Trip, Connections: 3, Size: 4096}, 100, true},
		{Workload{Kind: Latency, Connections: 3, Size: 64, Offered: 10000}, 300, true},
		{Workload{Kind: Down, Connections: 2}, 64 << 20, false},
		{Workload{Kind: Up, Connections: 2}, 64 << 20, false},
	} {
		l := testLoop(t, c.w, address)
		for range 2 { // the second time as if the first had warmed it up
			l.reset()
			if err := l.run(&budget{counted: true, left: c.count}); err != nil {
				t.Errorf("%+v: %v", c.w, err)
				break
			}
			units, latencies := l.result()
			if c.latencies && (units != c.count || int64(len(latencies)) != units || slices.Contains(latencies, 0)) {
				t.Errorf("%+v: %d units with %d latencies, want %d", c.w, units, len(latencies), c.count)
			}
			if !c.latencies && (units < c.count || len(latencies) != 0) {
				t.Errorf("%+v: %d bytes, want %d", c.w, units, c.count)
			}
		}
	}
}

func TestShortTakesAConnectionEach(t *testing.T) {
	var taken atomic.Int64
	address := serveLoopback(t, func(c net.Conn) { taken.Add(1); io.Copy(c, c) })
	l := testLoop(t, Workload{Kind: Short, Connections: 3, Size: 64}, address)
	if err := l.run(&budget{counted: true, left: 20}); err != nil {
		t.Fatal(err)
	}
	if taken.Load() != 20 {
		t.Errorf("%d connections for 20 units", taken.Load())
	}
}

func TestAllThreadsShareTheWork(t *testing.T) {
	address := startTestBackend(t)
	for _, c := range []struct {
		kind  Kind
		count int64
		want  int64
		most  int64 // how far each thread may go beyond its share: two turns
	}{
		{Short, 100, 100, 0},
		{Trip, 1000, 1000, 0},
		{Latency, 100, 100, 0},
		{Down, 16, 16 << 20, 2 << 20},
		{Up, 16, 16 << 20, 2 * bulkTurn << 18},
	} {
		s, err := measureLoad(Job{
			Workload: Workload{Kind: c.kind, Connections: 8, Size: 64, Offered: 5000},
			Target:   address, Root: os.Getpid(), Threads: 3, Count: c.count, Warm: time.Millisecond,
		})
		if err != nil || s.Units < c.want || s.Units > c.want+3*c.most {
			t.Errorf("%s: %d units, %v; want %d", c.kind, s.Units, err, c.want)
		}
	}
}

// Signals, which the runtime sends to threads that block in a raw system
// call, do not put the end of a wait off.
func TestWaitEndsInSpiteOfSignals(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ep)
	thread, stop, stopped := unix.Gettid(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				unix.Tgkill(os.Getpid(), thread, unix.SIGURG)
			}
		}
	}()
	n, err := epollWait(ep, make([]unix.EpollEvent, 1), 100*time.Millisecond)
	close(stop)
	<-stopped
	if n != 0 || err != nil {
		t.Errorf("%d events, %v", n, err)
	}
}

func TestTimedStretchEnds(t *testing.T) {
	l := testLoop(t, Workload{Kind: Trip, Connections: 2, Size: 64}, startTestBackend(t))
	until := now() + int64(5*time.Millisecond)
	if err := l.run(&budget{until: until}); err != nil {
		t.Fatal(err)
	}
	if units, _ := l.result(); units < 2 || now() < until {
		t.Errorf("%d units", units)
	}
}

func TestWrongAnswersFail(t *testing.T) {
	for _, c := range []struct {
		name, want string
		serve      func(net.Conn)
	}{
		{"closed", "closed before the answer", func(c net.Conn) { io.ReadFull(c, make([]byte, 64)) }},
		{"cut short", "closed before the answer", func(c net.Conn) {
			b := make([]byte, 64)
			io.ReadFull(c, b)
			c.Write(b[:40])
		}},
		{"somebody else's", "answer to another request", func(c net.Conn) {
			io.ReadFull(c, make([]byte, 64))
			c.Write(make([]byte, 64))
		}},
		{"too long", "bytes answered to 64", func(c net.Conn) {
			b := make([]byte, 80)
			io.ReadFull(c, b[:64])
			c.Write(b)
		}},
	} {
		to, err := socketAddress(serveLoopback(t, c.serve))
		if err != nil {
			t.Fatal(err)
		}
		ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		l := newTrips(ep, to, Workload{Kind: Short, Connections: 1, Size: 64}, 1)
		err = l.run(&budget{counted: true, left: 1})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		l.close()
	}
}

// A server that stalls makes late all that should have been sent meanwhile,
// not only what was under way.
func TestLatencyCountsFromTheIntendedTime(t *testing.T) {
	const stall = 300 * time.Millisecond
	address := serveLoopback(t, func(c net.Conn) {
		b := make([]byte, 64)
		for i := 0; ; i++ {
			if _, err := io.ReadFull(c, b); err != nil {
				return
			}
			if i == 1 { // the first request opens the connection
				time.Sleep(stall)
			}
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	})
	l := testLoop(t, Workload{Kind: Latency, Connections: 1, Size: 64, Offered: 1000}, address)
	l.reset()
	if err := l.run(&budget{counted: true, left: 300}); err != nil {
		t.Fatal(err)
	}
	_, latencies := l.result()
	late := 0
	for _, ns := range latencies {
		if time.Duration(ns) >= stall/6 {
			late++
		}
	}
	// The k-th of the 300 is due k ms after the start and cannot be answered
	// before the 300th; 250 of them wait for 50 ms or more.
	if late < 250 {
		t.Errorf("%d of %d requests are late, want at least 250", late, len(latencies))
	}
}

// Far more is offered than can be sent. All is due at the start, so that what
// is answered later is later by as much, however late it was sent.
func TestLatencyOfALateGenerator(t *testing.T) {
	l := testLoop(t, Workload{Kind: Latency, Connections: 1, Size: 64, Offered: 1e9}, startTestBackend(t))
	l.reset()
	if err := l.run(&budget{counted: true, left: 500}); err != nil {
		t.Fatal(err)
	}
	_, latencies := l.result()
	for i, ns := range latencies[1:] {
		if ns+500 < latencies[i] {
			t.Fatalf("request %d of %d is answered later than the one before, and its latency is %d ns after %d ns", i+1, len(latencies), ns, latencies[i])
		}
	}
}

func TestBackendBreaksOffUnknownModes(t *testing.T) {
	conn, err := net.Dial("tcp4", startTestBackend(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write([]byte("?")); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// A client that writes much and reads late gets all of it back, in order.
func TestBackendEchoesToSlowReaders(t *testing.T) {
	conn, err := net.Dial("tcp4", startTestBackend(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	sent := make([]byte, 32<<20)
	for i := range sent {
		sent[i] = byte(i >> 8 * 31)
	}
	sent[0] = modeEcho
	wrote := make(chan error, 1)
	go func() {
		_, err := conn.Write(sent)
		wrote <- err
	}()
	time.Sleep(50 * time.Millisecond)
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(conn, got); err != nil {
		t.Fatal(err)
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, sent) {
		t.Error("the echo differs")
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]int64, 100)
	for i := range hundred {
		hundred[i] = int64(i + 1)
	}
	thousand := make([]int64, 1000)
	for i := range thousand {
		thousand[i] = int64(i + 1)
	}
	for _, c := range []struct {
		sorted []int64
		p      float64
		want   int64
	}{
		{nil, 0.5, 0},
		{[]int64{3}, 0.001, 3},
		{[]int64{3}, 0.999, 3},
		{[]int64{1, 2}, 0.5, 1},
		{[]int64{1, 2, 3}, 0.5, 2},
		{hundred, 0, 1},
		{hundred, 0.5, 50},
		{hundred, 0.99, 99},
		{hundred, 0.999, 100},
		{hundred, 1, 100},
		{thousand, 0.99, 990},
		{thousand, 0.999, 999},
	} {
		if got := percentile(c.sorted, c.p); got != c.want {
			t.Errorf("percentile of %d values, %v = %d, want %d", len(c.sorted), c.p, got, c.want)
		}
	}
}

func TestShareLosesNothing(t *testing.T) {
	for _, c := range []struct{ whole, n int64 }{{0, 1}, {1, 1}, {1, 3}, {10, 3}, {1000, 7}} {
		var sum int64
		for i := range c.n {
			s := share(c.whole, i, c.n)
			if s < c.whole/c.n || s > c.whole/c.n+1 {
				t.Errorf("share(%d, %d, %d) = %d", c.whole, i, c.n, s)
			}
			sum += s
		}
		if sum != c.whole {
			t.Errorf("%d in %d shares add up to %d", c.whole, c.n, sum)
		}
	}
}
