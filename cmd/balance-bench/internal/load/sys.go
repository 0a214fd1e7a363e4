//go:build linux

package load

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stallTimeout is how long a generator waits for any event before it gives
// its cell up.
const stallTimeout = 5 * time.Second

// quietRuntime readies a child process for loops that block in RawSyscall,
// which hold a P and would hold a collection up for ever: each gets a P of
// its own and the collector is off. What a child allocates is bounded by the
// length of a cell.
func quietRuntime(loops int) {
	debug.SetGCPercent(-1)
	runtime.GOMAXPROCS(loops + 1)
}

// epoch is where the monotonic nanoseconds of now start.
var epoch = time.Now()

func now() int64 { return int64(time.Since(epoch)) }

// epollWait waits at most timeout for events; a negative timeout waits for
// ever. It blocks in RawSyscall, which spares each wake-up the way through
// the Go scheduler: only for processes that have called quietRuntime.
// It needs epoll_pwait2, Linux 5.11.
func epollWait(ep int, events []unix.EpollEvent, timeout time.Duration) (int, error) {
	deadline := now() + int64(timeout)
	var limit *unix.Timespec
	for {
		if timeout >= 0 {
			ts := unix.NsecToTimespec(max(0, deadline-now()))
			limit = &ts
		}
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(ep),
			uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)),
			uintptr(unsafe.Pointer(limit)), 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR: // the runtime signals threads that hold a P for long
		default:
			return 0, os.NewSyscallError("epoll_pwait2", errno)
		}
	}
}

// receive reads from a non-blocking socket. With flags MSG_TRUNC the kernel
// discards the bytes instead of copying them (tcp(7)).
func receive(fd int, b []byte, flags int) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
		uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// send writes to a non-blocking socket; it may take only a part of b.
func send(fd int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd),
		uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// again reports whether err only says that the socket is not ready.
func again(err error) bool { return err == syscall.EAGAIN }

// dial starts a connection and does not wait for it. Over loopback it is
// usually established when dial returns. It comes from the address from, or
// from one that the kernel picks if that is nil.
func dial(to, from *unix.SockaddrInet4) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if from != nil {
		// The port is chosen by connect, which lets two connections have the same
		// (ip(7), IP_BIND_ADDRESS_NO_PORT).
		err := os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1))
		if err == nil {
			err = os.NewSyscallError("bind", unix.Bind(fd, from))
		}
		if err != nil {
			unix.Close(fd)
			return -1, err
		}
	}
	if err := unix.Connect(fd, to); err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return -1, os.NewSyscallError("connect", err)
	}
	return fd, nil
}

// watch registers fd with the level-triggered events, which arrive marked
// with key.
func watch(ep, fd int, events uint32, key int) error {
	return os.NewSyscallError("epoll_ctl",
		unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(key)}))
}

// rewatch changes the events of a registered fd.
func rewatch(ep, fd int, events uint32, key int) error {
	return os.NewSyscallError("epoll_ctl",
		unix.EpollCtl(ep, unix.EPOLL_CTL_MOD, fd, &unix.EpollEvent{Events: events, Fd: int32(key)}))
}

// socketAddress makes an IPv4 "host:port" into what connect takes.
func socketAddress(address string) (*unix.SockaddrInet4, error) {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	if !ap.Addr().Is4() {
		return nil, fmt.Errorf("address %q is not IPv4", address)
	}
	return &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}, nil
}
