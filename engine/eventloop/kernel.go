//go:build linux

package eventloop

import (
	"fmt"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"balance/engine/plane"
)

// kernel is what a loop asks of the operating system, so that a test can play
// its part. No call but wait waits. An Errno of 0 stands for success.
type kernel interface {
	// poll returns the events that are there already.
	poll(epoll int32, events []unix.EpollEvent) (int, unix.Errno)
	// wait is poll, but waits for the first event, so many milliseconds at most,
	// or with -1 for ever.
	wait(epoll int32, events []unix.EpollEvent, timeout int) (int, unix.Errno)
	// wake is an event for the loop that has registered the eventfd.
	wake(event int)
	// listen registers a listening socket level-triggered, so that clients
	// beyond a batch are reported again, and exclusive: the kernel wakes one
	// loop that waits for a client, not all.
	listen(epoll, fd int32, t token) unix.Errno
	unlisten(epoll, fd int32)
	// accept takes a client from the queue of a listening socket.
	accept(fd int32) (client int32, peer netip.AddrPort, errno unix.Errno)
	// dial starts connecting from the source, which may be the zero Addr, or with
	// transparent an address that is not this machine's. Its errors are those of
	// system calls, and plane.ErrNoPort is in them.
	dial(to netip.AddrPort, source netip.Addr, transparent bool) (fd int32, err error)
	// dialUnix connects to a unix socket. It may fail with plane.ErrBacklog.
	dialUnix(path string) (fd int32, err error)
	// watch registers a connected or connecting socket for all its events,
	// edge-triggered.
	watch(epoll, fd int32, t token) unix.Errno
	// pending returns what the kernel has to say of a socket now, of
	// EPOLLOUT, EPOLLERR and EPOLLHUP.
	pending(fd int32) uint32
	// selfConnected reports whether a socket that is connected to the port is
	// its own peer.
	selfConnected(fd int32, port uint16) bool
	// socketError takes the pending error of a socket that has failed. It is
	// never 0.
	socketError(fd int32) unix.Errno
	recv(fd int32, into []byte) (int, unix.Errno)
	// look is recv, but leaves what it returns where it is.
	look(fd int32, into []byte) (int, unix.Errno)
	// local returns the address that a socket is bound to, the zero AddrPort for a
	// unix socket.
	local(fd int32) netip.AddrPort
	// peek returns 1 if there is something to read from a socket that has
	// failed. Otherwise it takes the pending error, which is then never 0.
	peek(fd int32) (int, unix.Errno)
	// unsent returns how many bytes written to a socket have not been sent.
	unsent(fd int32) uint32
	send(fd int32, from []byte) (int, unix.Errno)
	splice(from, to int32, most int) (int, unix.Errno)
	shutdown(fd int32) unix.Errno
	noDelay(fd int32)
	quickAck(fd int32) // sends the ACK that is held back
	keepAlive(fd int32, interval time.Duration)
	userTimeout(fd int32, timeout time.Duration) // as socket.SetUserTimeout
	close(fd int32)
	// reset closes a connection so that the peer sees a reset; that of a unix socket
	// sees an end of stream, unless there are bytes that were not read.
	reset(fd int32)
	pipe(size int) (r, w int32, ok bool)
}

// linux is the kernel. Its calls cannot block but for wait, so they go past the
// scheduler, which would otherwise be told of each.
type linux struct{}

// interest is what each socket is registered for, once. EPOLLPRI tells of
// urgent data, at which a read stops short (see side.urgent).
const interest = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLPRI | unix.EPOLLET

func (linux) dial(to netip.AddrPort, source netip.Addr, transparent bool) (int32, error) {
	var name sockaddr
	size, err := name.set(to)
	if err != nil {
		return -1, err
	}
	r, _, errno := unix.RawSyscall(unix.SYS_SOCKET, uintptr(name.family()), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if errno != 0 {
		return -1, os.NewSyscallError("socket", errno)
	}
	fd := int32(r)
	// The ACK that ends the handshake waits for the first data (tcp(7)).
	setInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0)
	if source.IsValid() {
		if err := bind(fd, source, to.Addr(), transparent); err != nil {
			linux{}.close(fd)
			return -1, err
		}
	}
	_, _, errno = unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&name)), size)
	if errno != 0 && errno != unix.EINPROGRESS {
		linux{}.close(fd)
		err := os.NewSyscallError("connect", errno)
		if errno == unix.EADDRNOTAVAIL && (source.IsValid() || hasSource(&name, size)) {
			return -1, fmt.Errorf("%w: %w", plane.ErrNoPort, err)
		}
		return -1, err
	}
	return fd, nil
}

