//go:build linux

package eventloop

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"balance/engine/plane"
)

// fakeKernel plays the kernel's part as a script has it: what arrives, how
// much is taken, what fails. It keeps to the rules of the real one: a read is
// short only if the queue is empty, or urgent data lies ahead; a change that
// somebody waits for raises an event; an error of a socket is told once.
// Whatever breaks the rules on the other side becomes a defect.
type fakeKernel struct {
	*script
	now     *int64 // of the loop
	open    map[int32]*fakeSocket
	pipes   map[int32]*fakePipe // by either end
	sockets []*fakeSocket
	servers map[token]*fakeSocket // the last that was dialled or, later, closed, by the token of the client
	queues  map[int32]*fakeQueue
	woken   map[int]bool // by the eventfd, which has the number of its loop's epoll
	last    int32
	locks   map[string]*sync.Mutex // that must not be held when something is asked of the kernel
	defects []string
}

// fakeQueue is a listening socket.
type fakeQueue struct {
	fd       int32
	clients  []*fakeSocket
	failures []unix.Errno    // of those who accept next
	refused  unix.Errno      // of those who register
	watchers map[int32]token // by their epoll
	accepts  int             // calls
}

type fakeSocket struct {
	fd         int32
	peer       netip.AddrPort
	epoll      int32
	token      token
	watched    bool
	event      bool // there is one to be delivered
	connecting bool
	given      []byte // all that the peer has sent, a beginning of content
	read       int    // of it
	urgent     int    // where reads stop, 0 = nowhere
	finished   bool   // the peer sends no more
	failure    unix.Errno
	failed     bool  // the connection is gone
	taken      int   // bytes written to it
	unsent     int   // of them
	progress   int64 // when some were written or sent
	wrong      bool  // which were not a beginning of content
	space      int
	wanted     bool // a write came back short
	noDelay    bool // what is written next does not wait for an acknowledgement
	shut       bool
	closed     bool
	reset      bool
	ended      int64 // when it was closed
}

// content is what all peers send; no two places of it are alike.
var content = func() []byte {
	b := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}()

type fakePipe struct {
	r, w    int32
	content []byte
}

// script is a source of decisions. Once it is used up, all are 0.
type script struct{ bytes []byte }

func (s *script) next() int {
	if len(s.bytes) == 0 {
		return 0
	}
	b := s.bytes[0]
	s.bytes = s.bytes[1:]
	return int(b)
}

func newFakeKernel(s *script) *fakeKernel {
	return &fakeKernel{script: s, open: map[int32]*fakeSocket{}, pipes: map[int32]*fakePipe{}, servers: map[token]*fakeSocket{},
		queues: map[int32]*fakeQueue{}, woken: map[int]bool{}}
}

func (k *fakeKernel) defect(format string, args ...any) {
	k.defects = append(k.defects, fmt.Sprintf(format, args...))
}

// called is called first of all in each call.
func (k *fakeKernel) called(call string) {
	for name, lock := range k.locks {
		if !lock.TryLock() {
			k.defect("%s while the mutex of %s is held", call, name)
			continue
		}
		lock.Unlock()
	}
}

func (k *fakeKernel) newQueue() *fakeQueue {
	k.last++
	q := &fakeQueue{fd: k.last, watchers: map[int32]token{}}
	k.queues[q.fd] = q
	return q
}

// queue returns a listening socket, or a harmless one in the place of a closed.
func (k *fakeKernel) queue(call string, fd int32) *fakeQueue {
	k.called(call)
	q := k.queues[fd]
	if q == nil {
		k.defect("%s of descriptor %d, which does not listen", call, fd)
		return &fakeQueue{watchers: map[int32]token{}}
	}
	return q
}

func (k *fakeKernel) listen(epoll, fd int32, t token) unix.Errno {
	q := k.queue("epoll_ctl", fd)
	if errno := q.refused; errno != 0 {
		q.refused = 0
		return errno
	}
	if _, twice := q.watchers[epoll]; twice {
		k.defect("queue %d is registered twice", fd)
	}
	q.watchers[epoll] = t
	return 0
}

