//go:build !linux

package planetest

import "testing"

func ownNetwork(t *testing.T) bool {
	t.Skip("no network namespaces here")
	return false
}

func onlyPort(*testing.T, uint16) {}

func noIPv6(*testing.T) {}
