package balancer

import (
	"context"
	"errors"
	"syscall"
)

// Local reports whether a failure to connect says something about this
// machine (no descriptor, port, memory or permission left, an unusable source
// address, a cancelled attempt) and nothing about the channel.
func Local(err error) bool {
	if errors.Is(err, context.Canceled) {
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
