package balancer

import (
	"context"
	"errors"
	"syscall"
)

// ErrTooLate is wrapped by the error of an attempt that was given up, as the time
// that its client has for all attempts was over, and not that of the channel.
var ErrTooLate = errors.New("the client's time was over")

// Local reports whether a failure to connect says something about this
// machine (no descriptor, port, memory or permission left, an unusable source
// address, a cancelled attempt, a time cut short) and nothing about the channel.
func Local(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, ErrTooLate) {
		return true
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) {
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
