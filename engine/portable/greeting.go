package portable

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"balance/engine/plane"
)

// greet has the client pass the edge of its listener, if it has one, and reports
// whether the search may begin.
func (s *session) greet() bool {
	g, p := s.greeting, s.plane
	if g == nil {
		return true
	}
	raw, err := s.client.SyscallConn()
	if err != nil {
		s.abort(plane.ClientFailed, err)
		return false
	}
	step := g.Begin(&p.options, &p.places, s.listener, s.peer, s.sendAway, p.Now())
	for seen := 0; step == plane.Listen; {
		if step, seen, err = s.hear(raw, seen); err != nil {
			s.abort(plane.ClientFailed, err)
			return false
		}
		s.mu.Lock()
		s.from, s.via = g.Client(), g.Peer()
		s.mu.Unlock()
	}
	if step == plane.Refuse {
		s.refuse(raw)
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == plane.Closed {
		return false
	}
	s.state = plane.Dialing
	s.client.SetReadDeadline(time.Time{})
	return true
}

// sendAway has a client make room who greets.
func (s *session) sendAway() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == plane.Greets {
		s.crowded = true
		s.client.SetReadDeadline(time.Unix(1, 0))
	}
}

// refuse has the session of a client end who is refused.
func (s *session) refuse(raw syscall.RawConn) {
	s.note(plane.Refused)
	if s.reset = s.greeting.Reset(); s.reset {
		return
	}
	// A socket that is closed with bytes to read sends a reset (RFC 2525, 2.17).
	buffer := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buffer)
	raw.Control(func(fd uintptr) { retry(func() (int, error) { return syscall.Read(int(fd), buffer[:]) }) })
}

// hear waits until more has come of the client than was seen, or until its time is
// over, and does what the greeting makes of that. It returns how much of what is
// left was seen.
func (s *session) hear(raw syscall.RawConn, seen int) (step plane.Step, left int, err error) {
	g := s.greeting
	s.mu.Lock()
	if !s.crowded {
		s.client.SetReadDeadline(time.Now().Add(g.Left(s.plane.Now())))
	}
	s.mu.Unlock()
	came, err := peek(raw, seen, g.Most())
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return g.Late(s.plane.Now()), seen, nil
	}
	if err != nil {
		return 0, 0, err
	}
	defer came.drop()
	step, take, reply := g.Heard(came.bytes(), came.ended, s.plane.Now())
	if step == plane.Refuse {
		return step, 0, nil
	}
	if err := answer(raw, came.buffer[:take], reply); err != nil {
		return 0, 0, err
	}
	if take > 0 {
		return step, 0, nil // the rest is looked at anew
	}
	return step, came.n, nil
}

// answer takes bytes from a socket that were seen there, and sends a reply, for which
// there is room in that of a client who was sent next to nothing. It does not wait.
func answer(conn syscall.RawConn, taken, reply []byte) error {
	var inner error
	all := func(call string, rest []byte, do func([]byte) (int, error)) {
		for len(rest) > 0 && inner == nil {
			n, err := retry(func() (int, error) { return do(rest) })
			switch {
			case err != nil:
				inner = os.NewSyscallError(call, err)
				return
			case n == 0:
				inner = io.ErrUnexpectedEOF
				return
			}
			rest = rest[n:]
		}
	}
	err := conn.Control(func(fd uintptr) {
		all("read", taken, func(b []byte) (int, error) { return syscall.Read(int(fd), b) })
		all("write", reply, func(b []byte) (int, error) { return syscall.Write(int(fd), b) })
	})
	if err != nil {
		return err
	}
	return inner
}

// glance is what has come over a connection, as far as it was looked at. It stays in
// the socket.
type glance struct {
	buffer *[bufferSize]byte // until drop
	n      int
	ended  bool // the stream has, behind the bytes
}

func (g *glance) bytes() []byte { return g.buffer[:g.n] }
func (g *glance) drop()         { buffers.Put(g.buffer) }

// lookAgain is how often a connection is looked at of which the poller tells that
// there is something to read, and not that there is more.
const lookAgain = 10 * time.Millisecond

// peek waits until more has come than was seen, or the end of the stream, and only
// then takes a buffer for up to so many bytes.
func peek(conn syscall.RawConn, seen, most int) (came glance, err error) {
	var inner error
	look := func(fd uintptr) bool {
		came, inner = glanceAt(int(fd), most)
		if inner == nil && came.n <= seen && !came.ended {
			came.drop()
			inner = unix.EAGAIN
		}
		return inner != unix.EAGAIN
	}
	for {
		inner = unix.EAGAIN
		woken := false
		err := conn.Read(func(fd uintptr) bool {
			// The poller of Go tells of each piece that comes once (EPOLLET in
			// epoll(7), EV_CLEAR in kqueue(2)); if it tells of what was seen,
			// waiting for it would never pause.
			before := woken
			woken = true
			return look(fd) || before
		})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			// After a pause of the process the timer may be faster than the poller.
			conn.Control(func(fd uintptr) { look(fd) })
			if inner == nil {
				err = nil
			}
		}
		switch {
		case err != nil:
			return glance{}, err
		case inner == nil:
			return came, nil
		case inner != unix.EAGAIN:
			return glance{}, os.NewSyscallError("recvfrom", inner)
		}
		time.Sleep(lookAgain)
	}
}

// glanceAt takes a buffer for what has come. With an error, EAGAIN if that is
// nothing, it takes none.
func glanceAt(fd, most int) (came glance, err error) {
	came.buffer = buffers.Get().(*[bufferSize]byte)
	came.n, err = retry(func() (int, error) {
		n, _, err := unix.Recvfrom(fd, came.buffer[:min(most, bufferSize)], unix.MSG_PEEK)
		return n, err
	})
	if err != nil {
		came.drop()
		return glance{}, err
	}
	came.ended = came.n == 0 || hasEnded(fd)
	return came, nil
}
