//go:build linux

package eventloop

import (
	"golang.org/x/sys/unix"

	"balance/engine/plane"
)

const (
	// turnBudget is how many bytes a stream may read before it is the turn
	// of the other sessions.
	turnBudget = 2 * pipeSize
	// spliceFrom is how many bytes there must be in a wake-up for splice(2)
	// to be worth its calls. It is a buffer full, so that a full read shows
	// that there are as many.
	spliceFrom = bufferSize
)

// outcome is why a stream stands still.
type outcome uint8

const (
	waits outcome = iota // for an event
	spent                // its budget
	gone                 // the session has ended
)

// relay moves what can be moved, the bytes that come from one side first. It
// reports false if the session has ended with that.
func (l *loop) relay(s *session, first int) bool {
	again := false
	for _, from := range [2]int{first, first ^ 1} {
		switch l.pump(s, from) {
		case gone:
			return false
		case spent:
			again = true
		}
	}
	if again {
		l.enqueue(s)
		return true
	}
	if which, ok := s.broken(); ok {
		return l.part(s, which)
	}
	return true
}

// pump moves the bytes that come from one side until something is to be waited
// for.
//
//	   ┌────────── flushed ──────────┐
//	   ▼                             │
//	reading ──► pending (buffer or pipe)
//	   └── end of stream ──► closed       for errors see part
//
// Nothing is read while bytes are pending, which holds back the sender, and
// no stream is closed before they are delivered. Once the session parts, a stream
// is closed behind what is pending, and what is read then is dropped.
func (l *loop) pump(s *session, from int) outcome {
	t, in, out := &s.streams[from], &s.sides[from], &s.sides[from^1]
	volume := 0
	for !t.closed || s.parting && !t.finished {
		if out.broken {
			l.dropBuffer(t)
			l.dropPipe(t)
			return waits
		}
		if t.pending() {
			if !out.writable {
				l.keep(t)
				return waits
			}
			if errno := l.flush(s, from); errno != 0 {
				return l.outBroke(s, from, "write", errno)
			}
			continue
		}
		if !t.closed && (t.finished || s.parting) {
			if o := l.passOnEnd(s, from); o != waits {
				return o
			}
			continue
		}
		if !in.readable {
			return waits
		}
		if volume >= turnBudget {
			return spent
		}
		var n int
		var errno unix.Errno
		if t.splicing && !t.closed {
			n = l.fillPipe(s, from, volume)
		} else {
			n, errno = l.fillBuffer(s, from)
		}
		if errno != 0 {
			in.readable = false
			l.broke(s, from, "read", errno)
			return waits
		}
		volume += n
	}
	if s.over() {
		l.end(s, s.cause, nil, false)
		return gone
	}
	return waits
}

// outBroke takes note that the side that a stream goes to has broken. It may
// have bytes of its own to read still, which is for the next turn.
func (l *loop) outBroke(s *session, from int, call string, errno unix.Errno) outcome {
	l.broke(s, from^1, call, errno)
	s.sides[from^1].readable = true
	return spent
}

// fillBuffer reads once, into the buffer that all sessions of the loop share.
// The stream may keep it until the next flush.
func (l *loop) fillBuffer(s *session, from int) (int, unix.Errno) {
	t, in := &s.streams[from], &s.sides[from]
	n, errno := l.kernel.recv(in.fd, l.shared[:])
	switch {
	case errno == unix.EAGAIN:
		in.emptied()
		return 0, 0
	case errno == unix.EINTR:
		return 0, 0
	case errno != 0:
		return 0, errno
	case n == 0 && in.broken: // which is no end of stream
		return 0, l.kernel.socketError(in.fd)
	case n == 0:
		l.sawEnd(s, from)
		return 0, 0
	case n == len(l.shared):
		t.splicing = l.plane.options.Dump == nil
	case !in.urgent && !in.broken && !in.local:
		// The queue is empty, and nothing follows an end of stream. After a
		// reset the next read tells of that. A unix socket stops short also where
		// the sender has passed a descriptor (unix_stream_read_generic in
		// net/unix/af_unix.c).
		in.emptied()
		if in.finished {
			l.sawEnd(s, from)
		}
	}
	if t.closed {
		return n, 0
	}
	l.dump(from, l.shared[:n])
	t.buffer, t.begin, t.end = l.shared, 0, uint32(n)
	return n, 0
}

