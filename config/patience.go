package config

import (
	"context"
	"time"

	"balance/patience"
)

// lookPatience is apart from readPatience, so that a watch that hangs does not
// keep the operator from reading another file.
var (
	readPatience = patience.New(5*time.Second, 8)
	lookPatience = patience.New(5*time.Second, 4)
)

// Within is patience.Within for what attempt does with a file beside the
// configuration. It gives up after five seconds.
func Within[T any](ctx context.Context, attempt func() (T, error)) (T, error) {
	return patience.Within(ctx, readPatience, attempt)
}
