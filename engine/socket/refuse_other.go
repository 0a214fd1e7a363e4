//go:build !linux

package socket

import (
	"errors"
	"syscall"
)

// refuse is not to be had: elsewhere shutdown fails with ENOTCONN, and a socket
// that listens does so until it is closed.
func refuse(syscall.RawConn) error { return errors.ErrUnsupported }

func listenAgain(syscall.RawConn) error { return nil }
