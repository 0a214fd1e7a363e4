package portable

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"balance/engine/balancer"
	"balance/engine/plane"
	"balance/engine/socket"
)

// dial connects to the first address of the channel that answers, or returns
// nil.
func (p *Plane) dial(ctx context.Context, search *plane.Search) *net.TCPConn {
	service, until := search.Service(), p.Now()+int64(search.Left(p.Now()))
	conn := search.Run(ctx, p.Now,
		func(ctx context.Context, a plane.Attempt) (net.Conn, error) {
			now := p.Now()
			if a.Lack != nil && p.shortage.Left(now) > 0 {
				return nil, a.Lack // what was lacking is not asked for again while the pause lasts
			}
			conn, err := dialAddr(ctx, service, search.Channel().Key(), a.Addr, time.Duration(until-now))
			if err != nil {
				return nil, err
			}
			p.shortage.End()
			return conn, nil
		},
		func(a plane.Attempt, err error) {
			if plane.Exhausted(err) {
				p.lacks("dial", err)
			}
			now := p.Now()
			search.AttemptFailed(a, err, p.shortage.Left(now), now)
		})
	if conn == nil {
		return nil
	}
	return conn.(*net.TCPConn)
}

// attempt is a socket that is being connected. It is given up when its time is
// over and it has come to nothing yet: after a pause of the process, or of its
// machine, the timer may be faster than the poller to tell of what came in time.
type attempt struct {
	timeout time.Duration
	giveUp  context.CancelCauseFunc

	mu     sync.Mutex
	socket syscall.RawConn // guarded by mu; nil before there is one, and after end
	timer  *time.Timer     // guarded by mu; runs as long as there is a socket
}

// grace is how long an attempt that has come to something may take to be told of
// it, before its socket is asked again.
const grace = time.Second

// begin is called with each new socket, before it is connected: package net dials
// anew after it has connected to itself. The time goes on.
func (a *attempt) begin(raw syscall.RawConn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.socket = raw
	if a.timer == nil {
		a.timer = time.AfterFunc(a.timeout, a.timedOut)
	}
}

func (a *attempt) timedOut() {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.socket == nil:
	case answered(a.socket):
		a.timer.Reset(grace)
	default:
		a.giveUp(os.ErrDeadlineExceeded)
	}
}

// end is called when there is a connection, or an error.
func (a *attempt) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.socket = nil
	if a.timer != nil {
		a.timer.Stop()
	}
}

func dialAddr(ctx context.Context, service *plane.Service, key balancer.Key, addr netip.AddrPort, timeout time.Duration) (*net.TCPConn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a := &attempt{timeout: timeout, giveUp: cancel}
	defer a.end()
	dialer := net.Dialer{KeepAliveConfig: keepAliveConfig(service.KeepAlive)}
	if service.KeepAlive == 0 {
		dialer.KeepAlive = -1
	}
	if source := service.Source; source.IsValid() {
		if source.Is4() != addr.Addr().Is4() {
			return nil, fmt.Errorf("dial %s from %s: %w", addr, source, syscall.EAFNOSUPPORT)
		}
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	dialer.Control = func(_, _ string, c syscall.RawConn) error {
		a.begin(c)
		if service.Source.IsValid() {
			return socket.BindWithoutPort(c)
		}
		return nil
	}
	dialer.SetMultipathTCP(false)
	conn, err := dialer.DialContext(ctx, "tcp", addr.String())
	if err != nil && context.Cause(ctx) == os.ErrDeadlineExceeded {
		return nil, plane.DialError(key, addr, os.ErrDeadlineExceeded)
	}
	if err != nil && noPort(err, addr, service.Source) {
		return nil, plane.DialError(key, addr, fmt.Errorf("%w: %w", plane.ErrNoPort, errors.Unwrap(err)))
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
		return nil, plane.DialError(key, addr, os.NewSyscallError("connect", syscall.ECONNREFUSED))
	}
	// Before, it would bound the attempt to connect too (tcp(7)).
	userTimeout(tcp, service.UserTimeout)
	return tcp, nil
}

// noPort reports whether connecting failed for want of a port (plane.ErrNoPort).
func noPort(err error, addr netip.AddrPort, source netip.Addr) bool {
	var call *os.SyscallError
	if !errors.As(err, &call) || call.Syscall != "connect" || call.Err != syscall.EADDRNOTAVAIL {
		return false
	}
	if source.IsValid() {
		return true
	}
	// UDP needs an address to connect from, too, but its ports are others.
	probe, err := net.Dial("udp", addr.String())
	if err == nil {
		probe.Close()
	}
	return !errors.Is(err, syscall.EADDRNOTAVAIL)
}