func (k *fakeKernel) unlisten(epoll, fd int32) {
	q := k.queue("epoll_ctl", fd)
	if _, there := q.watchers[epoll]; !there {
		k.defect("queue %d is not registered", fd)
	}
	delete(q.watchers, epoll)
}

func (k *fakeKernel) accept(fd int32) (int32, netip.AddrPort, unix.Errno) {
	q := k.queue("accept4", fd)
	q.accepts++
	if len(q.failures) > 0 {
		errno := q.failures[0]
		q.failures = q.failures[1:]
		return -1, netip.AddrPort{}, errno
	}
	if len(q.clients) == 0 {
		return -1, netip.AddrPort{}, unix.EAGAIN
	}
	s := q.clients[0]
	q.clients = q.clients[1:]
	return s.fd, s.peer, 0
}

func (k *fakeKernel) wake(event int) {
	k.called("write")
	k.woken[event] = true
}

func (k *fakeKernel) poll(epoll int32, events []unix.EpollEvent) (int, unix.Errno) {
	k.called("epoll_wait")
	n := 0
	tell := func(t token, what uint32) (told bool) {
		if n == len(events) {
			return false
		}
		events[n] = unix.EpollEvent{Events: what, Fd: t.low, Pad: t.high}
		n++
		return true
	}
	for fd := range k.last + 1 {
		if q := k.queues[fd]; q != nil && len(q.clients)+len(q.failures) > 0 {
			if t, watches := q.watchers[epoll]; watches {
				tell(t, unix.EPOLLIN)
			}
		}
		if s := k.open[fd]; s != nil && s.watched && s.epoll == epoll && s.event {
			s.event = !tell(s.token, s.events())
		}
	}
	// A loop that has registered a socket and then wrote to itself is told in
	// that order.
	if k.woken[int(epoll)] {
		k.woken[int(epoll)] = !tell(mailToken, unix.EPOLLIN)
	}
	return n, 0
}

// wait lets the time pass if nothing happens, in the bubble of a test.
func (k *fakeKernel) wait(epoll int32, events []unix.EpollEvent, timeout int) (int, unix.Errno) {
	n, errno := k.poll(epoll, events)
	if n == 0 && timeout > 0 {
		time.Sleep(time.Duration(timeout) * time.Millisecond)
	}
	return n, errno
}

func (k *fakeKernel) newSocket() *fakeSocket {
	k.last++
	s := &fakeSocket{fd: k.last, space: 1000 * max(0, k.next()-64)}
	k.open[s.fd] = s
	k.sockets = append(k.sockets, s)
	return s
}

// socket returns an open socket, or a harmless one in the place of a closed.
func (k *fakeKernel) socket(call string, fd int32) *fakeSocket {
	k.called(call)
	s := k.open[fd]
	if s == nil {
		k.defect("%s of descriptor %d, which is not open", call, fd)
		return &fakeSocket{failed: true}
	}
	return s
}

func (k *fakeKernel) dial(netip.AddrPort, netip.Addr, bool) (int32, error) {
	k.called("connect")
	switch k.next() % 16 {
	case 1:
		return -1, os.NewSyscallError("connect", unix.ECONNREFUSED)
	case 2:
		return -1, os.NewSyscallError("socket", unix.EMFILE)
	case 3:
		return -1, fmt.Errorf("%w: %w", plane.ErrNoPort, os.NewSyscallError("connect", unix.EADDRNOTAVAIL))
	}
	s := k.newSocket()
	s.connecting = true
	return s.fd, nil
}

func (k *fakeKernel) dialUnix(string) (int32, error) {
	k.called("connect")
	if k.next()%16 == 1 {
		return -1, plane.ErrBacklog
	}
	return k.newSocket().fd, nil
}

func (k *fakeKernel) local(fd int32) netip.AddrPort {
	k.socket("getsockname", fd)
	return netip.MustParseAddrPort("192.0.2.80:80")
}

