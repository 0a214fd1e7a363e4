//go:build linux

package load

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// The first byte of a connection tells the backend what to do with it.
const (
	modeEcho   = 'e' // sends back what it reads, that byte included
	modeSink   = 's' // reads and discards
	modeSource = 'd' // sends until the connection breaks
	modeWork   = 'w' // is served, by servers of unequal speed only
)

const (
	// backendBuffer is what one read or write moves at most.
	backendBuffer = 256 << 10
)

// backend is one server process: one epoll loop that listens, echoes, drains
// and floods. Descriptors are their own keys, 0 is the listening socket.
type backend struct {
	ep, listener int
	peers        []backendPeer // by descriptor
	buffer       []byte
}

type backendPeer struct {
	mode byte
	// waiting is what an echo has not yet got rid of; while there is some,
	// nothing more is read.
	waiting []byte
}

// serveBackend listens on a loopback port that the kernel picks, writes the
// address as one line to out and serves until the process is killed.
func serveBackend(out io.Writer) error {
	runtime.LockOSThread()
	quietRuntime(1)
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	// Accepted sockets inherit it.
	if err := unix.SetsockoptInt(listener, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(listener, Backlog); err != nil {
		return os.NewSyscallError("listen", err)
	}
	name, err := unix.Getsockname(listener)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if err := watch(ep, listener, unix.EPOLLIN, 0); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "127.0.0.1:%d\n", name.(*unix.SockaddrInet4).Port); err != nil {
		return err
	}
	b := &backend{ep: ep, listener: listener, buffer: bytes.Repeat([]byte("balance."), backendBuffer/8)}
	return b.run()
}

func (b *backend) run() error {
	events := make([]unix.EpollEvent, 256)
	for {
		n, err := epollWait(b.ep, events, -1)
		if err != nil {
			return err
		}
		for _, ev := range events[:n] {
			if ev.Fd == 0 {
				if err := b.accept(); err != nil {
					return err
				}
			} else if !b.serve(int(ev.Fd), ev.Events) {
				b.peers[ev.Fd] = backendPeer{waiting: b.peers[ev.Fd].waiting[:0]}
				unix.Close(int(ev.Fd))
			}
		}
	}
}

func (b *backend) accept() error {
	for {
		fd, _, err := unix.Accept4(b.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
		case unix.EAGAIN:
			return nil
		case unix.ECONNABORTED, unix.EINTR:
			continue
		default:
			return os.NewSyscallError("accept4", err)
		}
		for fd >= len(b.peers) {
			b.peers = append(b.peers, backendPeer{})
		}
		if err := watch(b.ep, fd, unix.EPOLLIN, fd); err != nil {
			return err
		}
	}
}

// serve does one turn of a connection and reports whether it goes on.
func (b *backend) serve(fd int, ready uint32) bool {
	p := &b.peers[fd]
	if ready&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		return false
	}
	if ready&unix.EPOLLOUT != 0 {
		if p.mode == modeSource {
			return b.flood(fd)
		}
		return b.flush(fd, p)
	}
	flags := 0
	if p.mode == modeSink {
		flags = unix.MSG_TRUNC
	}
	n, err := receive(fd, b.buffer, flags)
	if err != nil {
		return again(err)
	}
	if n == 0 {
		return false
	}
	if p.mode == 0 {
		p.mode = b.buffer[0]
	}
	switch p.mode {
	case modeEcho:
		return b.echo(fd, p, b.buffer[:n])
	case modeSink:
		return true
	case modeSource:
		return rewatch(b.ep, fd, unix.EPOLLOUT, fd) == nil
	}
	return false
}

func (b *backend) echo(fd int, p *backendPeer, data []byte) bool {
	n, err := send(fd, data)
	if err != nil && !again(err) {
		return false
	}
	if n == len(data) {
		return true
	}
	p.waiting = append(p.waiting[:0], data[n:]...)
	return rewatch(b.ep, fd, unix.EPOLLOUT, fd) == nil
}

func (b *backend) flush(fd int, p *backendPeer) bool {
	n, err := send(fd, p.waiting)
	if err != nil {
		return again(err)
	}
	p.waiting = p.waiting[:copy(p.waiting, p.waiting[n:])]
	if len(p.waiting) > 0 {
		return true
	}
	return rewatch(b.ep, fd, unix.EPOLLIN, fd) == nil
}

// flood sends a bounded amount, so that streams take turns.
func (b *backend) flood(fd int) bool {
	for range 4 {
		n, err := send(fd, b.buffer)
		if err != nil {
			return again(err)
		}
		if n < len(b.buffer) {
			return true
		}
	}
	return true
}
