package web

import (
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkRelay measures round trips through the relay while somebody reads
// its state once a second, and while nobody does, with idle sessions beside
// them. Compare them interleaved: go test -run xxx -bench Relay -benchtime 10s
// -count 5.
func BenchmarkRelay(b *testing.B) {
	const idle = 10_000
	for _, bench := range []struct {
		name, path string
		idle       int
	}{
		{"Alone", "", 0},
		{"Scraped", "metrics", 0},
		{"10000Sessions", "", idle},
		{"10000SessionsListed", "api/v1/sessions?limit=10000", idle},
	} {
		b.Run(bench.name, func(b *testing.B) { benchmarkRelay(b, bench.path, bench.idle) })
	}
}

func benchmarkRelay(b *testing.B, path string, idle int) {
	const size, clients = 1024, 16
	room(b, 4*idle+1000)
	r := newRig(b)
	r.apply(listener("x", group(r.echo(), r.echo(), r.echo(), r.echo())))
	server := r.serve()
	for range idle {
		r.dial(0)
	}
	eventually(b, "all sessions are there", func() bool { return r.engine.Snapshot().Listeners[0].Active == idle })
	var conns []net.Conn
	for range clients {
		conns = append(conns, r.dial(0))
	}
	done := make(chan struct{})
	var reading sync.WaitGroup
	var read atomic.Int64
	if path != "" {
		reading.Go(func() { r.readEverySecond(server.URL()+path, done, &read) })
	}

	b.SetBytes(2 * size)
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var trips sync.WaitGroup
	for _, conn := range conns {
		trips.Go(func() {
			message := make([]byte, size)
			for left.Add(-1) >= 0 {
				if _, err := conn.Write(message); err != nil {
					b.Error(err)
					return
				}
				if _, err := io.ReadFull(conn, message); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	trips.Wait()
	b.StopTimer()
	close(done)
	reading.Wait()
	b.ReportMetric(float64(read.Load()), "answers")
}

func (r *rig) readEverySecond(url string, done <-chan struct{}, read *atomic.Int64) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	for {
		answer, err := client.Get(url)
		if err != nil {
			r.Error(err)
			return
		}
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		read.Add(1)
		select {
		case <-done:
			return
		case <-ticker.C:
		}
	}
}

// BenchmarkScrape measures what is read, apart from the network: 4 listeners
// with 25 channels each.
func BenchmarkScrape(b *testing.B) {
	r := newRig(b)
	channel := r.refused()
	g := group()
	for range 25 {
		g.Channels = append(g.Channels, channel)
	}
	r.apply(listener("a", g), listener("b", g), listener("c", g), listener("d", g))
	handler := r.handler()
	for _, path := range []string{"/metrics", "/api/v1/status"} {
		b.Run(path[1:], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r.get(handler, path).Code != 200 {
					b.Fatal("no answer")
				}
			}
		})
	}
}
