package portable

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"balance/engine/plane"
)

// dial connects to the first of the addresses that answers. All together have
// the service's connect timeout; each may use an equal share of what is left.
func dial(ctx context.Context, service *plane.Service, addrs []netip.AddrPort) (*net.TCPConn, error) {
	deadline := time.Now().Add(service.ConnectTimeout)
	var failures []error
	for i, addr := range addrs {
		share := time.Until(deadline) / time.Duration(len(addrs)-i)
		conn, err := dialAddr(ctx, service, addr, share)
		if err == nil {
			return conn, nil
		}
		failures = append(failures, err)
	}
	if len(failures) == 0 {
		return nil, errors.New("the channel has no address")
	}
	return nil, errors.Join(failures...)
}

// grace is how long after its time an attempt is given up. A process that was
// stopped finds it overdue, and has to be told first of what came in time.
const grace = 50 * time.Millisecond

func dialAddr(ctx context.Context, service *plane.Service, addr netip.AddrPort, timeout time.Duration) (*net.TCPConn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	overdue := time.AfterFunc(timeout, func() {
		time.AfterFunc(grace, func() { cancel(os.ErrDeadlineExceeded) })
	})
	defer overdue.Stop()
	dialer := net.Dialer{KeepAliveConfig: keepAliveConfig(service.KeepAlive)}
	if service.KeepAlive == 0 {
		dialer.KeepAlive = -1
	}
	if source := service.Source; source.IsValid() {
		if source.Is4() != addr.Addr().Is4() {
			return nil, fmt.Errorf("dial %s from %s: %w", addr, source, syscall.EAFNOSUPPORT)
		}
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
		dialer.Control = func(_, _ string, c syscall.RawConn) error { return plane.BindWithoutPort(c) }
	}
	dialer.SetMultipathTCP(false)
	conn, err := dialer.DialContext(ctx, "tcp", addr.String())
	if err != nil && context.Cause(ctx) == os.ErrDeadlineExceeded {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(addr), Err: os.ErrDeadlineExceeded}
	}
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}