func (k *fakeKernel) watch(epoll, fd int32, t token) unix.Errno {
	s := k.socket("epoll_ctl", fd)
	if k.next()%64 == 1 {
		return unix.ENOMEM
	}
	if s.watched {
		k.defect("descriptor %d is registered twice", fd)
	}
	s.epoll, s.token, s.watched = epoll, t, true
	s.event = !s.connecting
	s.note(k)
	return 0
}

// note keeps the socket as that of the session if it is a server's. Of several
// that are dialled at a time, the one that the session keeps is closed last.
func (s *fakeSocket) note(k *fakeKernel) {
	if s.watched && s.token.low&1 == server {
		k.servers[token{s.token.low ^ server, s.token.high & maxGeneration}] = s
	}
}

func (k *fakeKernel) selfConnected(fd int32, _ uint16) bool {
	if k.socket("getsockname", fd).connecting {
		k.defect("a name before the connection is made")
	}
	return k.next()%64 == 1
}

// events is what epoll_wait would say of the socket.
func (s *fakeSocket) events() uint32 {
	var events uint32
	if s.read < len(s.given) || s.finished || s.failed {
		events |= unix.EPOLLIN
	}
	if s.finished || s.failed {
		events |= unix.EPOLLRDHUP
	}
	if s.finished && s.shut || s.failed {
		events |= unix.EPOLLHUP
	}
	if s.failure != 0 {
		events |= unix.EPOLLERR
	}
	if s.urgent > s.read {
		events |= unix.EPOLLPRI
	}
	if (s.space > 0 || s.failed) && !s.connecting {
		events |= unix.EPOLLOUT
	} else {
		s.wanted = true
	}
	return events
}

func (s *fakeSocket) takeError() unix.Errno {
	errno := s.failure
	s.failure = 0
	return errno
}

func (k *fakeKernel) socketError(fd int32) unix.Errno {
	if errno := k.socket("getsockopt", fd).takeError(); errno != 0 {
		return errno
	}
	return unix.ECONNRESET
}

func (k *fakeKernel) peek(fd int32) (int, unix.Errno) {
	s := k.socket("peek", fd)
	if !s.failed {
		k.defect("a peek into a connection that has not failed")
	}
	if s.read < len(s.given) {
		return 1, 0
	}
	return 0, k.socketError(fd)
}

func (k *fakeKernel) unsent(fd int32) uint32 { return uint32(k.socket("ioctl", fd).unsent) }

// readable returns what a read may take, up to the urgent mark.
func (s *fakeSocket) readable() []byte {
	if s.urgent > s.read {
		return s.given[s.read:s.urgent]
	}
	return s.given[s.read:]
}

func (k *fakeKernel) pending(fd int32) uint32 {
	s := k.socket("poll", fd)
	if s.connecting {
		return 0
	}
	return s.events()
}

func (k *fakeKernel) recv(fd int32, into []byte) (int, unix.Errno) {
	s := k.socket("read", fd)
	if s.connecting {
		k.defect("a read before the connection is made")
	}
	if k.next()%64 == 1 {
		return -1, unix.EINTR
	}
	if s.read == s.urgent {
		s.urgent = 0
	}
	if n := copy(into, s.readable()); n > 0 {
		s.read += n
		return n, 0
	}
	switch {
	case s.failure != 0:
		return -1, s.takeError()
	case s.finished || s.failed:
		return 0, 0
	}
	return -1, unix.EAGAIN
}

func (k *fakeKernel) look(fd int32, into []byte) (int, unix.Errno) {
	s := k.socket("peek", fd)
	if k.next()%64 == 1 {
		return -1, unix.EINTR
	}
	if n := copy(into, s.readable()); n > 0 {
		return n, 0
	}
	switch {
	case s.failure != 0:
		return -1, s.takeError()
	case s.finished || s.failed:
		return 0, 0
	}
	return -1, unix.EAGAIN
}

