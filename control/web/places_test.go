package web

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// crowd is a set of guests at places whose clock is that of the test.
type crowd struct {
	*testing.T
	places
}

// come lets one connection of a source come. It is nil if it was turned away.
func (c *crowd) come(from string) *guest {
	c.Helper()
	near, far := net.Pipe()
	far.Close()
	addr := netip.MustParseAddr(from)
	time.Sleep(time.Microsecond) // so that each has waited for longer than the next
	return c.enter(near, sourceOf(addressed{near, &net.TCPAddr{IP: addr.AsSlice(), Zone: addr.Zone()}}))
}

// addressed is a connection from an address.
type addressed struct {
	net.Conn
	from net.Addr
}

func (a addressed) RemoteAddr() net.Addr { return a.from }

func (c *crowd) has(g *guest) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, in := c.guests[g]
	return in
}

func (c *crowd) comeAll(from string, n int) []*guest {
	c.Helper()
	var all []*guest
	for range n {
		g := c.come(from)
		if g == nil {
			c.Fatalf("%s was turned away", from)
		}
		all = append(all, g)
	}
	return all
}

func (c *crowd) expect(what string, in bool, guests ...*guest) {
	c.Helper()
	for i, g := range guests {
		if c.has(g) != in {
			c.Errorf("%s: guest %d has a place: %t, want %t", what, i, !in, in)
		}
	}
}

func TestPlaces(t *testing.T) {
	run := func(name string, test func(*crowd)) {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { test(&crowd{T: t}) }) })
	}
	run("a source has its share", func(c *crowd) {
		other := c.comeAll("192.0.2.2", 1)
		many := c.comeAll("192.0.2.1", maxOfSource+3)
		c.expect("the oldest", false, many[:3]...)
		c.expect("the rest", true, many[3:]...)
		c.expect("another source", true, other...)
	})
	run("an IPv6 network is one source", func(c *crowd) {
		first := c.come("2001:db8::1")
		c.comeAll("2001:db8::2:3", maxOfSource)
		c.expect("the oldest", false, first)
		c.expect("another network", true, c.comeAll("2001:db8:0:1::1", 1)...)
	})
	run("IPv4 is the same in IPv6", func(c *crowd) {
		first := c.come("::ffff:192.0.2.1")
		c.comeAll("192.0.2.1", maxOfSource)
		c.expect("the oldest", false, first)
	})
	run("who is owed an answer stays", func(c *crowd) {
		all := c.comeAll("192.0.2.1", maxOfSource)
		for _, g := range all[1:] {
			follow(g, http.StateActive)
		}
		next := c.come("192.0.2.1")
		c.expect("the idle one", false, all[0])
		follow(next, http.StateActive)
		if c.come("192.0.2.1") != nil {
			t.Error("one more than the share is served")
		}
		follow(all[5], http.StateIdle)
		c.expect("a newcomer", true, c.come("192.0.2.1"))
		c.expect("the one that is idle now", false, all[5])
	})
	run("no answer is owed for ever", func(c *crowd) {
		all := c.comeAll("127.0.0.1", maxOfSource)
		for _, g := range all {
			time.Sleep(time.Microsecond)
			follow(g, http.StateActive)
		}
		time.Sleep(owedTime - time.Second)
		if c.come("127.0.0.1") != nil {
			t.Error("one more than the share is served")
		}
		time.Sleep(time.Second)
		c.expect("a newcomer", true, c.come("127.0.0.1"))
		c.expect("the oldest", false, all[0])
	})
	run("some places are for this machine", func(c *crowd) {
		for i := range 3 * maxConnections { // all busy
			if g := c.come(fmt.Sprintf("192.0.2.%d", i)); g != nil {
				follow(g, http.StateActive)
			}
		}
		if n := len(c.guests); n != maxRemote {
			t.Errorf("%d places are taken by others, want %d", n, maxRemote)
		}
		local := c.comeAll("127.0.0.1", maxConnections-maxRemote)
		c.expect("local ones", true, local...)
		if c.come("192.0.2.254") != nil {
			t.Error("one of the network has a place that is kept")
		}
	})
	run("the network takes no place that is kept", func(c *crowd) {
		local := c.comeAll("127.0.0.1", maxConnections-maxRemote)
		for i := range 200 {
			c.comeAll(fmt.Sprintf("198.51.100.%d", i), 3)
		}
		c.expect("idle local ones", true, local...)
		if n := len(c.guests); n != maxConnections {
			t.Errorf("%d places are taken", n)
		}
	})
	run("all are bounded", func(c *crowd) {
		for i := range 200 {
			c.comeAll(fmt.Sprintf("127.0.0.%d", i), 3)
		}
		if n := len(c.guests); n != maxConnections {
			t.Errorf("%d places are taken, want %d", n, maxConnections)
		}
	})
	run("a local newcomer has time for its request", func(c *crowd) {
		start := time.Now()
		all := c.comeAll("::1", maxOfSource)
		c.comeAll("::1", 1)
		if waited := time.Since(start); waited < localGrace || waited > 2*localGrace {
			t.Errorf("the oldest went after %v", waited)
		}
		c.expect("the oldest", false, all[0])
		c.expect("the second", true, all[1])
	})
	run("the network is not waited for", func(c *crowd) {
		start := time.Now()
		c.comeAll("192.0.2.1", maxOfSource+10)
		if waited := time.Since(start); waited > localGrace/2 {
			t.Errorf("they took %v", waited)
		}
	})
	run("who does not read goes", func(c *crowd) {
		busy := c.comeAll("192.0.2.1", maxOfSource)
		for _, g := range busy[1:] {
			follow(g, http.StateActive)
		}
		stuck := busy[0]
		near, far := net.Pipe() // holds nothing, so a write waits for its reader
		defer far.Close()
		stuck.Conn = near
		var writing sync.WaitGroup
		writing.Go(func() { stuck.Write(make([]byte, 3*maxPiece)) })
		synctest.Wait()
		if c.come("192.0.2.1") != nil {
			t.Error("a reader is given no time")
		}
		time.Sleep(stallTime / 2)
		io.ReadFull(far, make([]byte, maxPiece))
		synctest.Wait()
		time.Sleep(stallTime * 3 / 4)
		if c.come("192.0.2.1") != nil {
			t.Error("a reader that went on is given no time")
		}
		time.Sleep(stallTime / 2)
		c.expect("a newcomer", true, c.come("192.0.2.1"))
		writing.Wait()
	})
	run("who leaves frees the place", func(c *crowd) {
		for range 3 * maxOfSource {
			g := c.come("192.0.2.1")
			follow(g, http.StateActive)
			g.Close()
		}
	})
	run("a unix socket is one of this machine", func(c *crowd) {
		from := sourceOf(addressed{from: &net.UnixAddr{Net: "unix"}})
		for range maxConnections {
			near, _ := net.Pipe()
			follow(c.enter(near, from), http.StateActive)
		}
	})
}

