package planetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"balance/engine/balancer"
	"balance/engine/plane"
)

// Run runs the suite. Its tests change limits of the process, so nothing else
// may run beside it.
func Run(t *testing.T, newPlane New) {
	// The runtime opens its poller at the first use of the network and keeps
	// it: no descriptor of a plane.
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		l.Close()
	}
	for name, test := range map[string]func(*testing.T, New){
		"RoundTrip":          testRoundTrip,
		"IPv6":               testIPv6,
		"HalfCloseByClient":  testHalfCloseByClient,
		"HalfCloseByChannel": testHalfCloseByChannel,
		"ResetByClient":      testResetByClient,
		"ResetByChannel":     testResetByChannel,
		"ResetInBulk":        testResetInBulk,
		"ResetWhileStuck":    testResetWhileStuck,
		"ResetOfTheOther":    testResetOfTheOther,
		"ResetAtOnce":        testResetAtOnce,
		"ResetWhileDialling": testResetWhileDialling,
		"BytesThenReset":     testBytesThenReset,
		"BytesThenGone":      testBytesThenResetAtOnce,
		"HalfCloseDialling":  testHalfCloseWhileDialling,
		"Bulk":               testBulk,
		"SlowReader":         testSlowReader,
		"Failover":           testFailover,
		"NewChance":          testNewChance,
		"ManyAddresses":      testManyAddresses,
		"DeadAddresses":      testDeadAddresses,
		"Rerouted":           testRerouted,
		"NoChannel":          testNoChannel,
		"Limit":              testLimit,
		"LimitInTurn":        testLimitInTurn,
		"Source":             testSource,
		"SelfConnect":        testSelfConnect,
		"IdleTimeout":        testIdleTimeout,
		"HalfCloseTimeout":   testHalfCloseTimeout,
		"HalfCloseBegins":    testHalfCloseBegins,
		"UserTimeout":        testUserTimeout,
		"Overfull":           testOverfull,
		"Hash":               testHash,
		"TimeoutChanges":     testTimeoutChanges,
		"Abort":              testAbort,
		"AbortDialling":      testAbortDialling,
		"Shutdown":           testShutdown,
		"ServeAnother":       testServeAnother,
		"Retire":             testRetire,
		"AdoptAgain":         testAdoptAgain,
		"OneDescriptor":      testOneDescriptor,
		"MaxSessions":        testMaxSessions,
		"NoDescriptors":      testNoDescriptors,
		"Dump":               testDump,
		"DumpUnread":         testDumpUnread,
		"Chain":              testChain,
		"Churn":              testChurn,
	} {
		t.Run(name, func(t *testing.T) {
			goroutines := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, goroutines) })
			test(t, newPlane)
		})
	}
}

func testRoundTrip(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	channel := r.serve(echo)
	d := r.listen(r.router(channel))
	client := d.dial()
	exchange(t, client, "hello")
	exchange(t, client, strings.Repeat("x", 100_000))
	// A byte is counted after it was written, so the client may be faster.
	var s plane.Session
	eventually(t, "all bytes are counted", func() bool {
		s = r.relaying(1)[0]
		return s.Sent == 100_005 && s.Received == 100_005
	})
	if s.ID == 0 || s.Client != client.LocalAddr().(*net.TCPAddr).AddrPort() || s.Channel != channel || s.Listener != d.listener {
		t.Errorf("session %+v of client %s", s, client.LocalAddr())
	}
	client.Close()
	end := r.end()
	if end.Sent != 100_005 || end.Received != 100_005 || end.Cause != plane.ClientClosed || end.State != plane.Closed {
		t.Errorf("end %+v", end)
	}
	eventually(t, "the slot is given back", func() bool { return channel.Active() == 0 })
	c := channel.Counters
	if c.Sessions.Load() != 1 || c.Sent.Load() != 100_005 || c.Received.Load() != 100_005 || d.listener.Accepted.Load() != 1 {
		t.Errorf("sessions %d, sent %d, received %d, accepted %d",
			c.Sessions.Load(), c.Sent.Load(), c.Received.Load(), d.listener.Accepted.Load())
	}
	if _, count, sum := channel.Dials.Durations.Read(); count != 1 || sum <= 0 || sum > time.Since(end.Started) {
		t.Errorf("%d connections made in %v", count, sum)
	}
}

func testIPv6(t *testing.T, newPlane New) {
	if l, err := net.Listen("tcp6", "[::1]:0"); err != nil {
		t.Skip("this machine has no IPv6 loopback")
	} else {
		l.Close()
	}
	r := newRig(t, newPlane)
	d := r.listenAt("", service(r.router(r.serveAt("::1", echo))))
	for _, host := range []string{"127.0.0.1", "::1"} {
		client := dialTo(t, netip.AddrPortFrom(netip.MustParseAddr(host), d.socket.Addr().Port()))
		exchange(t, client, "over "+host)
		if got := r.relaying(1)[0].Client.Addr().String(); got != host {
			t.Errorf("the client is %s, want %s", got, host)
		}
		client.Close()
		r.end()
	}
}

func testHalfCloseByClient(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	client := r.listen(r.router(r.serve(func(conn *net.TCPConn) {
		request, _ := io.ReadAll(conn)
		time.Sleep(20 * time.Millisecond) // the answer comes well after the end of the request
		conn.Write(bytes.ToUpper(request))
	}))).dial()
	io.WriteString(client, "request")
	client.CloseWrite()
	if got := readAll(t, client); got != "REQUEST" {
		t.Errorf("got %q", got)
	}
	if end := r.end(); end.Cause != plane.ClientClosed {
		t.Errorf("cause %v", end.Cause)
	}
}