// take writes some of the chunk.
func (k *fakeKernel) take(s *fakeSocket, chunk []byte) (int, unix.Errno) {
	if s.failed {
		if errno := s.takeError(); errno != 0 {
			return -1, errno
		}
		return -1, unix.EPIPE
	}
	n := min(len(chunk), s.space)
	s.space -= n
	s.wrong = s.wrong || !bytes.Equal(content[s.taken:min(s.taken+n, len(content))], chunk[:n])
	s.taken += n
	s.wanted = s.wanted || n < len(chunk)
	if n == 0 {
		return -1, unix.EAGAIN
	}
	s.progress = *k.now
	if k.next()%4 == 1 {
		s.unsent += n
	}
	return n, 0
}

func (k *fakeKernel) checkWrite(call string, s *fakeSocket) {
	if s.connecting {
		k.defect("%s before the connection is made", call)
	}
	if s.shut {
		k.defect("%s after the end of stream", call)
	}
}

func (k *fakeKernel) send(fd int32, from []byte) (int, unix.Errno) {
	s := k.socket("write", fd)
	k.checkWrite("a write", s)
	if k.next()%64 == 1 {
		return -1, unix.EINTR
	}
	return k.take(s, from)
}

const fakePipeSize = 100_000

func (k *fakeKernel) splice(from, to int32, most int) (int, unix.Errno) {
	k.called("splice")
	if k.next()%64 == 1 {
		return -1, unix.EINTR
	}
	if p := k.pipes[to]; p != nil {
		s := k.socket("splice", from)
		room := min(most, fakePipeSize-len(p.content))
		if k.next()%4 == 1 { // small pieces fill a pipe too
			room = min(room, 1+500*k.next())
		}
		n := min(room, len(s.readable()))
		if s.urgent != 0 && s.read == s.urgent {
			n = 0 // as long as no read has gone past it, whatever is behind
		}
		if n > 0 {
			p.content = append(p.content, s.given[s.read:s.read+n]...)
			s.read += n
			return n, 0
		}
		switch {
		case s.failure != 0:
			return -1, s.takeError()
		case s.finished || s.failed:
			return 0, 0
		}
		return -1, unix.EAGAIN
	}
	p := k.pipes[from]
	if p == nil {
		k.defect("splice between %d and %d, neither of which is a pipe", from, to)
		return -1, unix.EBADF
	}
	s := k.socket("splice", to)
	k.checkWrite("a splice", s)
	n, errno := k.take(s, p.content[:min(most, len(p.content))])
	if errno == 0 {
		p.content = p.content[n:]
	}
	return n, errno
}

func (k *fakeKernel) shutdown(fd int32) unix.Errno {
	s := k.socket("shutdown", fd)
	if s.failed {
		return unix.ENOTCONN
	}
	if s.shut {
		k.defect("descriptor %d is shut down twice", fd)
	}
	s.shut = true
	return 0
}

func (k *fakeKernel) noDelay(fd int32)                      { k.socket("setsockopt", fd).noDelay = true }
func (k *fakeKernel) quickAck(fd int32)                     { k.socket("setsockopt", fd) }
func (k *fakeKernel) keepAlive(fd int32, _ time.Duration)   { k.socket("setsockopt", fd) }
func (k *fakeKernel) userTimeout(fd int32, _ time.Duration) { k.socket("setsockopt", fd) }

func (k *fakeKernel) close(fd int32) {
	k.called("close")
	if p := k.pipes[fd]; p != nil {
		delete(k.pipes, fd)
		return
	}
	s := k.socket("close", fd)
	s.closed, s.ended = true, *k.now
	s.note(k)
	delete(k.open, fd)
}

func (k *fakeKernel) reset(fd int32) {
	k.socket("reset", fd).reset = true
	k.close(fd)
}

func (k *fakeKernel) pipe(int) (r, w int32, ok bool) {
	k.called("pipe2")
	if k.next()%8 == 1 {
		return -1, -1, false
	}
	k.last += 2
	p := &fakePipe{r: k.last - 1, w: k.last}
	k.pipes[p.r], k.pipes[p.w] = p, p
	return p.r, p.w, true
}
