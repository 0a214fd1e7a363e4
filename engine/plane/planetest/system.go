package planetest

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"balance/engine/socket"
)

// openDescriptors counts the descriptors of the process, or returns 0 where
// the system does not list them.
func openDescriptors(t testing.TB) int {
	t.Helper()
	dir := "/dev/fd"
	if runtime.GOOS == "linux" {
		dir = "/proc/self/fd"
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	return len(entries)
}

// bindOnly returns an address that refuses connections until the test ends.
func bindOnly(t testing.TB) netip.AddrPort {
	t.Helper()
	fd := bound(t)
	return name(t, fd)
}

// blackhole returns an address that answers no connection attempt: its queue
// is full, so the kernel drops what comes.
func blackhole(t testing.TB) netip.AddrPort {
	t.Helper()
	addr, _ := silent(t)
	return addr
}

// silent returns a blackhole and its socket. It answers who tries again once
// somebody accepts from that.
func silent(t testing.TB) (netip.AddrPort, int) {
	t.Helper()
	fd := bound(t)
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	addr := name(t, fd)
	for range 4 { // more than a backlog of 0 takes, which is system dependent
		filler, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(filler) })
		unix.SetNonblock(filler, true)
		unix.Connect(filler, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()})
	}
	return addr, fd
}

func bound(t testing.TB) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	return fd
}

func name(t testing.TB, fd int) netip.AddrPort {
	t.Helper()
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	in := sa.(*unix.SockaddrInet4)
	return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port))
}

// urge sends a byte of urgent data.
func urge(t testing.TB, conn *net.TCPConn) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Error(err)
		return
	}
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		sent = unix.Sendto(int(fd), []byte("!"), unix.MSG_OOB, nil)
		return sent != unix.EAGAIN
	})
	if err != nil || sent != nil {
		t.Errorf("urgent data cannot be sent: %v, %v", err, sent)
	}
}

// receiveBuffer sets the receive buffer of the connections that a socket accepts.
func receiveBuffer(t testing.TB, s *socket.Socket, size int) {
	t.Helper()
	set := func(fd uintptr) {
		if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, size); err != nil {
			t.Error(err)
		}
	}
	if l := s.Listener(); l != nil {
		raw, err := l.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(set)
		return
	}
	fd, err := s.Descriptor()
	if err != nil {
		t.Fatal(err)
	}
	set(uintptr(fd))
}

// unacknowledged returns how many bytes the peer's kernel does not have yet.
func unacknowledged(conn *net.TCPConn) (n int) {
	if raw, err := conn.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCOUTQ) })
	}
	return n
}

// limitDescriptors leaves room for so many more descriptors until the
// returned function is called.
func limitDescriptors(t testing.TB, room int) (restore func()) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	low := limit
	assign(&low.Cur, highestDescriptor(t)+1+room)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	restore = func() { unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) }
	t.Cleanup(restore)
	return restore
}

// assign hides that a limit is signed on some systems.
func assign[T int64 | uint64](to *T, value int) { *to = T(value) }

// highestDescriptor fills the gaps below it for the rest of the test, so that
// a limit counts.
func highestDescriptor(t testing.TB) int {
	t.Helper()
	highest := openDescriptors(t)
	for {
		fd, err := unix.Dup(2)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		if fd >= highest {
			return fd
		}
	}
}
