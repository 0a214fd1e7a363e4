//go:build !linux

package portable

import (
	"errors"
	"syscall"
)

// bindAnywhere returns errors.ErrUnsupported.
func bindAnywhere(syscall.RawConn, bool) error { return errors.ErrUnsupported }
