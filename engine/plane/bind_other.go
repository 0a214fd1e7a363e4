//go:build !linux

package plane

import "syscall"

// BindWithoutPort does nothing here.
func BindWithoutPort(syscall.RawConn) error { return nil }
