package portable

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// dial connects to the first address of the channel that answers, and is of use, or
// returns nil.
func (p *Plane) dial(ctx context.Context, s *session) connection {
	search := &s.search
	until := p.Now() + int64(search.Left(p.Now()))
	conn := search.Run(ctx, p.Now,
		func(ctx context.Context, a plane.Attempt) (net.Conn, error) {
			now := p.Now()
			if a.Lack != nil && p.shortage.Left(now) > 0 {
				return nil, a.Lack // what was lacking is not asked for again while the pause lasts
			}
			conn, err := dialAttempt(ctx, search, a, time.Duration(until-now))
			if err != nil {
				return nil, err
			}
			p.shortage.End()
			if err := s.open(ctx, conn, time.Duration(until-p.Now())); err != nil {
				conn.Close()
				return nil, plane.DialError(search.Channel().Key(), a.Addr, err)
			}
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
	return conn.(connection)
}

// open sends the channel what it is to have before anything of the client, and hears
// what it has to answer to that, within a time.
func (s *session) open(ctx context.Context, conn connection, within time.Duration) error {
	opening, agreed := s.search.Opening(nil, func() netip.AddrPort { return addrPortOf(s.client.LocalAddr()) })
	if len(opening) == 0 {
		return nil
	}
	conn.SetDeadline(time.Now().Add(within))
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := conn.Write(opening); err != nil {
		return bare(err)
	}
	if agreed {
		var answer [1]byte
		if _, err := io.ReadFull(conn, answer[:]); err != nil {
			return plane.Unagreed(bare(err))
		}
		if err := s.search.Agreed(answer[0]); err != nil {
			return err
		}
	}
	return conn.SetDeadline(time.Time{})
}

// bare returns an error without what package net tells around it.
func bare(err error) error {
	if told, ok := err.(*net.OpError); ok {
		return told.Err
	}
	return err
}

// dialAttempt connects to a unix socket, or to an address of TCP.
func dialAttempt(ctx context.Context, search *plane.Search, a plane.Attempt, timeout time.Duration) (connection, error) {
	channel := search.Channel().Key()
	if path, ok := channel.Unix(); ok {
		return dialUnix(ctx, channel, path)
	}
	source, transparent, err := search.Source(a)
	if err != nil {
		return nil, plane.DialError(channel, a.Addr, err)
	}
	conn, err := dialTCP(ctx, search.Service(), channel, origin{source, transparent}, a.Addr, timeout)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// dialUnix connects to the unix socket at a path, which comes to something at once.
func dialUnix(ctx context.Context, channel balancer.Key, path string) (connection, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, syscall.EAGAIN):
		return nil, plane.DialError(channel, netip.AddrPort{}, plane.ErrBacklog)
	case err != nil:
		return nil, err
	}
	return conn.(connection), nil
}

// origin is where a connection to a channel comes from.
type origin struct {
	source      netip.Addr // the zero Addr for any
	transparent bool       // the source is the client's, and need not be one of this machine
}

// prepare has a socket bound to the source, when package net does.
func (o origin) prepare(c syscall.RawConn) error {
	if o.transparent {
		if err := bindAnywhere(c, o.source.Is4()); err != nil {
			return err
		}
	}
	if o.source.IsValid() {
		return socket.BindWithoutPort(c)
	}
	return nil
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

func dialTCP(ctx context.Context, service *plane.Service, channel balancer.Key, from origin, addr netip.AddrPort, timeout time.Duration) (*net.TCPConn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a := &attempt{timeout: timeout, giveUp: cancel}
	defer a.end()
	dialer := net.Dialer{KeepAliveConfig: keepAliveConfig(service.KeepAlive)}
	if service.KeepAlive == 0 {
		dialer.KeepAlive = -1
	}
	if from.source.IsValid() {
		if from.source.Is4() != addr.Addr().Is4() {
			return nil, fmt.Errorf("dial %s from %s: %w", addr, from.source, syscall.EAFNOSUPPORT)
		}
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from.source, 0))
	}
	dialer.Control = func(_, _ string, c syscall.RawConn) error {
		a.begin(c)
		return from.prepare(c)
	}
	dialer.SetMultipathTCP(false)
	conn, err := dialer.DialContext(ctx, "tcp", addr.String())
	if err != nil && context.Cause(ctx) == os.ErrDeadlineExceeded {
		return nil, plane.DialError(channel, addr, os.ErrDeadlineExceeded)
	}
	if err != nil && noPort(err, addr, from.source) {
		return nil, plane.DialError(channel, addr, fmt.Errorf("%w: %w", plane.ErrNoPort, errors.Unwrap(err)))
	}
	if err != nil {
		return nil, err
	}
	tcp := conn.(*net.TCPConn)
	if local := tcp.LocalAddr().(*net.TCPAddr); local.AddrPort() == tcp.RemoteAddr().(*net.TCPAddr).AddrPort() {
		// Nobody was there, and connect picked the port that it dialled
		// (simultaneous open, RFC 9293, 3.5). Package net has dialled anew
		// twice by now. The reset frees that port for the server.
		closeByReset(tcp)
		return nil, plane.DialError(channel, addr, os.NewSyscallError("connect", syscall.ECONNREFUSED))
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