func testHalfCloseByChannel(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	got := new(bytes.Buffer)
	read := make(chan struct{})
	client := r.listen(r.router(r.serve(func(conn *net.TCPConn) {
		io.WriteString(conn, "banner")
		conn.CloseWrite()
		io.Copy(got, conn)
		close(read)
	}))).dial()
	if banner := readAll(t, client); banner != "banner" {
		t.Errorf("got %q", banner)
	}
	io.WriteString(client, "after the end of stream")
	client.Close()
	<-read
	if got.String() != "after the end of stream" {
		t.Errorf("the server got %q", got)
	}
	if end := r.end(); end.Cause != plane.ChannelClosed {
		t.Errorf("cause %v", end.Cause)
	}
}

func testResetByClient(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	serverErr := make(chan error, 1)
	client := r.listen(r.router(r.serve(func(conn *net.TCPConn) {
		_, err := io.Copy(io.Discard, conn)
		serverErr <- err
	}))).dial()
	io.WriteString(client, "x")
	r.relaying(1)
	eventually(t, "the byte has passed", func() bool { s := r.relaying(1); return s[0].Sent == 1 })
	client.SetLinger(0)
	client.Close()
	if err := <-serverErr; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server saw %v, want a reset", err)
	}
	if end := r.end(); end.Cause != plane.ClientFailed || !errors.Is(end.Err, syscall.ECONNRESET) {
		t.Errorf("cause %v, error %v", end.Cause, end.Err)
	}
}

func testResetByChannel(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	client := r.listen(r.router(r.serve(func(conn *net.TCPConn) {
		io.ReadFull(conn, make([]byte, 1))
		conn.SetLinger(0)
	}))).dial()
	io.WriteString(client, "x")
	if _, err := io.ReadAll(client); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client saw %v, want a reset", err)
	}
	if end := r.end(); end.Cause != plane.ChannelFailed {
		t.Errorf("cause %v, error %v", end.Cause, end.Err)
	}
}

// A reset in the midst of a long stream must not look like its end.
func testResetInBulk(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.listen(r.router(r.serve(func(conn *net.TCPConn) {
		chunk := make([]byte, 1<<20)
		for range 8 + rand.IntN(8) {
			conn.Write(chunk)
		}
		conn.SetLinger(0)
	})))
	for range 20 {
		client, err := net.Dial("tcp", d.socket.Addr().String())
		if err == nil { // or else the reset was faster than the return of connect
			client.SetDeadline(time.Now().Add(patience))
			_, err = io.Copy(io.Discard, client)
			client.Close()
		}
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client saw %v, want a reset", err)
		}
		if end := r.end(); end.Cause != plane.ChannelFailed {
			t.Errorf("cause %v, error %v", end.Cause, end.Err)
		}
	}
}

// The bytes of a sender who breaks wait for a receiver who does not read.
func testResetWhileStuck(t *testing.T, newPlane New) {
	for name, chunk := range map[string]int{"Copied": 1000, "Spliced": 1 << 20} {
		t.Run("ByClient"+name, func(t *testing.T) {
			r := newRig(t, newPlane)
			release := make(chan struct{})
			serverErr := make(chan error, 1)
			client := r.listen(r.router(r.serve(func(conn *net.TCPConn) {
				<-release
				_, err := io.Copy(io.Discard, conn)
				serverErr <- err
			}))).dial()
			defer close(release)
			fill(client, chunk)
			client.SetLinger(0)
			client.Close()
			if end := r.end(); end.Cause != plane.ClientFailed || !errors.Is(end.Err, syscall.ECONNRESET) {
				t.Errorf("cause %v, error %v", end.Cause, end.Err)
			}
			release <- struct{}{}
			if err := await(r, serverErr); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the server saw %v, want a reset", err)
			}
		})
		t.Run("ByChannel"+name, func(t *testing.T) {
			r := newRig(t, newPlane)
			client := r.listen(r.router(r.serve(func(conn *net.TCPConn) {
				fill(conn, chunk)
				conn.SetLinger(0)
			}))).dial()
			if end := r.end(); end.Cause != plane.ChannelFailed || !errors.Is(end.Err, syscall.ECONNRESET) {
				t.Errorf("cause %v, error %v", end.Cause, end.Err)
			}
			if _, err := io.Copy(io.Discard, client); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client saw %v, want a reset", err)
			}
		})
	}
}

// fill writes until the peer's side takes no more.
func fill(conn *net.TCPConn, chunk int) {
	bytes := make([]byte, chunk)
	for n := 1; n > 0; {
		conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		n, _ = conn.Write(bytes)
	}
}

// The connection of one side is found broken when the other side's bytes
// cannot be written to it; what had come from it is delivered all the same.
func testResetOfTheOther(t *testing.T, newPlane New) {
	const size = 50_000
	r := newRig(t, newPlane)
	got := make(chan received, 1)
	d := r.listen(r.router(r.serve(func(conn *net.TCPConn) {
		chatting := make(chan struct{})
		go func() {
			defer close(chatting)
			for {
				if _, err := conn.Write([]byte("x")); err != nil {
					return
				}
			}
		}()
		time.Sleep(20 * time.Millisecond)
		got <- receive(conn)
		<-chatting
	})))
	for range 50 {
		client := d.dial()
		io.ReadFull(client, make([]byte, 1))
		client.Write(make([]byte, size))
		client.SetLinger(0)
		client.Close()
		if g := await(r, got); g.n != size { // a write may have been told of the reset
			t.Errorf("the server got %d bytes of %d, then %v", g.n, size, g.err)
		}
		if end := r.end(); end.Cause != plane.ClientFailed {
			t.Errorf("cause %v, error %v", end.Cause, end.Err)
		}
	}
}

// received is what came over a connection, and how it ended.
type received struct {
	n   int64
	err error
}

func receive(conn *net.TCPConn) received {
	n, err := io.Copy(io.Discard, struct{ io.Reader }{conn})
	return received{n, err}
}

