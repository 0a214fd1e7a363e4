//go:build linux

package load

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// bulkTurn bounds the writes of one connection before the next has its turn.
const bulkTurn = 4

// bulk receives (Down) or sends (Up) as fast as it can.
type bulk struct {
	ep     int
	to     *unix.SockaddrInet4
	kind   Kind
	fds    []int
	want   int
	buffer []byte
	events []unix.EpollEvent
	bytes  int64
}

func newBulk(ep int, to *unix.SockaddrInet4, k Kind, conns int) *bulk {
	size := 256 << 10
	if k == Down {
		size = 1 << 20 // never touched: MSG_TRUNC
	}
	return &bulk{ep: ep, to: to, kind: k, want: conns,
		buffer: make([]byte, size), events: make([]unix.EpollEvent, 64)}
}

func (b *bulk) open() error {
	mode, events := byte(modeSource), uint32(unix.EPOLLIN)
	if b.kind == Up {
		mode, events = modeSink, unix.EPOLLOUT
	}
	for range b.want {
		fd, err := dial(b.to, nil)
		if err != nil {
			return err
		}
		b.fds = append(b.fds, fd)
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(stallTimeout/time.Millisecond))
		if err != nil {
			return os.NewSyscallError("poll", err)
		}
		if ready == 0 {
			return fmt.Errorf("not connected after %v", stallTimeout)
		}
		if _, err := send(fd, []byte{mode}); err != nil {
			return fmt.Errorf("send the mode: %w", err)
		}
		if err := watch(b.ep, fd, events, fd); err != nil {
			return err
		}
	}
	return nil
}

func (b *bulk) run(limit *budget) error {
	for {
		n, err := epollWait(b.ep, b.events, stallTimeout)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("no byte moved for %v", stallTimeout)
		}
		for _, ev := range b.events[:n] {
			moved, err := b.turn(int(ev.Fd))
			if err != nil {
				return err
			}
			b.bytes += moved
			if !limit.take(now(), moved) {
				return nil
			}
		}
	}
}

func (b *bulk) turn(fd int) (moved int64, err error) {
	if b.kind == Down {
		n, err := receive(fd, b.buffer, unix.MSG_TRUNC)
		switch {
		case err != nil && again(err):
			return 0, nil
		case err != nil:
			return 0, fmt.Errorf("receive: %w", err)
		case n == 0:
			return 0, errors.New("stream ended early")
		}
		return int64(n), nil
	}
	for range bulkTurn {
		n, err := send(fd, b.buffer)
		if err != nil && !again(err) {
			return moved, fmt.Errorf("send: %w", err)
		}
		if err != nil {
			break
		}
		moved += int64(n)
		if n < len(b.buffer) {
			break
		}
	}
	return moved, nil
}

func (b *bulk) result() (int64, []uint32) { return b.bytes, nil }

func (b *bulk) reset() { b.bytes = 0 }

func (b *bulk) close() {
	for _, fd := range b.fds {
		unix.Close(fd)
	}
	b.fds = nil
	unix.Close(b.ep)
}
