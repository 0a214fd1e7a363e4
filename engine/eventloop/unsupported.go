//go:build !linux

package eventloop

import (
	"errors"
	"fmt"

	"balance/engine/plane"
)

// Plane is a plane.Plane on Linux.
type Plane struct{ plane.Plane }

// New fails: event loops need Linux.
func New(plane.Options, int) (*Plane, error) {
	return nil, fmt.Errorf("event loops: %w", errors.ErrUnsupported)
}
