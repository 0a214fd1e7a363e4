//go:build linux

package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// openBatch bounds how many connections are being opened at once, so that no
// queue of a listener overflows.
const openBatch = 64

// trips makes round trips in a closed loop: each connection sends its next
// request when the answer to the last one is in. With short, it takes a new
// connection for each.
type trips struct {
	ep      int
	to      *unix.SockaddrInet4
	from    *unix.SockaddrInet4 // nil: as the kernel picks
	short   bool
	conns   []tripConn
	request []byte // what is sent; its answer is the same
	buffer  []byte
	events  []unix.EpollEvent
	busy    int // requests not yet answered
	serial  uint64

	done      int64
	latencies []uint32
}

type tripConn struct {
	fd     int // -1: none
	sent   bool
	got    int  // bytes of an answer not yet complete
	last   byte // of the answer, as far as there is one
	serial uint64
	began  int64
}

func newTrips(ep int, to *unix.SockaddrInet4, w Workload, conns int) *trips {
	t := &trips{
		ep: ep, to: to, short: w.Kind == Short,
		conns:   make([]tripConn, conns),
		request: make([]byte, w.Size),
		buffer:  make([]byte, 64<<10),
		events:  make([]unix.EpollEvent, 256),
	}
	for i := range t.conns {
		t.conns[i].fd = -1
	}
	t.request[0] = modeEcho
	return t
}

func (t *trips) open() error {
	if t.short {
		return nil
	}
	for from := 0; from < len(t.conns); from += openBatch {
		to := min(from+openBatch, len(t.conns))
		if err := t.exchange(from, to, &budget{counted: true, left: int64(to - from)}); err != nil {
			return err
		}
	}
	return nil
}

func (t *trips) run(b *budget) error { return t.exchange(0, len(t.conns), b) }

// exchange makes round trips over the connections from to to.
func (t *trips) exchange(from, to int, b *budget) error {
	for i := from; i < to && b.take(now(), 1); i++ {
		if err := t.start(i); err != nil {
			return err
		}
		t.busy++
	}
	for t.busy > 0 {
		n, err := epollWait(t.ep, t.events, stallTimeout)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%d answers missing after %v", t.busy, stallTimeout)
		}
		for _, ev := range t.events[:n] {
			if err := t.turn(int(ev.Fd), ev.Events, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// start sends the next request on connection i, on a new one if there is none.
func (t *trips) start(i int) error {
	c := &t.conns[i]
	t.serial++
	*c = tripConn{fd: c.fd, serial: t.serial, began: now()}
	if c.fd >= 0 {
		return t.send(c)
	}
	var err error
	if c.fd, err = dial(t.to, t.from); err != nil {
		return err
	}
	if err := t.send(c); err != nil {
		return err
	}
	events := uint32(unix.EPOLLIN)
	if !c.sent {
		events = unix.EPOLLOUT
	}
	return watch(t.ep, c.fd, events, i)
}

// send sends the request of c, unless its connection is not yet established.
func (t *trips) send(c *tripConn) error {
	binary.LittleEndian.PutUint64(t.request[8:], c.serial)
	n, err := send(c.fd, t.request)
	if err != nil {
		if again(err) {
			return nil
		}
		return fmt.Errorf("send a request: %w", err)
	}
	// The send buffer is empty between round trips and holds any request.
	if n != len(t.request) {
		return fmt.Errorf("only %d of %d bytes of a request sent", n, len(t.request))
	}
	c.sent = true
	return nil
}

func (t *trips) turn(i int, ready uint32, b *budget) error {
	c := &t.conns[i]
	if !c.sent {
		if err := t.send(c); err != nil || !c.sent {
			return err
		}
		return rewatch(t.ep, c.fd, unix.EPOLLIN, i)
	}
	n, err := receive(c.fd, t.buffer, 0)
	switch {
	case err != nil && again(err):
		return nil
	case err != nil:
		return fmt.Errorf("receive an answer: %w", err)
	case n == 0:
		return errors.New("connection closed before the answer was complete")
	}
	if c.got == 0 && n >= 16 && binary.LittleEndian.Uint64(t.buffer[8:]) != c.serial {
		return errors.New("answer to another request received")
	}
	c.last = t.buffer[n-1]
	if c.got += n; c.got < len(t.request) {
		return nil
	}
	if c.got > len(t.request) {
		return fmt.Errorf("%d bytes answered to %d", c.got, len(t.request))
	}
	c.got = 0
	if t.short {
		err := unix.Close(c.fd)
		c.fd = -1
		if err != nil {
			return os.NewSyscallError("close", err)
		}
	}
	end := now()
	t.done++
	t.latencies = append(t.latencies, latency(end-c.began))
	if b.take(end, 1) {
		return t.start(i)
	}
	t.busy--
	return nil
}

// latency is nanoseconds that fit, the rest counted as 4.29 s.
func latency(ns int64) uint32 { return uint32(min(max(ns, 0), math.MaxUint32)) }

func (t *trips) result() (int64, []uint32) { return t.done, t.latencies }

func (t *trips) reset() { t.done, t.latencies = 0, t.latencies[:0] }

func (t *trips) close() {
	for i := range t.conns {
		if fd := t.conns[i].fd; fd >= 0 {
			unix.Close(fd)
			t.conns[i].fd = -1
		}
	}
	unix.Close(t.ep)
}
