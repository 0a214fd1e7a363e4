package planetest

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"balance/engine/plane"
)

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

// testSlowReader sends 256 MiB to a reader that cannot keep up. The plane may
// not take in what it cannot pass on.
func testSlowReader(t *testing.T, newPlane New) {
	size := 256 << 20
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

// randomStream returns bytes that no two places of which are alike.
func randomStream(size int) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{1}), int64(size))
}
