package health

import (
	"context"
	"encoding/binary"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// connector makes the checks that only connect to one address, without a goroutine
// and, where the server is on this machine, in little more than two system calls:
// it has sockets that do not wait and connects them; once they are connected it
// resets and uses them again (connect to AF_UNSPEC in connect(2)). What has not come
// to anything at once waits in an epoll of the connector's own.
//
// The server sees no connection: the last ACK of the handshake is held back and the
// reset comes in its place, so that there is nothing to accept. TCP_DEFER_ACCEPT
// does that on the side that connects, like TCP_QUICKACK (tcp(7)), but a reset does
// not have it forgotten (tcp_rcv_synsent_state_process and tcp_disconnect in Linux). It counts as a failed attempt in the statistics of the
// server's TCP. A server that does not accept any more passes as long as there is
// room in the queue of its socket.
type connector struct {
	concluded func(*attempt, error)
	epoll     *os.File
	conn      syscall.RawConn // of epoll
	picked    uint16          // the lowest port that connect picks
	collector sync.WaitGroup

	// Of begin, which one goroutine calls:

	polled []unix.PollFd
	begun  []*attempt // one for each of polled
	spare  [2][]int   // sockets of IPv4 and IPv6; at most maxRunning, see trim

	mu      sync.Mutex
	pending map[int32]*attempt // guarded by mu; by descriptor; at most maxRunning
	armed   time.Time          // guarded by mu; when the collector wakes up for those whose time is over
	closed  bool               // guarded by mu
}

// attempt is a check under way. Whoever takes it out of pending closes its socket.
type attempt struct {
	target   *target
	addr     netip.AddrPort
	began    time.Time
	deadline time.Time
	fd       int
}

// newConnector returns a connector that tells concluded what came of each attempt;
// nil if the system has no epoll left.
func newConnector(concluded func(*attempt, error)) *connector {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil
	}
	if unix.SetNonblock(fd, true) != nil { // so that package os waits for it with its own
		unix.Close(fd)
		return nil
	}
	c := &connector{concluded: concluded, epoll: os.NewFile(uintptr(fd), "epoll"), picked: lowestPort(), pending: map[int32]*attempt{}}
	if c.conn, err = c.epoll.SyscallConn(); err != nil {
		c.epoll.Close()
		return nil
	}
	c.collector.Go(c.collect)
	return c
}

// close gives up all attempts.
func (c *connector) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.epoll.Close()
	c.collector.Wait()
	for fd := range c.pending {
		unix.Close(int(fd))
	}
}

// closeSpare closes the sockets that begin has left. It must not be called any
// more.
func (c *connector) closeSpare() {
	for _, fds := range c.spare {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
}

// begin begins attempts, and reports whether some have come to their end. A server
// on this machine has answered by the time that connect returns, though that does
// not say so: one poll asks for all.
func (c *connector) begin(attempts []*attempt) (concluded bool) {
	c.polled, c.begun = c.polled[:0], c.begun[:0]
	for _, a := range attempts {
		a.began = time.Now()
		a.deadline = a.began.Add(a.target.Check.Timeout)
		if err := c.connect(a); err != nil {
			c.concluded(a, err)
			concluded = true
			continue
		}
		c.polled = append(c.polled, unix.PollFd{Fd: int32(a.fd), Events: unix.POLLOUT})
		c.begun = append(c.begun, a)
	}
	if len(c.polled) > 0 {
		unix.Poll(c.polled, 0)
	}
	c.trim(len(c.polled))
	for i, a := range c.begun {
		events := c.polled[i].Revents
		if events == 0 {
			if err := c.await(a); err != nil {
				unix.Close(a.fd)
				c.concluded(a, err)
				concluded = true
			}
			continue
		}
		err := c.outcome(a, events&^unix.POLLOUT != 0)
		c.reuse(a)
		c.concluded(a, err)
		concluded = true
	}
	clear(c.begun)
	return concluded
}

// connect takes a socket and begins to connect it. With an error it leaves none
// behind.
func (c *connector) connect(a *attempt) error {
	ip, source := a.addr.Addr(), a.target.Source
	if spare := c.spare[six(ip)]; len(spare) > 0 && !source.IsValid() {
		a.fd = spare[len(spare)-1]
		c.spare[six(ip)] = spare[:len(spare)-1]
	} else {
		family := [2]int{unix.AF_INET, unix.AF_INET6}[six(ip)]
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		a.fd = fd
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 1)
		if source.IsValid() {
			if err := bind(fd, ip, source); err != nil {
				unix.Close(fd)
				return err
			}
		}
	}
	var errno unix.Errno
	if ip.Is4() {
		to := unix.RawSockaddrInet4{Family: unix.AF_INET, Port: networkOrder(a.addr.Port()), Addr: ip.As4()}
		errno = connect(a.fd, unsafe.Pointer(&to), unsafe.Sizeof(to))
	} else {
		to := unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: networkOrder(a.addr.Port()), Addr: ip.As16()}
		errno = connect(a.fd, unsafe.Pointer(&to), unsafe.Sizeof(to))
	}
	if errno != 0 && errno != unix.EINPROGRESS {
		unix.Close(a.fd)
		return os.NewSyscallError("connect", errno)
	}
	return nil
}

