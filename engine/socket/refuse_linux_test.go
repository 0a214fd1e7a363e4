package socket

import (
	"errors"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// A daemon that has given up its privileges opens its door again, to a port that
// it could not be bound to any more, too.
func TestRefuseWithoutPrivileges(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("skipped: only root has a port below 1024")
	}
	var s *Socket
	for port := uint16(1023); s == nil; port-- {
		opened, err := Open(t.Context(), netip.AddrPortFrom(loopback.Addr(), port), false)
		if err == nil {
			s = opened
		} else if port == 900 || !errors.Is(err, unix.EADDRINUSE) {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { s.Close() })
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // it ends with the goroutine, and its capabilities are its own
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			failed <- err
			return
		}
		failed <- errors.Join(s.Refuse(true), s.Refuse(false))
	}()
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	dial(t, s)
}
