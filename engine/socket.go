package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"balance/engine/plane"
	"balance/engine/socket"
	"balance/engine/spec"
)

// sockets are listening sockets by the address that was asked for. A zero Addr
// stands for every address; port 0 for one that the kernel picked.
type sockets map[netip.AddrPort]*boundSocket

// boundSocket is a socket that the plane has adopted.
type boundSocket struct {
	*socket.Socket
	addr netip.AddrPort // that was asked for

	// Of a socket in force, guarded by Engine.reviewing:
	acceptor  plane.Acceptor
	refusing  bool // the acceptor has stopped
	reopening bool // it could not yet, and is tried again
}

// opening is a set of sockets that are opened beside others of this process.
// Exactly one of commit and abandon ends it.
type opening struct {
	engine   *Engine
	open     sockets        // serving; not written to
	retiring []*boundSocket // on their way out
	opened   sockets
	shared   []*boundSocket // older ones that are shareable for a while
	sharing  []*boundSocket // new ones that were bound beside them
}

// listen opens a socket for the address unless there is one that serves. While
// an older socket is bound to an overlapping address, both are shareable: the
// new one takes over what the old one still has, without a moment in which
// nobody listens.
func (o *opening) listen(ctx context.Context, addr netip.AddrPort) error {
	if o.open[addr] != nil || o.opened[addr] != nil {
		return nil
	}
	older := slices.AppendSeq(slices.Clone(o.retiring), maps.Values(o.open))
	overlapped := false
	for _, other := range older {
		if !addressesOverlap(addr, other.addr) {
			continue
		}
		if err := other.Share(true); err != nil {
			if errors.Is(err, net.ErrClosed) {
				continue // it has retired meanwhile
			}
			return fmt.Errorf("share %s: %w", other.addr, err)
		}
		o.shared = append(o.shared, other)
		overlapped = true
	}
	opened, err := o.engine.openSocket(ctx, addr, overlapped)
	if err != nil {
		return err
	}
	o.opened[addr] = opened
	if overlapped {
		o.sharing = append(o.sharing, opened)
	}
	return nil
}

func (e *Engine) openSocket(ctx context.Context, addr netip.AddrPort, shared bool) (*boundSocket, error) {
	opened, err := e.open(ctx, addr, shared)
	if err != nil {
		return nil, err
	}
	acceptor, err := e.plane.Adopt(opened)
	if err != nil {
		opened.Close()
		return nil, err
	}
	return &boundSocket{Socket: opened, addr: addr, acceptor: acceptor}, nil
}

// commit forbids sharing again.
func (o *opening) commit() error {
	var errs []error
	for _, shared := range append(o.shared, o.sharing...) {
		if err := shared.Share(false); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// abandon closes what was opened. A new socket that overlaps one that serves
// may have clients in its queue already; they are served as before.
func (e *Engine) abandon(old *state, o *opening) error {
	var retired sync.WaitGroup
	for addr, opened := range o.opened {
		if l := old.overlapping(addr); l != nil {
			opened.acceptor.Serve(l.shared)
			e.retire(opened, &retired)
		} else {
			opened.acceptor.Stop()
			opened.Close()
		}
	}
	return o.commit()
}

// overlapping returns the listener with a socket that has clients in common
// with one at addr, or nil.
func (s *state) overlapping(addr netip.AddrPort) *listener {
	for _, l := range s.listeners {
		for _, other := range l.addrs {
			if addressesOverlap(addr, other) {
				return l
			}
		}
	}
	return nil
}

// addressesOverlap reports whether sockets at a and b have clients in common.
func addressesOverlap(a, b netip.AddrPort) bool {
	return a.Port() != 0 && a.Port() == b.Port() && spec.Overlap(hostOf(a), hostOf(b))
}

func hostOf(addr netip.AddrPort) string {
	if !addr.Addr().IsValid() {
		return ""
	}
	return addr.Addr().String()
}

// unavailable reports whether an address that a name stands for does not exist
// on this machine, such as ::1 of localhost where IPv6 is off.
func unavailable(err error) bool {
	return errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)
}