// connect calls connect(2) for a socket that does not wait, so that the scheduler
// need not know.
func connect(fd int, to unsafe.Pointer, size uintptr) unix.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(to), size)
	return errno
}

// networkOrder returns a port as the kernel has it.
func networkOrder(port uint16) uint16 {
	var bytes [2]byte
	binary.BigEndian.PutUint16(bytes[:], port)
	return binary.NativeEndian.Uint16(bytes[:])
}

// six returns 1 for IPv6, and else 0.
func six(ip netip.Addr) int {
	if ip.Is4() {
		return 0
	}
	return 1
}

// reuse resets the socket of an attempt and keeps it, unless it is bound.
func (c *connector) reuse(a *attempt) {
	if err := reset(a.fd); err != nil || a.target.Source.IsValid() {
		unix.Close(a.fd)
		return
	}
	spare := &c.spare[six(a.addr.Addr())]
	*spare = append(*spare, a.fd)
}

// trim closes a spare socket if there are more than the last attempts had use for:
// their number is to follow that slowly.
func (c *connector) trim(most int) {
	for i, fds := range c.spare {
		if last := len(fds) - 1; last >= most {
			unix.Close(fds[last])
			c.spare[i] = fds[:last]
		}
	}
}

// reset resets the connection of a socket, if it has one, so that it can be
// connected anew.
func reset(fd int) error {
	to := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	if errno := connect(fd, unsafe.Pointer(&to), unsafe.Sizeof(to)); errno != 0 {
		return errno
	}
	return nil
}

