package planetest

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"balance/engine/balancer"
	"balance/engine/plane"
)

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
	eventually(t, "no session is left", func() bool { // each is forgotten after its end was told
		left := 0
		r.plane.Sessions(func(plane.Session) bool { left++; return true })
		return left == 0
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
