//go:build !linux

package health

import (
	"net/netip"
	"syscall"
	"time"
)

// connector is not there: checks that only connect are made like all others.
type connector struct{}

type attempt struct {
	target *target
	addr   netip.AddrPort
	began  time.Time
}

func newConnector(func(*attempt, error)) *connector { return nil }

func (*connector) begin([]*attempt) bool { return false }
func (*connector) cancel(*attempt)       {}
func (*connector) close()                {}
func (*connector) closeSpare()           {}

func holdAck(syscall.RawConn) {}