func bind(fd int, ip, source netip.Addr) error {
	if source.Is4() != ip.Is4() {
		return os.NewSyscallError("bind", unix.EAFNOSUPPORT)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	return os.NewSyscallError("bind", unix.Bind(fd, sockaddr(netip.AddrPortFrom(source, 0))))
}

func sockaddr(addr netip.AddrPort) unix.Sockaddr {
	if addr.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
}

// outcome returns the error of an attempt that has come to something, if it has
// failed. It takes a connection to itself for what it is: nobody was there, and
// connect picked the port that it dialled (simultaneous open, RFC 9293, 3.5).
func (c *connector) outcome(a *attempt, failed bool) error {
	if failed {
		errno, err := unix.GetsockoptInt(a.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && errno != 0 {
			return os.NewSyscallError("connect", syscall.Errno(errno))
		}
	}
	if a.addr.Port() >= c.picked && selfConnected(a) {
		return os.NewSyscallError("connect", syscall.ECONNREFUSED)
	}
	return nil
}

func selfConnected(a *attempt) bool {
	// Package unix would ask for the protocol, too.
	local, err := syscall.Getsockname(a.fd)
	if err != nil {
		return false
	}
	switch local := local.(type) {
	case *syscall.SockaddrInet4:
		return local.Port == int(a.addr.Port()) && local.Addr == a.addr.Addr().As4()
	case *syscall.SockaddrInet6:
		return local.Port == int(a.addr.Port()) && local.Addr == a.addr.Addr().As16()
	}
	return false
}

// lowestPort returns the lowest port that connect picks (ip_local_port_range in
// ip(7)).
func lowestPort() uint16 {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 1
	}
	var lowest uint16
	for _, digit := range text {
		if digit < '0' || digit > '9' {
			break
		}
		lowest = lowest*10 + uint16(digit-'0')
	}
	return lowest
}

// await leaves an attempt to the collector, unless there is an error.
func (c *connector) await(a *attempt) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := error(context.Canceled)
	if !c.closed {
		err = c.control(func(epoll int) error {
			return os.NewSyscallError("epoll_ctl", unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, a.fd,
				&unix.EpollEvent{Events: unix.EPOLLOUT, Fd: int32(a.fd)}))
		})
	}
	if err != nil {
		return err
	}
	c.pending[int32(a.fd)] = a
	if c.armed.IsZero() || a.deadline.Before(c.armed) {
		c.arm(a.deadline)
	}
	return nil
}

func (c *connector) control(act func(epoll int) error) (err error) {
	if failed := c.conn.Control(func(fd uintptr) { err = act(int(fd)) }); failed != nil {
		return failed
	}
	return err
}

// arm has the collector wake up at a time, never if it is zero. It needs mu held.
func (c *connector) arm(at time.Time) {
	c.armed = at
	c.epoll.SetReadDeadline(at)
}

// cancel has the collector give an attempt up. It does not wait for that.
func (c *connector) cancel(a *attempt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, pending := range c.pending {
		if pending == a {
			a.deadline = time.Now()
			c.arm(a.deadline)
		}
	}
}

// collect is the goroutine that waits for attempts that are under way.
func (c *connector) collect() {
	var events [maxRunning]unix.EpollEvent
	for {
		n := 0
		err := c.conn.Read(func(fd uintptr) bool {
			n, _ = unix.EpollWait(int(fd), events[:], 0)
			return n > 0
		})
		if err != nil && !os.IsTimeout(err) {
			return // closed
		}
		for _, a := range c.take(events[:max(n, 0)], err != nil) {
			if a.over {
				unix.Close(a.fd)
				c.concluded(a.attempt, os.ErrDeadlineExceeded)
			} else {
				err := c.outcome(a.attempt, a.failed)
				reset(a.fd)
				unix.Close(a.fd)
				c.concluded(a.attempt, err)
			}
		}
	}
}

type taken struct {
	*attempt
	failed bool // it came to an error
	over   bool // its time is over, and it has come to nothing
}

// take takes out of pending what has come to something, and if asked to what has
// no time left.
func (c *connector) take(events []unix.EpollEvent, overdue bool) []taken {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []taken
	for i := range events {
		if a := c.pending[events[i].Fd]; a != nil {
			delete(c.pending, events[i].Fd)
			all = append(all, taken{attempt: a, failed: events[i].Events&^unix.EPOLLOUT != 0})
		}
	}
	if !overdue {
		return all
	}
	now, next := time.Now(), time.Time{}
	for fd, a := range c.pending {
		switch {
		case a.deadline.After(now):
			if next.IsZero() || a.deadline.Before(next) {
				next = a.deadline
			}
		default:
			delete(c.pending, fd)
			all = append(all, taken{attempt: a, failed: true, over: !ready(int(fd))})
		}
	}
	c.arm(next)
	return all
}

// ready reports whether a socket has come to something: after a pause of the
// process the clock may be faster than epoll to tell of it.
func ready(fd int) bool {
	polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, _ := unix.Poll(polled, 0)
	return n > 0
}

// holdAck holds the last ACK of the handshake back.
func holdAck(conn syscall.RawConn) {
	conn.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 1)
	})
}
