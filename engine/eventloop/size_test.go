//go:build linux

package eventloop

import (
	"testing"
	"unsafe"
)

// Sessions are many, and most of them are idle.
func TestSessionIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(session{}); size > 272 {
		t.Errorf("a session has %d bytes, 272 were enough", size)
	}
}