// besiege keeps so many connections open, until the test ends, that say what
// they are told to and then nothing. They come again when they are closed
// without an answer; of an answer they read no more than a byte.
func besiege(t *testing.T, address, from, say string, n int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	var attackers sync.WaitGroup
	var came atomic.Int32
	for range n {
		attackers.Go(func() {
			for ctx.Err() == nil {
				conn, err := dialer.DialContext(ctx, "tcp4", address)
				if err != nil {
					continue
				}
				came.Add(1)
				stop := context.AfterFunc(ctx, func() { conn.Close() })
				io.WriteString(conn, say)
				if n, _ := conn.Read(make([]byte, 1)); n > 0 {
					<-ctx.Done() // reads no more of the answer
				}
				stop()
				conn.Close()
			}
		})
	}
	t.Cleanup(func() { cancel(); attackers.Wait() })
	eventually(t, "they have come", func() bool { return came.Load() >= int32(n) })
}

// askFrom asks from one of the loopback addresses, with little patience.
func askFrom(t *testing.T, from, url string) int {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	client := http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}, Timeout: 3 * time.Second}
	answer, err := client.Get(url)
	if err != nil {
		t.Errorf("%s from %s: %v", url, from, err)
		return -1
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		t.Errorf("%s from %s: %v", url, from, err)
	}
	return answer.StatusCode
}

// TestSilentConnections lets 200 connections come that say nothing, or only
// the beginning of a request, and that come again.
func TestSilentConnections(t *testing.T) {
	for _, say := range []string{"", "GET /healthz HTTP/1.1\r\nHost: 127."} {
		for _, remote := range []bool{false, true} {
			t.Run(fmt.Sprintf("remote %t, saying %.3q", remote, say), func(t *testing.T) {
				r := newRig(t)
				r.apply(listener("x", group(r.echo())))
				s := NewServer(r.daemon, r.logger())
				t.Cleanup(s.Close)
				if remote { // than 127.0.0.1
					s.source = func(conn net.Conn) source {
						from := sourceOf(conn)
						from.local = from.network.Addr().String() == "127.0.0.1"
						return from
					}
				}
				r.put(s, Settings{Address: "127.0.0.1:0"})
				address := strings.TrimSuffix(strings.TrimPrefix(s.URL(), "http://"), "/")
				attacker := "127.0.0.1"
				if remote {
					attacker = "127.0.0.2"
				}
				besiege(t, address, attacker, say, 200)
				for range 4 {
					for _, path := range []string{"healthz", "metrics"} {
						for _, from := range []string{"127.0.0.1", "127.0.0.3"} {
							if code := askFrom(t, from, s.URL()+path); code != 200 {
								t.Errorf("/%s from %s: status %d", path, from, code)
							}
						}
					}
				}
			})
		}
	}
}

// Those who ask for much and read nothing keep nobody else away, and are given
// up for newcomers of their own source.
func TestSlowReaders(t *testing.T) {
	r := newRig(t)
	s := r.serve()
	var handler http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/much" {
			w.Write(make([]byte, 32<<20)) // more than the kernel takes for anybody
		}
	})
	s.mu.Lock()
	s.site.handler.Store(&handler)
	s.mu.Unlock()
	address := strings.TrimSuffix(strings.TrimPrefix(s.URL(), "http://"), "/")
	besiege(t, address, "127.0.0.2", "GET /much HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", maxConnections+4)
	for range 8 {
		if code := askFrom(t, "127.0.0.1", s.URL()); code != 200 {
			t.Errorf("another source: status %d", code)
		}
	}
	eventually(t, "their own source is served too", func() bool {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.2")}}
		client := http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
		answer, err := client.Get(s.URL())
		if err != nil {
			return false
		}
		answer.Body.Close()
		return true
	})
}

// A body that never comes is not waited for.
func TestBodiesAreNotWaitedFor(t *testing.T) {
	r := newRig(t)
	s := r.serve()
	for _, length := range []string{"Content-Length: 10", "Transfer-Encoding: chunked", "Content-Length: 10\r\nExpect: 100-continue"} {
		for range maxConnections {
			answer := speak(t, s, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"+length+"\r\n\r\n")
			if answer.StatusCode != 200 || !answer.Close {
				t.Fatalf("%q: status %d, closed %t", length, answer.StatusCode, answer.Close)
			}
		}
	}
}
