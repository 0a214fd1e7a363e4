package plane

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"syscall"
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
