//go:build linux

package eventloop

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockaddr is an address in the kernel's form, large enough for both
// families. The IPv4 form is a prefix in another layout; both begin with the
// family in the byte order of the machine and the port in that of the network.
type sockaddr unix.RawSockaddrInet6

func (a *sockaddr) family() uint16 { return a.Family }

func (a *sockaddr) four() *unix.RawSockaddrInet4 {
	return (*unix.RawSockaddrInet4)(unsafe.Pointer(a))
}

// set fills in an address and returns the size of its form.
func (a *sockaddr) set(addr netip.AddrPort) (size uintptr, err error) {
	ip := addr.Addr()
	port := networkOrder(addr.Port())
	if ip.Is4() {
		*a.four() = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port, Addr: ip.As4()}
		return unix.SizeofSockaddrInet4, nil
	}
	scope, err := scopeOf(ip.Zone())
	if err != nil {
		return 0, fmt.Errorf("zone of %s: %w", ip, err)
	}
	*a = sockaddr{Family: unix.AF_INET6, Port: port, Addr: ip.As16(), Scope_id: scope}
	return unix.SizeofSockaddrInet6, nil
}

// get returns the address; one of IPv4 as such, even if it came by IPv6, and that of
// a unix socket as the zero AddrPort.
func (a *sockaddr) get() netip.AddrPort {
	port := networkOrder(a.Port)
	switch a.Family {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4(a.four().Addr), port)
	case unix.AF_UNIX:
		return netip.AddrPort{}
	}
	ip := netip.AddrFrom16(a.Addr).Unmap()
	if a.Scope_id != 0 {
		ip = ip.WithZone(strconv.Itoa(int(a.Scope_id)))
	}
	return netip.AddrPortFrom(ip, port)
}

// networkOrder turns a port from the byte order of the machine into that of
// the network, and back.
func networkOrder(port uint16) uint16 {
	var bytes [2]byte
	binary.BigEndian.PutUint16(bytes[:], port)
	return binary.NativeEndian.Uint16(bytes[:])
}

// scopeOf returns the number of a network interface, given as such or by name.
func scopeOf(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	device, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, err
	}
	return uint32(device.Index), nil
}
