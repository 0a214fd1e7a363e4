package plane

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"balance/engine/balancer"
)

// toldAddresses is how many failures the text of an error tells of.
const toldAddresses = 3

// Undialled adds why one address of a channel could not be connected to to what
// it returned for the addresses before, nil for the first. Of many addresses
// three are told, and the rest counted, so that neither the time that a loop
// spends on it nor the text grows with them. Of what is not told one failure for
// each syscall.Errno is kept, for those who ask for one (balancer.FailureOf,
// Exhausted).
func Undialled(before, err error) error {
	if before == nil {
		return err
	}
	several, ok := before.(*undialled)
	if !ok {
		several = &undialled{}
		several.add(before)
	}
	several.add(err)
	return several
}

// DialError is why one address of a channel could not be connected to.
func DialError(channel balancer.Key, addr netip.AddrPort, err error) error {
	if path, ok := channel.Unix(); ok {
		return &net.OpError{Op: "dial", Net: "unix", Addr: &net.UnixAddr{Name: path, Net: "unix"}, Err: err}
	}
	return &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(addr), Err: err}
}

// undialled is the failure of more than one address.
type undialled struct {
	told []error
	more int     // addresses that are not told
	kept []error // of them, the first with each syscall.Errno that nobody had before
}

func (u *undialled) add(err error) {
	if len(u.told) < toldAddresses {
		u.told = append(u.told, err)
		return
	}
	u.more++
	var errno syscall.Errno
	if errors.As(err, &errno) && !errors.Is(u, errno) {
		u.kept = append(u.kept, err)
	}
}

// Unwrap returns the failures that are told or kept, in their order.
func (u *undialled) Unwrap() []error { return slices.Concat(u.told, u.kept) }

func (u *undialled) Error() string {
	var text strings.Builder
	for i, err := range u.told {
		if i > 0 {
			text.WriteString("; ")
		}
		text.WriteString(err.Error())
	}
	if u.more > 0 {
		fmt.Fprintf(&text, "; and %d more", u.more)
	}
	return text.String()
}
