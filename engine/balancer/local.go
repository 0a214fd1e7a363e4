package balancer

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
)

// ErrTooLate is wrapped by the error of an attempt that was given up, as the time
// that its client has for all attempts was over, and not that of the channel.
var ErrTooLate = errors.New("the client's time was over")

// ErrDisagrees is wrapped by the error of an attempt whose channel was connected to, and
// does not want what its client has asked for. Whoever comes may ask for it: so it is
// not held against the channel.
var ErrDisagrees = errors.New("the channel does not agree")

// Local reports whether a failure to connect says something about this
// machine (no descriptor, port, memory or permission left, an unusable source
// address, a cancelled attempt, a time cut short) and nothing about the channel.
func Local(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, ErrTooLate) {
		return true
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) || prohibited(err) {
		return false
	}
	switch errno {
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.ENOSPC,
		syscall.EADDRNOTAVAIL, syscall.EADDRINUSE, syscall.EACCES, syscall.EPERM,
		syscall.EAFNOSUPPORT, syscall.EINVAL:
		return true
	}
	return false
}

// prohibited reports whether somebody on the way has rejected the packets: Linux
// makes EACCES of what ICMPv6 calls administratively prohibited (tab_unreach in its
// net/ipv6/icmp.c), where IPv4 has EHOSTUNREACH.
func prohibited(err error) bool {
	var call *os.SyscallError
	var op *net.OpError
	if !errors.As(err, &call) || call.Syscall != "connect" || call.Err != syscall.EACCES || !errors.As(err, &op) {
		return false
	}
	addr, ok := op.Addr.(*net.TCPAddr)
	return ok && addr.IP.To4() == nil
}
