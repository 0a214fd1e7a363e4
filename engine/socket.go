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

// sockets are listening sockets by the address that was asked for, with port 0 for one
// that the kernel picked.
type sockets map[socket.Address]*boundSocket

// boundSocket is a socket that the plane has adopted.
type boundSocket struct {
	*socket.Socket
	addr socket.Address // that was asked for

	// Of a socket in force, guarded by Engine.reviewing:
	acceptor  plane.Acceptor
	refusing  bool // the acceptor has stopped
	reopening bool // it could not yet, and is tried again
}

// reachable returns the sockets without those that nobody can come to any more, as their
// file was removed or replaced, and these. They are opened anew.
func (s sockets) reachable(ctx context.Context) (sockets, []*boundSocket) {
	var lost []*boundSocket
	for _, bound := range s {
		if bound.Lost(ctx) {
			lost = append(lost, bound)
		}
	}
	if len(lost) == 0 {
		return s, nil
	}
	left := maps.Clone(s)
	for _, bound := range lost {
		delete(left, bound.addr)
	}
	return left, lost
}

// opening is a set of sockets that are opened beside others of this process.
// Exactly one of commit and abandon ends it.
type opening struct {
	engine   *Engine
	open     sockets        // serving, and to go on; not written to
	retiring []*boundSocket // on their way out, or about to be
	opened   sockets
	shared   []*boundSocket // older ones that are shareable for a while
	sharing  []*boundSocket // new ones that were bound beside them
	remade   []remade       // of those that serve
}

// remade is a unix socket whose file is made otherwise than it was.
type remade struct {
	*boundSocket
	before socket.File
}

// listen opens a socket for the address unless there is one that serves. While
// an older socket is bound to an overlapping address, both are shareable: the
// new one takes over what the old one still has, without a moment in which
// nobody listens. The file is that of a unix socket.
func (o *opening) listen(ctx context.Context, addr socket.Address, file socket.File) error {
	if o.opened[addr] != nil {
		return nil
	}
	if serving := o.open[addr]; serving != nil {
		return o.remake(serving, file)
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
	opened, err := o.engine.openSocket(ctx, addr, file, overlapped)
	if err != nil {
		return err
	}
	o.opened[addr] = opened
	if overlapped {
		o.sharing = append(o.sharing, opened)
	}
	return nil
}

// remake has the file of a unix socket that serves made as it is to be now.
func (o *opening) remake(serving *boundSocket, file socket.File) error {
	before := serving.File()
	if _, isUnix := serving.addr.Unix(); !isUnix || file == before {
		return nil
	}
	if err := serving.SetFile(file); err != nil {
		return err
	}
	o.remade = append(o.remade, remade{serving, before})
	return nil
}

func (e *Engine) openSocket(ctx context.Context, addr socket.Address, file socket.File, shared bool) (*boundSocket, error) {
	open := func() (*socket.Socket, error) { return e.open(ctx, addr.TCP, shared) }
	if path, isUnix := addr.Unix(); isUnix {
		open = func() (*socket.Socket, error) { return socket.OpenUnix(ctx, path, file) }
	}
	opened, err := open()
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

// abandon closes what was opened, and makes files what they were. A new socket that overlaps one that serves
// may have clients in its queue already; they are served as before.
func (e *Engine) abandon(old *state, o *opening) error {
	for _, r := range o.remade {
		if err := r.SetFile(r.before); err != nil {
			e.log.Warn("the file of a socket is not made as before", "error", err)
		}
	}
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
func (s *state) overlapping(addr socket.Address) *listener {
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
func addressesOverlap(a, b socket.Address) bool {
	if a.Path != "" || b.Path != "" {
		return a == b
	}
	return a.TCP.Port() != 0 && a.TCP.Port() == b.TCP.Port() && spec.Overlap(hostOf(a.TCP), hostOf(b.TCP))
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