// A client who resets before it is accepted, and sent nothing, bothers no
// channel.
func testResetAtOnce(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	var served atomic.Int32
	channel := r.serve(func(conn *net.TCPConn) {
		served.Add(1)
		echo(conn)
	})
	d := r.bind("127.0.0.1", service(r.router(channel)))
	const clients = 50
	for range clients {
		client := d.dial()
		client.SetLinger(0)
		client.Close()
	}
	d.acceptor.Serve(d.listener)
	for range clients {
		if end := r.end(); end.Cause != plane.ClientFailed || !errors.Is(end.Err, syscall.ECONNRESET) {
			t.Errorf("cause %v, error %v", end.Cause, end.Err)
		}
	}
	exchange(t, dialTo(t, channel.Addresses()[0]), "whoever came before has been accepted by now")
	if n := served.Load() - 1; n > 0 {
		t.Errorf("%d clients that were gone reached the channel", n)
	}
	if n := channel.Counters.Failures.Load(); n > 0 {
		t.Errorf("%d failures are counted", n)
	}
}

// A client who resets, and sent nothing, gives its place back.
func testResetWhileDialling(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	channel := channelTo(blackhole(t))
	s := service(r.router(channel))
	s.ConnectTimeout = time.Hour
	client := r.listenAt("127.0.0.1", s).dial()
	eventually(t, "the session dials", func() bool { return channel.Active() == 1 })
	client.SetLinger(0)
	client.Close()
	if end := r.end(); end.Cause != plane.ClientFailed || !errors.Is(end.Err, syscall.ECONNRESET) {
		t.Errorf("cause %v, error %v", end.Cause, end.Err)
	}
	if active, failures := channel.Active(), channel.Counters.Failures.Load(); active != 0 || failures != 0 {
		t.Errorf("active %d, failures %d", active, failures)
	}
}

// What came before a reset is delivered, and then the reset, however slowly
// the server takes it.
func testBytesThenReset(t *testing.T, newPlane New) {
	for name, try := range map[string]struct {
		size   int64
		buffer int // of the server, 0 = the system's
		pause  time.Duration
	}{
		"Few":        {size: 13},
		"Many":       {size: 50_000},
		"SlowServer": {size: 50_000, buffer: 4 << 10, pause: 300 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, newPlane)
			got := make(chan received, 1)
			blackholed := channelTo(blackhole(t))
			server := r.serveWith(try.buffer, func(conn *net.TCPConn) {
				time.Sleep(try.pause)
				got <- receive(conn)
			})
			s := service(r.router(blackholed, server))
			s.ConnectTimeout = 600 * time.Millisecond
			client := r.listenAt("127.0.0.1", s).dial()
			eventually(t, "the session dials", func() bool { return blackholed.Active() == 1 })
			client.Write(make([]byte, try.size))
			client.SetLinger(0)
			client.Close()
			if g := await(r, got); g.n != try.size || !errors.Is(g.err, syscall.ECONNRESET) {
				t.Errorf("the server got %d bytes of %d, then %v", g.n, try.size, g.err)
			}
			if end := r.end(); end.Cause != plane.ClientFailed || !errors.Is(end.Err, syscall.ECONNRESET) || int64(end.Sent) != try.size {
				t.Errorf("cause %v, error %v, sent %d", end.Cause, end.Err, end.Sent)
			}
		})
	}
}

// Clients who send something and reset, before or after the dial is done, as it
// happens.
func testBytesThenResetAtOnce(t *testing.T, newPlane New) {
	const clients, size = 200, 13
	r := newRig(t, newPlane)
	got := make(chan received, clients)
	d := r.listen(r.router(r.serve(func(conn *net.TCPConn) { got <- receive(conn) })))
	for range clients {
		client := d.dial()
		client.Write(make([]byte, size))
		client.SetLinger(0)
		client.Close()
	}
	for range clients {
		if g := await(r, got); g.n != size || !errors.Is(g.err, syscall.ECONNRESET) {
			t.Errorf("the server got %d bytes of %d, then %v", g.n, size, g.err)
		}
		if end := r.end(); end.Cause != plane.ClientFailed {
			t.Errorf("cause %v, error %v", end.Cause, end.Err)
		}
	}
}

// A client who has finished while the channel is dialled still wants its
// answer.
func testHalfCloseWhileDialling(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	blackholed := channelTo(blackhole(t))
	s := service(r.router(blackholed, r.serve(greet("answer"))))
	s.ConnectTimeout = 600 * time.Millisecond
	client := r.listenAt("127.0.0.1", s).dial()
	eventually(t, "the session dials", func() bool { return blackholed.Active() == 1 })
	client.CloseWrite()
	if got := readAll(t, client); got != "answer" {
		t.Errorf("got %q", got)
	}
	if end := r.end(); end.Cause != plane.ClientClosed {
		t.Errorf("cause %v", end.Cause)
	}
}

// testBulk sends a stream in both directions at once, in writes of all sizes.
func testBulk(t *testing.T, newPlane New) {
	const size = 64 << 20
	r := newRig(t, newPlane)
	channel := r.serve(echo)
	client := r.listen(r.router(channel)).dial()
	var sent, got hash.Hash = sha256.New(), sha256.New()
	var wg sync.WaitGroup
	wg.Go(func() {
		stream := randomStream(size)
		chunk := make([]byte, 1<<20)
		for {
			n, err := stream.Read(chunk[:1+rand.IntN(len(chunk))])
			sent.Write(chunk[:n])
			if _, werr := client.Write(chunk[:n]); werr != nil {
				t.Error(werr)
				return
			}
			if err != nil {
				break
			}
		}
		client.CloseWrite()
	})
	n, err := io.Copy(got, client)
	wg.Wait()
	if n != size || err != nil || !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		t.Errorf("%d of %d bytes came back, error %v; the checksums agree: %v", n, size, err, bytes.Equal(sent.Sum(nil), got.Sum(nil)))
	}
	if end := r.end(); end.Sent != size || end.Received != size || channel.Counters.Sent.Load() != size || channel.Counters.Received.Load() != size {
		t.Errorf("counted %d sent and %d received, want %d", end.Sent, end.Received, size)
	}
}

