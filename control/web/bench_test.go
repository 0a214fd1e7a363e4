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

// BenchmarkRelay measures what it costs the relay that somebody reads its state
// once a second: one iteration is a second in which nobody does, and a second
// in which somebody does, of round trips of 1 KiB on 16 connections. It takes
// its time: go test -run xxx -bench Relay -benchtime 20x.
func BenchmarkRelay(b *testing.B) {
	idle := min(10_000, (descriptors(b)-1000)/2)
	b.Run("Scraped", func(b *testing.B) { benchmarkRelay(b, "metrics", 0) })
	b.Run("ScrapedManySessions", func(b *testing.B) { benchmarkRelay(b, "metrics", idle) })
	b.Run("ListedManySessions", func(b *testing.B) { benchmarkRelay(b, "api/v1/sessions?limit=10000", idle) })
}

func benchmarkRelay(b *testing.B, path string, idle int) {
	r := newRig(b)
	peer := r.startPeer()
	r.apply(listener("x", group(peer.echo, peer.echo, peer.echo, peer.echo)))
	url := r.serve().URL() + path
	peer.dial(r.address(0), idle)
	eventually(b, "all sessions are there", func() bool { return r.engine.Snapshot().Listeners[0].Active == idle })
	var trips atomic.Int64
	var running sync.WaitGroup
	done := make(chan struct{})
	for range 16 {
		conn := r.dial(0)
		running.Go(func() { roundTrips(b, conn, &trips, done) })
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	second := func(read bool) (done int64) {
		over, before := time.After(time.Second), trips.Load()
		if read {
			answer, err := client.Get(url)
			if err != nil {
				b.Fatal(err)
			}
			io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
		}
		<-over
		return trips.Load() - before
	}
	second(false) // warm
	var alone, read int64
	seconds := 0.0
	for b.Loop() {
		alone += second(false)
		read += second(true)
		seconds++
	}
	close(done)
	running.Wait()
	b.ReportMetric(float64(idle), "sessions")
	b.ReportMetric(float64(alone)/seconds, "alone/s")
	b.ReportMetric(float64(read)/seconds, "read/s")
	b.ReportMetric(100*(1-float64(read)/float64(alone)), "%cost")
}

func roundTrips(b *testing.B, conn net.Conn, trips *atomic.Int64, done <-chan struct{}) {
	message := make([]byte, 1024)
	for {
		select {
		case <-done:
			return
		default:
		}
		if _, err := conn.Write(message); err != nil {
			b.Error(err)
			return
		}
		if _, err := io.ReadFull(conn, message); err != nil {
			b.Error(err)
			return
		}
		trips.Add(1)
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

// BenchmarkListing measures a list of many sessions, apart from the network.
func BenchmarkListing(b *testing.B) {
	idle := min(10_000, (descriptors(b)-1000)/2)
	r := newRig(b)
	peer := r.startPeer()
	r.apply(listener("x", group(peer.echo, peer.echo, peer.echo, peer.echo)))
	peer.dial(r.address(0), idle)
	handler := r.handler()
	b.ReportAllocs()
	for b.Loop() {
		if r.get(handler, "/api/v1/sessions?limit=10000").Code != 200 {
			b.Fatal("no answer")
		}
	}
	b.ReportMetric(float64(idle), "sessions")
}
