//go:build !linux

package socket

import (
	"errors"
	"fmt"
	"runtime"
)

// CheckTransparent returns why this process cannot give a socket an address that is not
// this machine's.
func CheckTransparent() error { return fmt.Errorf("%s: %w", runtime.GOOS, errors.ErrUnsupported) }
