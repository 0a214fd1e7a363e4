//go:build linux

package load

import (
	"bytes"
	"context"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestArrivalsAreAPoissonProcess(t *testing.T) {
	const n = 100000
	a := newArrivals(-1, nil, Workload{Kind: Fair}, 1000, 1)
	var sum, squares float64
	long := 0
	for range n {
		w := a.wait() / 1e6
		sum += w
		squares += w * w
		if w > 3 {
			long++
		}
	}
	mean := sum / n
	deviation := math.Sqrt(squares/n - mean*mean)
	// Of exponential gaps the mean is the deviation, and e^-3 of them are longer
	// than three times that.
	if math.Abs(mean-1) > 0.02 || math.Abs(deviation-1) > 0.02 || math.Abs(float64(long)/n-math.Exp(-3)) > 0.005 {
		t.Errorf("gaps of %.3f ± %.3f ms at 1000 a second, %d of %d above 3 ms", mean, deviation, long, n)
	}
}

func TestSeedsDecideArrivals(t *testing.T) {
	draw := func(seed uint64) (gaps []float64, clients [][4]byte) {
		a := newArrivals(-1, nil, Workload{Kind: Fair}, 1000, seed)
		for range 100 {
			gaps, clients = append(gaps, a.wait()), append(clients, a.client())
		}
		return gaps, clients
	}
	gaps, clients := draw(7)
	gapsAgain, clientsAgain := draw(7)
	if !slices.Equal(gaps, gapsAgain) || !slices.Equal(clients, clientsAgain) {
		t.Error("two draws of one seed differ")
	}
	other, others := draw(8)
	if slices.Equal(gaps, other) || slices.Equal(clients, others) {
		t.Error("the draws of two seeds are the same")
	}
	for _, c := range clients {
		if c[0] != 127 || c[3] == 0 || c[3] == 255 {
			t.Errorf("client %v", c)
		}
	}
}

// All connections are opened before the first is answered, each from another
// address.
func TestArrivalsWaitForNobody(t *testing.T) {
	const n = 30
	var mu sync.Mutex
	clients := make(map[netip.Addr]bool)
	all := make(chan struct{})
	address := serveLoopback(t, func(c net.Conn) {
		b := make([]byte, probeSize)
		if _, err := io.ReadFull(c, b); err != nil {
			return
		}
		mu.Lock()
		clients[c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()] = true
		if len(clients) == n {
			close(all)
		}
		mu.Unlock()
		<-all
		b[probeSize-1] = 2
		c.Write(b)
	})
	l := testLoop(t, Workload{Kind: Fair, Offered: 10000}, address).(*arrivals)
	if err := l.run(&budget{counted: true, left: n}); err != nil {
		t.Fatal(err)
	}
	units, latencies := l.result()
	if units != n || len(latencies) != n || len(l.conns) != n || l.served != [...]int64{0, 0, n} {
		t.Errorf("%d units, %d latencies, %d connections, served by %v; want %d", units, len(latencies), len(l.conns), l.served, n)
	}
	l.reset()
	if l.served != [len(ServiceTimes)]int64{} {
		t.Errorf("%v after reset", l.served)
	}
}

// Far more is offered than can be sent. All is due within microseconds, so that
// what is answered later is later by as much, however late it was sent.
func TestArrivalsCountFromTheIntendedTime(t *testing.T) {
	address := serveLoopback(t, func(c net.Conn) { io.Copy(c, c) })
	l := testLoop(t, Workload{Kind: Fair, Offered: 1e9}, address)
	if err := l.run(&budget{counted: true, left: 300}); err != nil {
		t.Fatal(err)
	}
	_, latencies := l.result()
	for i, ns := range latencies[1:] {
		if ns+5000 < latencies[i] {
			t.Fatalf("request %d of %d is answered later than the one before, and its latency is %d ns after %d ns", i+1, len(latencies), ns, latencies[i])
		}
	}
}

func TestAnswersOfUnknownServersFail(t *testing.T) {
	address := serveLoopback(t, func(c net.Conn) {
		b := make([]byte, probeSize)
		io.ReadFull(c, b)
		b[probeSize-1] = byte(len(ServiceTimes))
		c.Write(b)
	})
	l := testLoop(t, Workload{Kind: Fair, Offered: 1000}, address)
	if err := l.run(&budget{counted: true, left: 1}); err == nil || !strings.Contains(err.Error(), "answer of server 3") {
		t.Errorf("error %v", err)
	}
}

// Every server counts for itself what it serves, and echoes what is no work.
func TestServersTellWhoTheyAre(t *testing.T) {
	p, addresses, err := StartServers()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	for i, address := range addresses {
		if err := RoundTrip(context.Background(), address); err != nil {
			t.Errorf("server %d: %v", i, err)
		}
		s, err := measureLoad(Job{Workload: Workload{Kind: Fair, Offered: 2000},
			Target: address, Root: os.Getpid(), Threads: 2, Count: 20, Warm: time.Millisecond})
		var want [len(ServiceTimes)]int64
		want[i] = 20
		if err != nil || s.Units != 20 || s.Served != want || s.P50 < ServiceTimes[i] {
			t.Errorf("server %d: %+v, %v", i, s, err)
		}
	}
}

// Requests queue up for one that works at one of them at a time, as if it were
// never late.
func TestServersWorkAtOneRequestAtATime(t *testing.T) {
	var ends []int64
	var clients sync.WaitGroup
	defer clients.Wait()
	s := &server{number: 1, service: 4, wait: func(until int64) { ends = append(ends, until) }}
	for _, c := range []struct {
		arrived int64
		mode    byte
		number  byte
	}{{10, modeWork, 1}, {10, modeWork, 1}, {11, modeEcho, 9}, {12, modeWork, 1}, {30, modeWork, 1}, {33, modeWork, 1}} {
		client, conn := net.Pipe()
		request := bytes.Repeat([]byte{9}, probeSize)
		request[0] = c.mode
		clients.Go(func() {
			defer client.Close()
			client.Write(request)
			answer, err := io.ReadAll(client)
			want := slices.Clone(request)
			want[probeSize-1] = c.number
			if err != nil || !bytes.Equal(answer, want) {
				t.Errorf("answer %v, %v", answer, err)
			}
		})
		s.serve(visit{conn, c.arrived})
	}
	if want := []int64{14, 18, 22, 34, 38}; !slices.Equal(ends, want) {
		t.Errorf("work ends at %v, want %v", ends, want)
	}
}

func TestCapacity(t *testing.T) {
	if c := Capacity(); math.Abs(c-1500) > 1e-9 {
		t.Errorf("%v requests a second", c)
	}
}
