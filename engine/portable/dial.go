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
	"balance/engine/socket"
)

// dial connects to the first of the addresses that answers. All together have
// the service's connect timeout; each may use an equal share of what is left.
// Where this machine lacks what it takes to dial, it waits.
func (p *Plane) dial(ctx context.Context, service *plane.Service, addrs []netip.AddrPort) (*net.TCPConn, error) {
	deadline := time.Now().Add(service.ConnectTimeout)
	var failure error
	for i := 0; i < len(addrs); i++ {
		left := time.Until(deadline)
		conn, err := dialAddr(ctx, service, addrs[i], left/time.Duration(len(addrs)-i))
		switch {
		case err == nil:
			p.shortage.End()
			return conn, nil
		case plane.Exhausted(err) && left > 0 && ctx.Err() == nil:
			p.lacks("dial", err)
			p.awaitUntil(ctx, deadline)
			i-- // the same address again
		default:
			failure = plane.Undialled(failure, err)
		}
	}
	if failure == nil {
		failure = errors.New("the channel has no address")
	}
	return nil, failure
}

// awaitUntil waits until a shortage is over, but not longer than to the deadline.
func (p *Plane) awaitUntil(ctx context.Context, deadline time.Time) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	p.await(ctx)
}

// An attempt that is found to be overdue by so much was stopped, with the process
// or its machine. It gets a grace in which it is told of what came in time.
const (
	overdueBy = 250 * time.Millisecond
	grace     = time.Second
)

func dialAddr(ctx context.Context, service *plane.Service, addr netip.AddrPort, timeout time.Duration) (*net.TCPConn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	giveUp := func() { cancel(os.ErrDeadlineExceeded) }
	began := time.Now()
	timer := time.AfterFunc(timeout, func() {
		if time.Since(began) > timeout+overdueBy {
			time.AfterFunc(grace, giveUp)
			return
		}
		giveUp()
	})
	defer timer.Stop()
	dialer := net.Dialer{KeepAliveConfig: keepAliveConfig(service.KeepAlive)}
	if service.KeepAlive == 0 {
		dialer.KeepAlive = -1
	}
	if source := service.Source; source.IsValid() {
		if source.Is4() != addr.Addr().Is4() {
			return nil, fmt.Errorf("dial %s from %s: %w", addr, source, syscall.EAFNOSUPPORT)
		}
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
		dialer.Control = func(_, _ string, c syscall.RawConn) error { return socket.BindWithoutPort(c) }
	}
	dialer.SetMultipathTCP(false)
	conn, err := dialer.DialContext(ctx, "tcp", addr.String())
	if err != nil && context.Cause(ctx) == os.ErrDeadlineExceeded {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(addr), Err: os.ErrDeadlineExceeded}
	}
	if err != nil {
		return nil, err
	}
	tcp := conn.(*net.TCPConn)
	if local := tcp.LocalAddr().(*net.TCPAddr); local.AddrPort() == tcp.RemoteAddr().(*net.TCPAddr).AddrPort() {
		// Nobody was there, and connect picked the port that it dialled
		// (simultaneous open, RFC 9293, 3.5). Package net has dialled anew
		// twice by now. The reset frees that port for the server.
		tcp.SetLinger(0)
		tcp.Close()
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(addr), Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	// Before, it would bound the attempt to connect too (tcp(7)).
	userTimeout(tcp, service.UserTimeout)
	return tcp, nil
}