// testSlowReader sends 1 GiB to a reader that cannot keep up. The plane may
// not take in what it cannot pass on.
func testSlowReader(t *testing.T, newPlane New) {
	size := 1 << 30
	if testing.Short() {
		size = 64 << 20
	}
	r := newRig(t, newPlane)
	sums := make(chan []byte, 1)
	client := r.listen(r.router(r.serve(func(conn *net.TCPConn) {
		conn.SetDeadline(time.Now().Add(5 * patience))
		sum := sha256.New()
		io.Copy(io.MultiWriter(conn, sum), randomStream(size))
		sums <- sum.Sum(nil)
	}))).dial()
	client.SetReadBuffer(64 << 10)
	client.SetDeadline(time.Now().Add(5 * patience))
	got := sha256.New()
	buffer := make([]byte, 256<<10)
	before := liveHeap()
	var highest uint64
	total := 0
	for i := 0; ; i++ {
		n, err := client.Read(buffer)
		got.Write(buffer[:n])
		total += n
		if i%2000 == 0 {
			time.Sleep(5 * time.Millisecond)
			highest = max(highest, liveHeap())
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("after %d bytes: %v", total, err)
		}
	}
	if total != size || !bytes.Equal(got.Sum(nil), <-sums) {
		t.Errorf("got %d of %d bytes, or others", total, size)
	}
	if highest > before+16<<20 {
		t.Errorf("%d MiB of memory in use, %d MiB before", highest>>20, before>>20)
	}
}

// liveHeap is the memory in use without what earlier tests left behind.
func liveHeap() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func testFailover(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	refused, blackholed := channelTo(r.refused()), channelTo(blackhole(t))
	s := service(r.router(refused, blackholed, r.serve(greet("third"))))
	s.ConnectTimeout = 200 * time.Millisecond
	client := r.listenAt("127.0.0.1", s).dial()
	client.CloseWrite()
	if got := readAll(t, client); got != "third" {
		t.Errorf("got %q", got)
	}
	if end := r.end(); end.Group != 2 {
		t.Errorf("served by group %d, want 2", end.Group)
	}
	for _, c := range []*balancer.Channel{refused, blackholed} {
		if c.Active() != 0 || c.Counters.Failures.Load() != 1 || c.Counters.Sessions.Load() != 0 {
			t.Errorf("channel %s: active %d, failures %d", c.Key(), c.Active(), c.Counters.Failures.Load())
		}
	}
}

// A dial that began before the operator enabled the channel and fails after it
// is counted, and does not disable the channel again.
func testNewChance(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	channel := channelTo(blackhole(t))
	s := service(balancer.NewRouter([]balancer.Group{{Channels: []*balancer.Channel{channel}}}, balancer.Options{AutoDisable: true}, nil))
	s.ConnectTimeout = 300 * time.Millisecond
	d := r.listenAt("127.0.0.1", s)
	d.dial()
	eventually(t, "the session dials", func() bool { return channel.Active() == 1 })
	channel.Enable()
	r.end()
	if n := channel.Dials.Failed(balancer.TimedOut); n != 1 || !channel.Enabled() || channel.Failing() {
		t.Errorf("%d failures, enabled %t, failing %t", n, channel.Enabled(), channel.Failing())
	}
	d.dial()
	r.end()
	if n := channel.Dials.Failed(balancer.TimedOut); n != 2 || channel.Enabled() {
		t.Errorf("a dial that began later: %d failures, enabled %t", n, channel.Enabled())
	}
}

// A channel whose name has many addresses is one channel.
func testManyAddresses(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	good := r.serve(greet("here")).Addresses()[0]
	channel := channelTo(r.refused(), blackhole(t), good)
	s := service(r.router(channel))
	s.ConnectTimeout = time.Second
	client := r.listenAt("127.0.0.1", s).dial()
	client.CloseWrite()
	if got := readAll(t, client); got != "here" {
		t.Errorf("got %q", got)
	}
	if channel.Counters.Failures.Load() != 0 || channel.Counters.Sessions.Load() != 1 {
		t.Errorf("failures %d, sessions %d", channel.Counters.Failures.Load(), channel.Counters.Sessions.Load())
	}
}

// However many addresses of a channel refuse, its failure is one line of
// bounded length.
func testDeadAddresses(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	refused := r.refused()
	addrs := slices.Repeat([]netip.AddrPort{refused}, 200)
	channel := channelTo(addrs...)
	client := r.listen(r.router(channel)).dial()
	readAll(t, client)
	r.end()
	if n := channel.Dials.Failed(balancer.Refused); n != 1 || channel.Counters.Failures.Load() != 1 {
		t.Errorf("%d failures because the channel refused, %d in all", n, channel.Counters.Failures.Load())
	}
	log := r.log.String()
	if !strings.Contains(log, "and 197 more") || strings.Count(log, refused.String()) > 5 || len(log) > 2000 {
		t.Errorf("the log:\n%.4000s", log)
	}
}

// A client on its way when the configuration takes away all that was left for
// it starts again with the new one.
func testRerouted(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	blackholed, removed := channelTo(blackhole(t)), r.serve(greet("old"))
	s := service(r.router(blackholed, removed))
	s.ConnectTimeout = 300 * time.Millisecond
	d := r.listenAt("127.0.0.1", s)
	client := d.dial()
	eventually(t, "the session dials", func() bool { return blackholed.Active() == 1 })
	d.listener.SetService(service(r.router(r.serve(greet("new")))))
	removed.Remove()
	client.CloseWrite()
	if got := readAll(t, client); got != "new" {
		t.Errorf("got %q", got)
	}
}

func testNoChannel(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.listen(r.router(channelTo(r.refused()), channelTo(r.refused())))
	if got := readAll(t, d.dial()); got != "" {
		t.Errorf("got %q", got)
	}
	if end := r.end(); end.Cause != plane.NoChannel || d.listener.Rejected[balancer.NoneAnswered].Load() != 1 {
		t.Errorf("cause %v, rejected %d", end.Cause, d.listener.Rejected[balancer.NoneAnswered].Load())
	}
}

