//go:build !linux

package plane

import (
	"syscall"
	"time"
)

// SetUserTimeout does nothing here.
func SetUserTimeout(syscall.RawConn, time.Duration) error { return nil }
