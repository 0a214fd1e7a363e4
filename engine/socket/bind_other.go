//go:build !linux

package socket

import "syscall"

// BindWithoutPort does nothing here.
func BindWithoutPort(syscall.RawConn) error { return nil }
