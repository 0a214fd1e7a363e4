package planetest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"balance/engine/plane"
)

// testUrgent sends urgent data within a stream, which goes on behind it
// (tcp(7)): the urgent byte is no part of the stream.
func testUrgent(t *testing.T, newPlane New) {
	const clients = 20
	for _, size := range []struct{ before, behind int }{
		{64 << 10, 192 << 10}, {64 << 10, 4}, {1 << 20, 192 << 10}, {1 << 20, 4}, {1 << 20, 1 << 20},
	} {
		t.Run(fmt.Sprintf("%d,%d", size.before, size.behind), func(t *testing.T) {
			r := newRig(t, newPlane)
			stream, _ := io.ReadAll(randomStream(size.before + size.behind))
			want := sha256.Sum256(stream)
			got := make(chan bool, clients)
			d := r.listen(r.router(r.serve(func(conn *net.TCPConn) {
				hash := sha256.New()
				n, err := io.CopyN(hash, conn, int64(len(stream)))
				if got <- err == nil && bytes.Equal(hash.Sum(nil), want[:]); err != nil {
					t.Errorf("%d of %d bytes arrived, error %v", n, len(stream), err)
				}
				io.Copy(io.Discard, conn)
			})))
			var sending sync.WaitGroup
			for range clients {
				client := d.dial()
				sending.Go(func() {
					client.Write(stream[:size.before])
					urge(t, client)
					client.Write(stream[size.before:])
				})
			}
			sending.Wait()
			for range clients {
				if !await(t, got) { // nobody has finished yet
					t.Error("what arrived is not what was sent")
				}
			}
		})
	}
}

// testUrgentThenReset resets after a stream with urgent data within, all of
// which is here before anything is read: what is behind that comes first, too.
func testUrgentThenReset(t *testing.T, newPlane New) {
	const before, behind = 100 << 10, 1000 // more than any buffer, and less than the kernel's
	r := newRig(t, newPlane)
	got := make(chan received, 1)
	blackholed := channelTo(blackhole(t))
	s := service(r.router(blackholed, r.serve(func(conn *net.TCPConn) { got <- receive(conn) })))
	s.ConnectTimeout = 600 * time.Millisecond
	d := r.bind("127.0.0.1", s)
	receiveBuffer(t, d.socket, 400<<10)
	d.acceptor.Serve(d.listener)
	client := d.dial()
	eventually(t, "the session dials", func() bool { return blackholed.Active() == 1 })
	client.Write(make([]byte, before))
	urge(t, client)
	client.Write(make([]byte, behind))
	eventually(t, "everything is acknowledged", func() bool { return unacknowledged(client) == 0 })
	client.SetLinger(0)
	client.Close()
	if g := await(r, got); g.n != before+behind || !errors.Is(g.err, syscall.ECONNRESET) {
		t.Errorf("the server got %d bytes of %d, then %v", g.n, before+behind, g.err)
	}
	if end := r.end(); end.Cause != plane.ClientFailed || !errors.Is(end.Err, syscall.ECONNRESET) {
		t.Errorf("cause %v, error %v", end.Cause, end.Err)
	}
}
