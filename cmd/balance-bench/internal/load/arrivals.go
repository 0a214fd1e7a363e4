//go:build linux

package load

import (
	"fmt"
	"math/rand/v2"

	"golang.org/x/sys/unix"
)

// arrivals opens a connection for each request, from an address of its own,
// whether earlier ones are answered or not. The requests come at random, each
// independent of the others (a Poisson process), and are measured from the
// time they were meant to come.
type arrivals struct {
	*trips         // its connections, as many as are open at the same time
	free   []int   // those that are not open
	gap    float64 // nanoseconds from one request to the next, on average
	random *rand.Rand

	served [len(ServiceTimes)]int64
}

func newArrivals(ep int, to *unix.SockaddrInet4, w Workload, rate float64, seed uint64) *arrivals {
	w.Size = probeSize
	a := &arrivals{trips: newTrips(ep, to, w, 0), gap: 1e9 / rate, random: rand.New(rand.NewPCG(seed, 0))}
	a.from = &unix.SockaddrInet4{}
	a.request[0] = modeWork
	a.short = true
	return a
}

func (a *arrivals) run(b *budget) error { return a.onTime(b, a.wait, a.post, a.collect) }

// wait draws the time to the next request.
func (a *arrivals) wait() float64 { return a.random.ExpFloat64() * a.gap }

// client draws an address of 127.0.0.0/8, its broadcast addresses left out.
func (a *arrivals) client() [4]byte {
	x := a.random.Uint32()
	return [4]byte{127, byte(x >> 8), byte(x >> 16), byte(1 + x%254)}
}

// post sends the request that was due at the time due.
func (a *arrivals) post(due int64) error {
	if len(a.free) == 0 {
		a.free = append(a.free, len(a.conns))
		a.conns = append(a.conns, tripConn{fd: -1})
	}
	last := len(a.free) - 1
	i := a.free[last]
	a.free = a.free[:last]
	a.from.Addr = a.client()
	if err := a.start(i); err != nil {
		return err
	}
	a.conns[i].began = due
	a.busy++
	return nil
}

// collect takes what has arrived on a connection. An answer ends with the
// number of the server that it comes from.
func (a *arrivals) collect(ev unix.EpollEvent) error {
	i, unanswered := int(ev.Fd), a.busy
	none := budget{counted: true}
	if err := a.turn(i, ev.Events, &none); err != nil || a.busy == unanswered {
		return err
	}
	a.free = append(a.free, i)
	number := int(a.conns[i].last)
	if number >= len(a.served) {
		return fmt.Errorf("answer of server %d received, there are %d", number, len(a.served))
	}
	a.served[number]++
	return nil
}

func (a *arrivals) reset() {
	a.trips.reset()
	a.served = [len(ServiceTimes)]int64{}
}