// hasSource reports whether there is an address to connect from. The ports of
// UDP are others; that they may have run out too is not EADDRNOTAVAIL (ip(7)).
func hasSource(to *sockaddr, size uintptr) bool {
	fd, _, errno := unix.RawSyscall(unix.SYS_SOCKET, uintptr(to.family()), unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if errno != 0 {
		return false
	}
	defer linux{}.close(int32(fd))
	_, _, errno = unix.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(to)), size)
	return errno != unix.EADDRNOTAVAIL
}

func (linux) dialUnix(path string) (int32, error) {
	name := unix.RawSockaddrUnix{Family: unix.AF_UNIX}
	if len(path) >= len(name.Path) { // a zero ends it
		return -1, os.NewSyscallError("connect", unix.ENAMETOOLONG)
	}
	for i := range len(path) {
		name.Path[i] = int8(path[i])
	}
	r, _, errno := unix.RawSyscall(unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if errno != 0 {
		return -1, os.NewSyscallError("socket", errno)
	}
	fd := int32(r)
	_, _, errno = unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&name)), unsafe.Sizeof(name))
	if errno == 0 {
		return fd, nil
	}
	linux{}.close(fd)
	if errno == unix.EAGAIN { // where TCP says EINPROGRESS; but nothing is under way
		return -1, plane.ErrBacklog
	}
	return -1, os.NewSyscallError("connect", errno)
}

func bind(fd int32, source, to netip.Addr, transparent bool) error {
	if source.Is4() != to.Is4() {
		return os.NewSyscallError("bind", unix.EAFNOSUPPORT)
	}
	if transparent {
		level, option := uintptr(unix.SOL_IP), uintptr(unix.IP_TRANSPARENT)
		if source.Is6() {
			level, option = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
		}
		if errno := setInt(fd, level, option, 1); errno != 0 {
			return os.NewSyscallError("setsockopt", errno)
		}
	}
	var name sockaddr
	size, err := name.set(netip.AddrPortFrom(source, 0))
	if err != nil {
		return err
	}
	// The port is chosen by connect, which can use one that is taken for
	// another destination (ip(7)).
	setInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	_, _, errno := unix.RawSyscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&name)), size)
	if errno != 0 {
		return os.NewSyscallError("bind", errno)
	}
	return nil
}

func (linux) watch(epoll, fd int32, t token) unix.Errno {
	return control(epoll, unix.EPOLL_CTL_ADD, fd, interest, t)
}

func (linux) pending(fd int32) uint32 {
	poll := unix.PollFd{Fd: fd, Events: unix.POLLOUT} // the bits are those of epoll
	var now unix.Timespec
	unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&poll)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	return uint32(uint16(poll.Revents))
}

func (linux) selfConnected(fd int32, port uint16) bool {
	local, ok := addrOf(unix.SYS_GETSOCKNAME, fd)
	if !ok || local.Port() != port {
		return false
	}
	peer, ok := addrOf(unix.SYS_GETPEERNAME, fd)
	return ok && local == peer
}

// addrOf returns what getsockname or getpeername tells of a socket.
func addrOf(call uintptr, fd int32) (netip.AddrPort, bool) {
	var name sockaddr
	size := uint32(unsafe.Sizeof(name))
	_, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&name)), uintptr(unsafe.Pointer(&size)))
	return name.get(), errno == 0
}

// lowestPort returns the lowest port that connect picks for those who bind to
// none (ip_local_port_range in ip(7)), or 0 if the kernel does not tell.
func lowestPort() uint16 {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 0
	}
	var lowest uint16
	if _, err := fmt.Sscan(string(text), &lowest); err != nil {
		return 0
	}
	return lowest
}

func (linux) socketError(fd int32) unix.Errno {
	var value int32
	size := uint32(unsafe.Sizeof(value))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_ERROR,
		uintptr(unsafe.Pointer(&value)), uintptr(unsafe.Pointer(&size)), 0)
	if errno == 0 {
		errno = unix.Errno(value)
	}
	if errno == 0 {
		return unix.ECONNRESET // a call has taken the error before
	}
	return errno
}