func testLimit(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	const limit, clients = 3, 12
	var mu sync.Mutex
	inside, most := 0, 0
	channel := r.serve(func(conn *net.TCPConn) {
		mu.Lock()
		inside++
		most = max(most, inside)
		mu.Unlock()
		echo(conn)
		mu.Lock()
		inside--
		mu.Unlock()
	})
	channel.SetLimit(limit)
	d := r.listen(r.router(channel))
	var conns []*net.TCPConn
	for range clients {
		conns = append(conns, d.dial())
	}
	for range clients - limit {
		if end := r.end(); end.Cause != plane.NoChannel {
			t.Errorf("cause %v", end.Cause)
		}
	}
	if channel.Active() != limit {
		t.Errorf("active %d, want %d", channel.Active(), limit)
	}
	for _, conn := range conns {
		conn.Close()
	}
	for range limit {
		r.end()
	}
	eventually(t, "the server has no client", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return inside == 0
	})
	exchange(t, d.dial(), "there is room again")
	mu.Lock()
	defer mu.Unlock()
	if most > limit {
		t.Errorf("the server had %d clients at once, limit %d", most, limit)
	}
}

// A client that has seen the end of its session finds the place free.
func testLimitInTurn(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	channel := r.serve(echo)
	channel.SetLimit(1)
	d := r.listen(r.router(channel))
	for i := range 300 {
		client := d.dial()
		client.CloseWrite()
		readAll(t, client)
		if active := channel.Active(); active != 0 {
			t.Fatalf("client %d has ended, active %d", i, active)
		}
		client.Close()
		if end := r.end(); end.Cause != plane.ClientClosed {
			t.Fatalf("client %d: cause %v", i, end.Cause)
		}
	}
}

func testSource(t *testing.T, newPlane New) {
	if runtime.GOOS != "linux" {
		t.Skip("127.0.0.2 is an address of this machine on Linux only")
	}
	r := newRig(t, newPlane)
	s := service(r.router(r.serve(func(conn *net.TCPConn) {
		io.WriteString(conn, conn.RemoteAddr().(*net.TCPAddr).IP.String())
	})))
	s.Source = netip.MustParseAddr("127.0.0.2")
	if got := readAll(t, r.listenAt("127.0.0.1", s).dial()); got != "127.0.0.2" {
		t.Errorf("dialled from %s", got)
	}
}

// The kernel connects a socket to itself that dials the very port it was given
// (simultaneous open, RFC 9293, 3.5), which happens to channels that are not
// there. They must not seem to answer.
func testSelfConnect(t *testing.T, newPlane New) {
	if !ownNetwork(t) {
		return
	}
	r := newRig(t, newPlane)
	own := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), 40_000)
	own6 := netip.AddrPortFrom(netip.IPv6Loopback(), own.Port())
	channels := []*balancer.Channel{channelTo(own), channelTo(own6, own), r.serve(greet("alive"))}
	s, from := service(r.router(channels...)), service(r.router(channels...))
	from.Source = own.Addr()
	doors := []*door{r.listenAt("127.0.0.1", s), r.listenAt("127.0.0.1", from)}
	onlyPort(t, own.Port())
	const rounds = 3
	for range rounds {
		for _, d := range doors {
			client := d.dial()
			client.CloseWrite()
			if got := readAll(t, client); got != "alive" {
				t.Errorf("got %q", got)
			}
			client.Close()
			if end := r.end(); end.Group != 2 {
				t.Errorf("served by group %d, want 2", end.Group)
			}
		}
	}
	for i, c := range channels[:2] {
		sessions, failures := c.Counters.Sessions.Load(), c.Counters.Failures.Load()
		if sessions != 0 || failures != rounds*uint64(len(doors)) {
			t.Errorf("channel %d, which is not there: %d sessions, %d failures", i, sessions, failures)
		}
	}
	if l, err := net.Listen("tcp", own.String()); err != nil {
		t.Errorf("the server cannot start: %v", err)
	} else {
		l.Close()
	}
}

func testIdleTimeout(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	s := service(r.router(r.serve(echo)))
	s.IdleTimeout = 100 * time.Millisecond
	client := r.listenAt("127.0.0.1", s).dial()
	exchange(t, client, "x")
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client saw %v, want a reset", err)
	}
	if end := r.end(); end.Cause != plane.IdleTimeout {
		t.Errorf("cause %v", end.Cause)
	}
}

func testHalfCloseTimeout(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	s := service(r.router(r.serve(func(conn *net.TCPConn) {
		conn.CloseWrite()
		io.Copy(io.Discard, conn)
	})))
	s.HalfCloseTimeout = 100 * time.Millisecond
	d := r.listenAt("127.0.0.1", s)
	d.dial()
	if end := r.end(); end.Cause != plane.HalfCloseTimeout {
		t.Errorf("cause %v", end.Cause)
	}
}

// A side that takes none of the bytes that wait for it loses its connection.
func testUserTimeout(t *testing.T, newPlane New) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has the option")
	}
	r := newRig(t, newPlane)
	wait := make(chan struct{})
	defer close(wait)
	for _, test := range []struct {
		serve  func(*net.TCPConn)
		client func(*net.TCPConn)
		cause  plane.Cause
	}{
		{flood, func(*net.TCPConn) {}, plane.ClientFailed},
		{func(*net.TCPConn) { <-wait }, flood, plane.ChannelFailed},
	} {
		s := service(r.router(r.serve(test.serve)))
		s.UserTimeout = time.Second
		client := r.listenAt("127.0.0.1", s).dial()
		go test.client(client)
		if end := r.end(); end.Cause != test.cause || !errors.Is(end.Err, syscall.ETIMEDOUT) {
			t.Errorf("the session ends because of %q: %v; want %q", end.Cause.How(), end.Err, test.cause.How())
		}
		client.Close()
	}
}

// flood sends until the connection is gone.
func flood(conn *net.TCPConn) {
	for chunk := make([]byte, 64<<10); ; {
		if _, err := conn.Write(chunk); err != nil {
			return
		}
	}
}