// fillPipe reads once, into a pipe. A short read tells nothing here: a pipe is
// also full when it holds many small pieces. At urgent data splice(2) fails as
// if the queue were empty (tcp_splice_read in net/ipv4/tcp.c), though there may
// be bytes behind, which no event tells of: a read goes past it.
func (l *loop) fillPipe(s *session, from, volume int) int {
	t, in := &s.streams[from], &s.sides[from]
	p := l.pipes.get(l.now)
	if p == nil {
		t.splicing = false
		return 0
	}
	n, errno := l.kernel.splice(in.fd, p.w, pipeSize)
	if errno == 0 && n > 0 {
		t.pipe, t.begin, t.end = p, 0, uint32(n)
		return n
	}
	l.pipes.put(p, l)
	switch {
	case errno == unix.EINTR:
	case errno == unix.EAGAIN && !in.urgent:
		in.emptied()
		t.splicing = volume >= spliceFrom
	case errno == 0, errno == unix.EAGAIN, errno == unix.EINVAL:
		// The end of stream or urgent data: a read tells which. A socket
		// that cannot be spliced from is read from as well.
		t.splicing = false
	default:
		// The error is taken, but there may be bytes behind urgent data still.
		t.splicing = false
		l.broke(s, from, "splice", errno)
	}
	return 0
}

// flush writes what is pending. What is left waits until the receiver is
// writable again.
func (l *loop) flush(s *session, from int) unix.Errno {
	t := &s.streams[from]
	if from == client && t.moved > 0 && !s.noDelay {
		// The first segment is never delayed, so those who send no second
		// need no option.
		s.noDelay = true
		l.kernel.noDelay(s.sides[server].fd)
	}
	if t.pipe != nil {
		return l.flushPipe(s, from)
	}
	return l.flushBuffer(s, from)
}

func (l *loop) flushBuffer(s *session, from int) unix.Errno {
	t, out := &s.streams[from], &s.sides[from^1]
	n, errno := l.kernel.send(out.fd, t.buffer[t.begin:t.end])
	switch errno {
	case 0:
		l.count(s, from, n)
		t.begin += uint32(n)
		// A write is short only if the socket is full (epoll(7)).
		out.writable = t.begin == t.end
	case unix.EAGAIN:
		out.writable = false
	case unix.EINTR:
	default:
		l.dropBuffer(t)
		return errno
	}
	if t.begin == t.end {
		l.dropBuffer(t)
	} else if t.buffer == l.shared {
		t.buffer = l.buffers.get()
		t.end = uint32(copy(t.buffer[:], l.shared[t.begin:t.end]))
		t.begin = 0
	}
	return 0
}

func (l *loop) flushPipe(s *session, from int) unix.Errno {
	t, out := &s.streams[from], &s.sides[from^1]
	n, errno := l.kernel.splice(t.pipe.r, out.fd, int(t.end-t.begin))
	switch errno {
	case 0:
		if n == 0 {
			return unix.EPIPE // it does not happen, and would not end
		}
		l.count(s, from, n)
		t.begin += uint32(n)
	case unix.EAGAIN:
		out.writable = false
	case unix.EINTR:
	default:
		return errno
	}
	if t.begin == t.end {
		l.leave(t)
		l.pipes.put(t.pipe, l)
		t.pipe = nil
	}
	return 0
}

// dropBuffer lets go of the buffer of a stream, pending bytes included.
func (l *loop) dropBuffer(t *stream) {
	if t.buffer != nil {
		l.leave(t)
	}
	if t.buffer != nil && t.buffer != l.shared {
		l.buffers.put(t.buffer)
	}
	t.buffer = nil
}

// dropPipe lets go of the pipe of a stream, pending bytes included.
func (l *loop) dropPipe(t *stream) {
	if t.pipe != nil {
		l.leave(t)
		l.pipes.discard(t.pipe)
	}
	t.pipe = nil
}

// count is called for every n bytes that were given to the kernel.
func (l *loop) count(s *session, from, n int) {
	t := &s.streams[from]
	t.moved += uint64(n)
	if t.stuck != 0 {
		t.stuck = seconds(l.now)
	}
	s.active = l.now
	s.owed = from == client
	if from == client {
		s.channel.Counters.Sent.Add(uint64(n))
	} else {
		s.channel.Counters.Received.Add(uint64(n))
	}
}

// sawEnd takes note of the end of a stream, which counts as the last of its
// bytes for the timeouts.
func (l *loop) sawEnd(s *session, from int) {
	s.streams[from].finished = true
	if s.state == plane.Relaying {
		s.state = plane.HalfClosed
		s.cause = [...]plane.Cause{client: plane.ClientClosed, server: plane.ChannelClosed}[from]
		s.active = l.now
		l.schedule(s)
	}
}

// passOnEnd passes the end of a stream on. The second ends the session, and with
// it both connections, unless it parts.
func (l *loop) passOnEnd(s *session, from int) outcome {
	s.streams[from].closed = true
	if s.over() {
		l.end(s, s.cause, nil, false)
		return gone
	}
	if errno := l.kernel.shutdown(s.sides[from^1].fd); errno != 0 {
		return l.outBroke(s, from, "shutdown", errno)
	}
	return waits
}

func (l *loop) dump(from int, chunk []byte) {
	dump := l.plane.options.Dump
	switch {
	case dump == nil:
	case from == client:
		dump.ToChannel(chunk)
	default:
		dump.ToClient(chunk)
	}
}
