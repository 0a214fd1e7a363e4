package socket

import (
	"math"
	"syscall"

	"golang.org/x/sys/unix"
)

// refuse takes a listening socket out of the kernel's search, so that a client
// is answered as if nobody listened, and resets those in its queue. What is
// bound stays so if it was asked for, but a port that the kernel picked is given
// up (inet_shutdown in net/ipv4/af_inet.c disconnects a listening socket:
// tcp_disconnect and tcp_set_state in net/ipv4/tcp.c with SOCK_BINDPORT_LOCK).
//
// With SO_REUSEADDR, which package net sets, others could be bound to the address
// of a socket that does not listen (socket(7)). Connections that are accepted
// inherit the option, and those that lack it would keep the socket from
// listening again: so nobody may accept after it was cleared, and listenAgain
// sets it first.
func refuse(conn syscall.RawConn) error {
	if err := reuse(conn, 0); err != nil {
		return err
	}
	err := control(conn, "shutdown", func(fd int) error { return unix.Shutdown(fd, unix.SHUT_RD) })
	if err != nil {
		reuse(conn, 1)
	}
	return err
}

// listenAgain ends what refuse began.
func listenAgain(conn syscall.RawConn) error {
	if err := reuse(conn, 1); err != nil {
		return err
	}
	// The kernel takes as many into the queue as net.core.somaxconn says at most,
	// which is what package net asks for (listen(2)).
	err := control(conn, "listen", func(fd int) error { return unix.Listen(fd, math.MaxInt32) })
	if err != nil {
		reuse(conn, 0)
	}
	return err
}

func reuse(conn syscall.RawConn, on int) error {
	return control(conn, "setsockopt", func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, on)
	})
}
