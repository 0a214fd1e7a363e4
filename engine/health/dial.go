package health

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

// attemptDelay is how long the next address of a name waits for the one before
// (RFC 8305, 5).
const attemptDelay = 250 * time.Millisecond

// unaddressed is why one address could not be connected to.
type unaddressed struct {
	addr netip.AddrPort
	err  error
}

func (u *unaddressed) Error() string { return u.addr.String() + ": " + cause(u.err) }
func (u *unaddressed) Unwrap() error { return u.err }

// race connects to the first of the addresses that answers, as sessions do: they
// are begun in their order, each when the one before has failed or has not answered
// for a while. No call of dial is left when it returns.
func race(ctx context.Context, addrs []netip.AddrPort, dial func(ctx context.Context, addr netip.AddrPort) (net.Conn, error)) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	type outcome struct {
		conn net.Conn
		err  error
	}
	outcomes := make(chan outcome, len(addrs))
	begun, ended := 0, 0
	defer func() {
		cancel()
		for ; ended < begun; ended++ {
			if o := <-outcomes; o.err == nil {
				o.conn.Close()
			}
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var err error
	for {
		select {
		case <-timer.C:
			if begun == len(addrs) {
				continue
			}
			addr := addrs[begun]
			begun++
			go func() {
				conn, err := dial(ctx, addr)
				outcomes <- outcome{conn, err}
			}()
			timer.Reset(attemptDelay)
		case o := <-outcomes:
			ended++
			if o.err == nil {
				return o.conn, nil
			}
			err = plane.Undialled(err, o.err)
			if ended == len(addrs) {
				return nil, err
			}
			timer.Reset(0)
		}
	}
}

// dial connects to one address, and tells of that as a step.
func (v *visit) dial(ctx context.Context, addr netip.AddrPort, quick bool) (net.Conn, error) {
	began := time.Now()
	conn, err := dialAddr(ctx, addr, v.target.Source, quick)
	if err != nil {
		v.took("connect "+addr.String(), began, cause(err))
		return nil, &unaddressed{addr, err}
	}
	v.took("connect "+addr.String(), began, "connected")
	return conn, nil
}

// backlogPause is how often a unix socket is tried again whose queue is full.
const backlogPause = 50 * time.Millisecond

// dialUnix connects to the unix socket at a path, and tells of that as a step. While
// its queue is full connect fails (EAGAIN in connect(2)), where one of TCP waits.
func (v *visit) dialUnix(ctx context.Context, path string) (net.Conn, error) {
	var dialer net.Dialer
	began, name := time.Now(), "connect "+v.target.Host
	for {
		conn, err := dialer.DialContext(ctx, "unix", path)
		if err == nil {
			v.took(name, began, "connected")
			return conn, nil
		}
		if errors.Is(err, syscall.EAGAIN) {
			select {
			case <-time.After(backlogPause):
				continue
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		v.took(name, began, cause(err))
		outcome := outcomeOf(err)
		if errors.Is(err, syscall.ENOENT) {
			outcome = Refused
		}
		return nil, failed(outcome, "%s", cause(err))
	}
}

func dialAddr(ctx context.Context, addr netip.AddrPort, source netip.Addr, quick bool) (*net.TCPConn, error) {
	dialer := net.Dialer{KeepAlive: -1}
	if source.IsValid() {
		if source.Is4() != addr.Addr().Is4() {
			return nil, fmt.Errorf("dial from %s: %w", source, syscall.EAFNOSUPPORT)
		}
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	dialer.Control = func(_, _ string, c syscall.RawConn) error {
		if quick {
			holdAck(c)
		}
		if source.IsValid() {
			return socket.BindWithoutPort(c)
		}
		return nil
	}
	dialer.SetMultipathTCP(false)
	conn, err := dialer.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return nil, err
	}
	tcp := conn.(*net.TCPConn)
	if tcp.LocalAddr().(*net.TCPAddr).AddrPort() == tcp.RemoteAddr().(*net.TCPAddr).AddrPort() {
		// Nobody was there, and connect picked the port that it dialled
		// (simultaneous open, RFC 9293, 3.5).
		tcp.SetLinger(0)
		tcp.Close()
		return nil, os.NewSyscallError("connect", syscall.ECONNREFUSED)
	}
	if quick {
		tcp.SetLinger(0)
	}
	return tcp, nil
}
