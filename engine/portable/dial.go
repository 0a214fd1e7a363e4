package portable

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
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

func dialAddr(ctx context.Context, service *plane.Service, addr netip.AddrPort, timeout time.Duration) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var source netip.AddrPort
	if service.Source.IsValid() {
		if service.Source.Is4() != addr.Addr().Is4() {
			return nil, fmt.Errorf("dial %s from %s: %w", addr, service.Source, syscall.EAFNOSUPPORT)
		}
		source = netip.AddrPortFrom(service.Source, 0)
	}
	dialer := net.Dialer{KeepAliveConfig: keepAliveConfig(service.KeepAlive)}
	if service.KeepAlive == 0 {
		dialer.KeepAlive = -1
	}
	dialer.SetMultipathTCP(false)
	conn, err := dialer.DialTCP(ctx, "tcp", source, addr)
	var failure *net.OpError
	if errors.As(err, &failure) && !source.IsValid() {
		failure.Source = nil // it would print as ":0"
	}
	return conn, err
}
