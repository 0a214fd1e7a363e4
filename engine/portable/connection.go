package portable

import (
	"net"
	"net/netip"
	"syscall"
	"time"

	"balance/engine/socket"
)

// connection is one to a client or to a channel: a *net.TCPConn or a *net.UnixConn.
type connection interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

// closeByReset closes a connection with a reset. A unix socket has none: its peer
// gets what was sent, then an end of stream; or, if not all was read that it has
// sent, ECONNRESET where the system says so (unix_release_sock in Linux).
func closeByReset(conn connection) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}

// addrPortOf returns the address of one end of a connection, which is not valid for
// a unix socket.
func addrPortOf(addr net.Addr) netip.AddrPort {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	at := tcp.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// keepAlive sets the probing of a connection, if it is one of TCP; one that is gone
// already says so at its first read.
func keepAlive(conn connection, interval time.Duration) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetKeepAliveConfig(keepAliveConfig(interval))
	}
}

func keepAliveConfig(interval time.Duration) net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: interval > 0, Idle: interval, Interval: interval}
}

// userTimeout bounds how long a new connection may be stuck, if it is one of TCP.
func userTimeout(conn connection, timeout time.Duration) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok || timeout == 0 {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		socket.SetUserTimeout(raw, timeout)
	}
}