// While the sessions keep too much, those go that have been stuck longest.
func testOverfull(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	echoing := r.listen(r.router(r.serve(echo)))
	flooding := r.listen(r.router(r.serve(flood)))
	busy, idle := echoing.dial(), echoing.dial()
	exchange(t, idle, "hello")
	var stuck []netip.AddrPort // clients that do not read
	kept := int64(0)
	for range 3 {
		client := flooding.dial()
		stuck = append(stuck, client.LocalAddr().(*net.TCPAddr).AddrPort())
		eventually(t, "there are bytes that nobody takes", func() bool { return r.budget.Kept() > kept })
		time.Sleep(1500 * time.Millisecond) // time is told in seconds
		kept = r.budget.Kept()
	}
	r.budget.SetLimit(kept) // which is not passed
	exchange(t, busy, "hello")
	r.budget.SetLimit(kept - 1)
	next := func() {
		t.Helper()
		if end := r.end(); end.Cause != plane.Overfull || end.Client != stuck[0] {
			t.Errorf("the session of %s ends: %s %s; want that of %s", end.Client, end.Cause.By(), end.Cause.How(), stuck[0])
		}
		stuck = stuck[1:]
	}
	next()
	eventually(t, "something is let go", func() bool { return r.budget.Excess() == 0 })
	if n := len(r.relaying(4)); n != 4 {
		t.Errorf("%d sessions are left", n)
	}
	r.budget.SetLimit(1)
	next()
	next()
	eventually(t, "all is let go", func() bool { return r.budget.Kept() == 0 })
	exchange(t, busy, "hello")
	exchange(t, idle, "hello")
	if log := r.log.String(); !strings.Contains(log, "too much is buffered") {
		t.Errorf("the log says nothing of it:\n%s", log)
	}
}

// The half-close timeout is not for sessions that are open both ways, and it
// begins with the end of the stream.
func testHalfCloseBegins(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	s := service(r.router(r.serve(func(conn *net.TCPConn) {
		io.Copy(io.Discard, conn)
		time.Sleep(50 * time.Millisecond)
		io.WriteString(conn, "in time")
	})))
	s.HalfCloseTimeout = time.Second
	client := r.listenAt("127.0.0.1", s).dial()
	io.WriteString(client, "x")
	time.Sleep(s.HalfCloseTimeout + 100*time.Millisecond)
	client.CloseWrite()
	if got := readAll(t, client); got != "in time" {
		t.Errorf("got %q", got)
	}
	if end := r.end(); end.Cause != plane.ClientClosed {
		t.Errorf("cause %v", end.Cause)
	}
}

// The address of a client alone, not its port, chooses in a hash group.
func testHash(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	group := balancer.Group{Mode: balancer.Hash}
	for i := range 8 {
		group.Channels = append(group.Channels, r.serve(greet(strconv.Itoa(i))))
	}
	d := r.listen(balancer.NewRouter([]balancer.Group{group}, balancer.Options{}, nil))
	first := ""
	for range 10 {
		client := d.dial()
		client.CloseWrite()
		got := readAll(t, client)
		if first == "" {
			first = got
		}
		if got == "" || got != first {
			t.Errorf("served by %q, then by %q", first, got)
		}
		r.end()
	}
}

// A running session follows a new timeout of its listener.
func testTimeoutChanges(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	s := service(r.router(r.serve(echo)))
	s.IdleTimeout = time.Hour
	d := r.listenAt("127.0.0.1", s)
	exchange(t, d.dial(), "x")
	shorter := service(s.Router)
	shorter.IdleTimeout = 50 * time.Millisecond
	d.listener.SetService(shorter)
	if end := r.end(); end.Cause != plane.IdleTimeout {
		t.Errorf("cause %v", end.Cause)
	}
}

func testAbort(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.listen(r.router(r.serve(echo)))
	stays, goes := d.dial(), d.dial()
	exchange(t, stays, "1")
	exchange(t, goes, "2")
	r.relaying(2)
	victim := goes.LocalAddr().(*net.TCPAddr).AddrPort()
	n := r.plane.Abort(plane.Operator, func(s *plane.Session) bool { return s.Client == victim })
	if n != 1 {
		t.Errorf("aborted %d sessions, want 1", n)
	}
	if _, err := goes.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client saw %v, want a reset", err)
	}
	if end := r.end(); end.Cause != plane.Operator || end.Err != nil || end.Client != victim {
		t.Errorf("end %+v", end)
	}
	exchange(t, stays, "3")
}

func testAbortDialling(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	channel := channelTo(blackhole(t))
	s := service(r.router(channel))
	s.ConnectTimeout = time.Hour
	r.listenAt("127.0.0.1", s).dial()
	eventually(t, "the session dials", func() bool { return channel.Active() == 1 })
	if n := r.plane.Abort(plane.Removed, func(s *plane.Session) bool { return s.State == plane.Dialing && s.Channel == channel }); n != 1 {
		t.Errorf("aborted %d sessions, want 1", n)
	}
	if end := r.end(); end.Cause != plane.Removed {
		t.Errorf("cause %v", end.Cause)
	}
	eventually(t, "the slot is given back", func() bool { return channel.Active() == 0 })
	if n := channel.Counters.Failures.Load(); n != 0 {
		t.Errorf("%d failures are counted", n)
	}
}

func testShutdown(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.listen(r.router(r.serve(echo)))
	polite, stubborn := d.dial(), d.dial()
	exchange(t, polite, "x")
	exchange(t, stubborn, "x")
	d.retire()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { r.plane.Shutdown(ctx); close(done) }()
	exchange(t, polite, "running sessions go on")
	polite.Close()
	if end := r.end(); end.Cause != plane.ClientClosed {
		t.Errorf("cause %v", end.Cause)
	}
	cancel()
	<-done
	if end := r.end(); end.Cause != plane.Shutdown {
		t.Errorf("cause %v", end.Cause)
	}
	if _, err := stubborn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client saw %v, want a reset", err)
	}
	r.plane = newPlane(plane.Options{}) // for the clean-up
}

