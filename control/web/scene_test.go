package web

import (
	"math"
	"net"
	"sync"
	"testing"
	"time"

	"balance/control"
	"balance/engine/balancer"
	"balance/engine/spec"
)

// scene is a daemon on an ordinary night, with one server that does not
// answer, for pictures. What is older than the test is made up.
func scene(t *testing.T) *Server {
	r := newRig(t)
	limited := func(maxc int) spec.Channel {
		c := r.server(answerTwice)
		c.MaxConns = maxc
		return c
	}
	spare := limited(0)
	spare.Disabled = true
	hash := group(limited(0), limited(0), limited(0))
	hash.Mode = balancer.Hash
	r.apply(listener("web", group(limited(16), limited(16), r.refused()), group(spare)), listener("pop3", hash))
	r.reloaded(control.Reload{Time: time.Now().Add(-47 * time.Minute), Hash: "5d41402abc4b2a76b9719d911017c592aa"})

	server := r.serve()
	past(&server.history)
	done := make(chan struct{})
	var traffic sync.WaitGroup
	t.Cleanup(func() { close(done); traffic.Wait() })
	for i := range 34 {
		address := r.address(min(i/22, 1))
		traffic.Go(func() { chat(address, i, done) })
	}
	return server
}

// past fills a history with a gentle wave.
func past(h *history) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for i := range maxSamples - 1 {
		wave := math.Sin(float64(i)/90) + 0.35*math.Sin(float64(i)/17) + 0.12*math.Sin(float64(i)*1.7)
		h.samples = append(h.samples, sample{
			Time:        now.Add(time.Duration(i-maxSamples) * sampleEvery).UnixMilli(),
			Active:      int(29 + 4*wave),
			Connections: uint64(max(0, 6+2*wave+1.5*math.Sin(float64(i)*2.3))),
			Sent:        uint64(300_000 + 50_000*wave + 9_000*math.Sin(float64(i)*2.9)),
			Received:    uint64(580_000 + 90_000*wave + 20_000*math.Sin(float64(i)*2.1)),
		})
	}
}

// answerTwice says everything twice, so that two lines of a chart differ.
func answerTwice(conn net.Conn) {
	buffer := make([]byte, 4096)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		conn.Write(buffer[:n])
		conn.Write(buffer[:n])
	}
}

// chat has one session after the other.
func chat(address string, seed int, done <-chan struct{}) {
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(seed))}}
	buffer := make([]byte, 8192)
	for n, turns := seed, 1+seed; ; turns = 20 + n%15 {
		conn, err := from.Dial("tcp4", address)
		if err != nil {
			return
		}
		for ; turns > 0; turns-- {
			n++
			conn.Write(buffer[:600+n*n%2400])
			conn.SetReadDeadline(time.Now().Add(time.Second))
			conn.Read(buffer)
			select {
			case <-done:
				conn.Close()
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
		conn.Close()
	}
}
