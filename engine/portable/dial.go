package portable

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"balance/engine/plane"
	"balance/engine/socket"
)

// dial connects to the first address of the channel that answers, or returns
// nil. Where this machine lacks what it takes to dial, it waits.
func (p *Plane) dial(ctx context.Context, search *plane.Search) *net.TCPConn {
	for {
		now := p.now()
		addr, share, ok := search.Address(now)
		if !ok {
			return nil
		}
		conn, err := dialAddr(ctx, search.Service(), addr, share)
		switch {
		case err == nil:
			p.shortage.End()
			return conn
		case plane.Exhausted(err) && search.Left(now) > 0 && ctx.Err() == nil:
			p.lacks("dial", err)
			p.awaitFor(ctx, search.Left(p.now()))
			search.Again()
		default:
			search.Undialled(err)
		}
	}
}

// awaitFor waits until a shortage is over, but not longer than the time given.
func (p *Plane) awaitFor(ctx context.Context, left time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, left)
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
		return nil, plane.DialError(addr, os.ErrDeadlineExceeded)
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
		return nil, plane.DialError(addr, os.NewSyscallError("connect", syscall.ECONNREFUSED))
	}
	// Before, it would bound the attempt to connect too (tcp(7)).
	userTimeout(tcp, service.UserTimeout)
	return tcp, nil
}