func testServeAnother(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.listen(r.router(r.serve(greet("one"))))
	old := d.dial()
	r.relaying(1)
	another := new(plane.Listener)
	another.SetService(service(r.router(r.serve(greet("two")))))
	d.acceptor.Serve(another)
	client := d.dial()
	client.CloseWrite()
	if got := readAll(t, client); got != "two" {
		t.Errorf("a new client got %q", got)
	}
	old.CloseWrite()
	if got := readAll(t, old); got != "one" {
		t.Errorf("an old client got %q", got)
	}
	if one, two := d.listener.Accepted.Load(), another.Accepted.Load(); one != 1 || two != 1 {
		t.Errorf("accepted %d and %d, want 1 each", one, two)
	}
}

// A socket goes from one plane to another with the clients in its queue.
func testAdoptAgain(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.listen(r.router(r.serve(greet("served"))))
	old := d.dial()
	r.relaying(1)
	d.acceptor.Stop()
	waiting := d.dial()
	another := newRig(t, newPlane)
	acceptor, err := another.plane.Adopt(d.socket)
	if err != nil {
		t.Fatal(err)
	}
	acceptor.Serve(d.listener)
	defer acceptor.Stop()
	for _, client := range []*net.TCPConn{waiting, d.dial(), old} {
		client.CloseWrite()
		if got := readAll(t, client); got != "served" {
			t.Errorf("a client got %q", got)
		}
	}
	r.end()
	another.end()
	another.end()
}

// Whoever has connected before a socket is retired is served.
func testRetire(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.bind("127.0.0.1", service(r.router(r.serve(greet("served")))))
	var waiting []*net.TCPConn
	for range 50 {
		waiting = append(waiting, d.dial())
	}
	d.acceptor.Serve(d.listener)
	d.retire()
	for _, client := range waiting {
		client.CloseWrite()
		if got := readAll(t, client); got != "served" {
			t.Fatalf("a client who waited got %q", got)
		}
	}
	if conn, err := net.Dial("tcp", d.socket.Addr().String()); err == nil {
		conn.Close()
		t.Error("the socket still accepts")
	}
}

// Without descriptors the plane pauses, and the clients wait. With descriptors
// it goes on, and all are served, by the channel that is theirs: what this
// machine lacks is no reason to go to another group.
func testNoDescriptors(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.bind("127.0.0.1", service(r.router(r.serve(greet("served")), r.serve(greet("by another")))))
	var clients []*net.TCPConn
	for range 20 {
		clients = append(clients, d.dial())
	}
	restore := limitDescriptors(t, 3)
	d.acceptor.Serve(d.listener)
	eventually(t, "the plane pauses", func() bool { return strings.Contains(r.log.String(), ", pausing") })
	time.Sleep(100 * time.Millisecond)
	if n := strings.Count(r.log.String(), ", pausing"); n > 10 {
		t.Errorf("%d attempts to accept in a tenth of a second", n)
	}
	restore()
	for _, client := range clients {
		client.CloseWrite()
		if got := readAll(t, client); got != "served" {
			t.Errorf("a client got %q", got)
		}
	}
}

// One descriptor is left at a time: clients are accepted, but cannot be
// connected to their channel. They wait for as long as connecting may take.
func testOneDescriptor(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	s := service(r.router(r.serve(greet("served")), r.serve(greet("by another"))))
	s.ConnectTimeout = 300 * time.Millisecond
	d := r.bind("127.0.0.1", s)
	client := d.dial()
	restore := limitDescriptors(t, 1)
	d.acceptor.Serve(d.listener)
	if got := readAll(t, client); got != "" {
		t.Errorf("the client got %q", got)
	}
	if end := r.end(); end.Cause != plane.NoChannel || end.Group != 0 {
		t.Errorf("cause %v, group %d", end.Cause, end.Group)
	}
	restore()
	next := d.dial()
	next.CloseWrite()
	if got := readAll(t, next); got != "served" {
		t.Errorf("the next client got %q", got)
	}
}

// Clients beyond the most sessions that there may be wait in the queue, in
// whatever order sockets, sessions and limits come and go.
func testMaxSessions(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	r.plane.SetMaxSessions(3)
	router := r.router(r.serve(echo))
	doors := []*door{r.listen(router), r.listen(router)}
	var clients []*net.TCPConn
	for i := range 10 {
		client := doors[i%2].dial()
		io.WriteString(client, "x")
		clients = append(clients, client)
	}
	r.relaying(3)
	time.Sleep(50 * time.Millisecond)
	r.relaying(3)
	r.plane.SetMaxSessions(5)
	r.relaying(5)
	r.plane.SetMaxSessions(2) // closes nobody
	served := 0
	eventually(t, "everybody has been served", func() bool {
		// Whoever is served leaves.
		clients = slices.DeleteFunc(clients, func(client *net.TCPConn) bool {
			client.SetReadDeadline(time.Now().Add(time.Millisecond))
			if n, _ := client.Read(make([]byte, 1)); n == 0 {
				return false
			}
			client.Close()
			served++
			return true
		})
		if n := len(r.relayingNow()); n > 5 {
			t.Errorf("%d sessions relay", n)
		}
		return len(clients) == 0
	})
	if served != 10 || !strings.Contains(r.log.String(), "as many sessions as there may be") {
		t.Errorf("%d clients were served; the log:\n%s", served, r.log)
	}
}

func testDump(t *testing.T, newPlane New) {
	out := new(bytes.Buffer)
	r := newRigWith(t, newPlane, out)
	client := r.listen(r.router(r.serve(func(conn *net.TCPConn) {
		io.ReadFull(conn, make([]byte, 7))
		io.WriteString(conn, "bye\\\r\n")
	}))).dial()
	io.WriteString(client, "hi\x1b[2J\x9b")
	if got := readAll(t, client); got != "bye\\\r\n" {
		t.Errorf("got %q", got)
	}
	client.Close()
	r.end()
	r.dump.Close()
	const want = "-> 7\nhi\\1B[2J\\9B\n-< 6\nbye\\\\\\0D\\0A\n"
	if out.String() != want {
		t.Errorf("dump:\n%s\nwant:\n%s", out, want)
	}
}