func (linux) recv(fd int32, into []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(into))), uintptr(len(into)), 0, 0, 0)
	return int(n), errno
}

func (linux) look(fd int32, into []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(into))), uintptr(len(into)), unix.MSG_PEEK, 0, 0)
	return int(n), errno
}

func (linux) local(fd int32) netip.AddrPort {
	addr, _ := addrOf(unix.SYS_GETSOCKNAME, fd)
	return addr
}

func (l linux) peek(fd int32) (int, unix.Errno) {
	var b byte
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b)), 1, unix.MSG_PEEK, 0, 0)
	switch {
	case errno != 0:
		return 0, errno
	case n == 0:
		return 0, l.socketError(fd)
	}
	return 1, 0
}

// unsent does not count what is under way: a reset comes after that. What was written
// to a unix socket is with the receiver at once; there the call fails.
func (linux) unsent(fd int32) uint32 {
	var n int32
	unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCOUTQNSD, uintptr(unsafe.Pointer(&n)))
	return uint32(max(n, 0))
}

func (linux) send(fd int32, from []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(from))), uintptr(len(from)), unix.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

func (linux) splice(from, to int32, most int) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(most), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
	return int(n), errno
}

func (linux) shutdown(fd int32) unix.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0)
	return errno
}

// What these options are for is lost if they fail, but no byte: a connection
// that is gone says so at its next read.
func (linux) noDelay(fd int32)  { setInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) }
func (linux) quickAck(fd int32) { setInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) }

func (linux) keepAlive(fd int32, interval time.Duration) {
	if interval <= 0 {
		setInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0)
		return
	}
	seconds := int32((interval + time.Second - 1) / time.Second)
	setInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	setInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds)
	setInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, seconds)
}

func (linux) userTimeout(fd int32, timeout time.Duration) {
	setInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int32((timeout+time.Millisecond-1)/time.Millisecond))
}

func (linux) close(fd int32) { unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

func (l linux) reset(fd int32) {
	linger := unix.Linger{Onoff: 1}
	unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_LINGER,
		uintptr(unsafe.Pointer(&linger)), unsafe.Sizeof(linger), 0)
	l.close(fd)
}

// pipe fails for a user over the soft limit of pipe-user-pages-soft (pipe(7)):
// what he gets then holds too little to be of use.
func (l linux) pipe(size int) (r, w int32, ok bool) {
	var fds [2]int32
	if _, _, errno := unix.RawSyscall(unix.SYS_PIPE2, uintptr(unsafe.Pointer(&fds)), unix.O_NONBLOCK|unix.O_CLOEXEC, 0); errno != 0 {
		return -1, -1, false
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_FCNTL, uintptr(fds[1]), unix.F_SETPIPE_SZ, uintptr(size)); errno != 0 {
		l.close(fds[0])
		l.close(fds[1])
		return -1, -1, false
	}
	return fds[0], fds[1], true
}

func setInt(fd int32, level, option uintptr, value int32) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), level, option,
		uintptr(unsafe.Pointer(&value)), unsafe.Sizeof(value), 0)
	return errno
}

func (linux) accept(fd int32) (int32, netip.AddrPort, unix.Errno) {
	var name sockaddr
	size := uint32(unsafe.Sizeof(name))
	r, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&name)), uintptr(unsafe.Pointer(&size)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return -1, netip.AddrPort{}, errno
	}
	return int32(r), name.get(), 0
}

func control(epoll int32, op uintptr, fd int32, events uint32, t token) unix.Errno {
	event := unix.EpollEvent{Events: events, Fd: t.low, Pad: t.high}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(epoll), op, uintptr(fd), uintptr(unsafe.Pointer(&event)), 0, 0)
	return errno
}

func (linux) listen(epoll, fd int32, t token) unix.Errno {
	return control(epoll, unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN|unix.EPOLLEXCLUSIVE, t)
}

func (linux) unlisten(epoll, fd int32) { control(epoll, unix.EPOLL_CTL_DEL, fd, 0, token{}) }

func (linux) wake(event int) {
	unix.Write(event, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // cannot fail short of 2^64 times
}

func (linux) wait(epoll int32, events []unix.EpollEvent, timeout int) (int, unix.Errno) {
	n, err := unix.EpollWait(int(epoll), events, timeout)
	errno, _ := err.(unix.Errno)
	return n, errno
}

func (linux) poll(epoll int32, events []unix.EpollEvent) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
	return int(n), errno
}
