package plane

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"
)

// Open opens a listening TCP socket. A zero Addr in addr stands for every
// address of the machine: IPv4 and IPv6 where the kernel has both. An IPv6
// address takes no IPv4 clients. With shared, other sockets that are shared
// and belong to the same user may be bound to an overlapping address.
func Open(ctx context.Context, addr netip.AddrPort, shared bool) (*net.TCPListener, error) {
	network, host := "tcp", ""
	if addr.Addr().IsValid() {
		host = addr.Addr().String()
		network = "tcp6"
		if addr.Addr().Is4() {
			network = "tcp4"
		}
	}
	config := net.ListenConfig{
		KeepAlive: -1, // set with the listener's own interval
		Control: func(_, _ string, c syscall.RawConn) error {
			if !shared {
				return nil
			}
			return ShareRaw(c, true)
		},
	}
	config.SetMultipathTCP(false)
	listener, err := config.Listen(ctx, network, net.JoinHostPort(host, strconv.Itoa(int(addr.Port()))))
	if err != nil {
		return nil, err
	}
	return listener.(*net.TCPListener), nil
}

// Bound returns the address of a listening socket that Open opened at addr.
func Bound(listener *net.TCPListener, addr netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(addr.Addr(), uint16(listener.Addr().(*net.TCPAddr).Port))
}

// Backoff paces the attempts to accept after the kernel had no room for
// another connection: 5 ms at first, doubling to 1 s.
type Backoff struct{ pause time.Duration }

// Next returns how long to wait before the next attempt.
func (b *Backoff) Next() time.Duration {
	b.pause = min(max(2*b.pause, 5*time.Millisecond), time.Second)
	return b.pause
}

// Reset starts anew after an attempt that succeeded.
func (b *Backoff) Reset() { b.pause = 0 }

// Exhausted reports whether accepting failed because the machine or the
// process is out of descriptors or memory (accept(2)): the client still waits
// in the queue, and an attempt without a pause would fail the same way.
func Exhausted(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