// A dump that nobody reads stops no session. Read at last, it says what is
// missing, and what it shows is whole.
func testDumpUnread(t *testing.T, newPlane New) {
	const sessions, volume = 4, 4 << 20 // twice, there and back: more than a dump keeps
	out := &unread{open: make(chan struct{})}
	r := newRigWith(t, newPlane, out)
	d := r.listen(r.router(r.serve(echo)))
	var all sync.WaitGroup
	for i := range sessions {
		client := d.dial()
		sent := bytes.Repeat([]byte{'a' + byte(i)}, volume)
		all.Go(func() {
			client.Write(sent)
			client.CloseWrite()
		})
		all.Go(func() {
			if got, err := io.ReadAll(client); !bytes.Equal(got, sent) {
				t.Errorf("got %d bytes of %d, %v", len(got), len(sent), err)
			}
		})
	}
	all.Wait()
	for range sessions {
		r.end()
	}
	close(out.open)
	eventually(t, "the dump says what is missing", func() bool { return bytes.HasSuffix(out.text(), []byte(" chunks lost\n")) })
	r.dump.Close()
	shown, lost := 0, 0
	for text := out.text(); len(text) > 0; {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		text = rest
		var n int
		if _, err := fmt.Sscanf(string(line), "-- %d chunks lost", &n); err == nil {
			lost += n
			continue
		}
		if _, err := fmt.Sscanf(strings.Replace(string(line), "-<", "->", 1), "-> %d", &n); err != nil {
			t.Fatalf("after %d bytes: %.100q", shown, line)
		}
		letter := text[0]
		for left := n; left > 0; shown++ {
			if text[0] == '\n' {
				text = text[1:]
				continue
			}
			if text[0] != letter {
				t.Fatalf("a chunk of %q goes on with %.100q", letter, text)
			}
			text = text[1:]
			left--
		}
		text = text[1:]
	}
	if lost == 0 || shown == 0 {
		t.Errorf("%d bytes are shown, %d chunks lost", shown, lost)
	}
}

// unread takes nothing until it is opened.
type unread struct {
	open chan struct{}
	mu   sync.Mutex
	buf  bytes.Buffer // guarded by mu
}

func (u *unread) Write(p []byte) (int, error) {
	<-u.open
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.buf.Write(p)
}

func (u *unread) text() []byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.buf.Bytes()
}

// A listener may be its own channel, limits permitting.
func testChain(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.bind("127.0.0.1", nil)
	self := func(limit int) *balancer.Channel {
		c := channelTo(d.socket.Addr())
		c.SetLimit(limit)
		return c
	}
	channels := []*balancer.Channel{self(12), self(4), self(2), self(2), r.serve(echo)}
	d.listener.SetService(service(balancer.NewRouter([]balancer.Group{
		{Channels: channels[:1]}, {Channels: channels[1:2]}, {Channels: channels[2:4]}, {Channels: channels[4:]},
	}, balancer.Options{}, nil)))
	d.acceptor.Serve(d.listener)
	client := d.dial()
	exchange(t, client, "through 20 sessions of our own")
	for i, want := range []int{12, 4, 2, 2, 1} {
		if got := channels[i].Active(); got != want {
			t.Errorf("channel %d has %d sessions, want %d", i, got, want)
		}
	}
	second := d.dial()
	exchange(t, second, "straight to the server")
	client.Close()
	for range 21 {
		if end := r.end(); end.Cause != plane.ClientClosed && end.Cause != plane.ChannelClosed {
			t.Errorf("cause %v", end.Cause)
		}
	}
	second.Close()
	r.end()
	for i, c := range channels {
		eventually(t, "all slots are given back", func() bool { return c.Active() == 0 })
		if i == 4 && c.Counters.Sessions.Load() != 2 {
			t.Errorf("the server had %d clients, want 2", c.Counters.Sessions.Load())
		}
	}
}

// testChurn lets many clients come and go in every way at once; at the end no
// slot, session or descriptor may be left.
func testChurn(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	channels := []*balancer.Channel{r.serve(echo), channelTo(r.refused()), r.serve(echo)}
	d := r.listen(balancer.NewRouter([]balancer.Group{{Channels: channels}}, balancer.Options{}, nil))
	const clients, rounds = 32, 20
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 1))
			for range rounds {
				churn(t, d, random)
			}
		})
	}
	wg.Wait()
	for range clients * rounds {
		r.end()
	}
	for _, c := range channels {
		eventually(t, "all slots are given back", func() bool { return c.Active() == 0 })
	}
	r.plane.Sessions(func(s plane.Session) bool {
		t.Errorf("session %d is left", s.ID)
		return true
	})
}

func churn(t *testing.T, d *door, random *rand.Rand) {
	conn, err := net.Dial("tcp", d.socket.Addr().String())
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	client := conn.(*net.TCPConn)
	message := make([]byte, 1+random.IntN(200_000))
	switch random.IntN(4) {
	case 0: // leaves at once
	case 1: // breaks
		client.Write(message)
		client.SetLinger(0)
	case 2: // half-closes and takes its answer
		go client.ReadFrom(bytes.NewReader(message))
		if _, err := io.ReadFull(client, make([]byte, len(message))); err != nil {
			t.Error(err)
		}
		client.CloseWrite()
		if rest, err := io.ReadAll(client); err != nil || len(rest) > 0 {
			t.Errorf("%d bytes too many, %v", len(rest), err)
		}
	case 3: // leaves with the answer unread
		client.Write(message)
	}
}

// randomStream returns bytes that no two places of which are alike.
func randomStream(size int) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{1}), int64(size))
}
