package portable

import (
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"balance/engine/plane"
)

// relay moves bytes until both directions have ended.
func (s *session) relay() {
	s.active.Store(s.plane.Now())
	counters := s.channel.Load().Counters
	toChannel := direction{
		session: s, from: s.client, to: s.server, stall: &s.stalls[0],
		moved: &s.sent, total: &counters.Sent,
		closed: plane.ClientClosed, readFailed: plane.ClientFailed, writeFailed: plane.ChannelFailed,
	}
	toClient := direction{
		session: s, from: s.server, to: s.client, stall: &s.stalls[1],
		moved: &s.received, total: &counters.Received,
		closed: plane.ChannelClosed, readFailed: plane.ChannelFailed, writeFailed: plane.ClientFailed,
	}
	if dump := s.plane.options.Dump; dump != nil {
		toChannel.dump, toClient.dump = dump.ToChannel, dump.ToClient
	}
	var both sync.WaitGroup
	both.Go(toChannel.run)
	toClient.run()
	both.Wait()
	s.passOn()
}

// direction is the way of the bytes from one side to the other.
type direction struct {
	session                         *session
	from, to                        connection
	moved, total                    *atomic.Uint64
	dump                            func([]byte)
	stall                           *stall
	closed, readFailed, writeFailed plane.Cause
}

// run copies until the end of stream, which it passes on, or until the
// session ends.
func (d *direction) run() {
	reader, err := d.from.SyscallConn()
	if err != nil {
		d.session.abort(d.readFailed, err)
		return
	}
	writer, err := d.to.SyscallConn()
	if err != nil {
		d.session.abort(d.writeFailed, err)
		return
	}
	for {
		buffer, n, err := read(reader)
		if n == 0 && err == nil {
			var first bool
			if first, err = d.session.finished(d.closed, d.readFailed); err == nil {
				if first {
					d.closeWrite()
				}
				return
			}
		}
		if err != nil && d.session.parts() {
			d.part(reader)
			return
		}
		if err != nil {
			d.readBroke(err)
			return
		}
		if d.dump != nil {
			d.dump(buffer[:n])
		}
		err = d.write(writer, buffer[:n])
		full := n == len(buffer)
		buffers.Put(buffer)
		var readErr error
		if err == nil && full && d.dump == nil {
			// There is more than fits a buffer: let the kernel move it.
			readErr, err = d.session.plane.pipes.splice(reader, writer, d)
		}
		if readErr != nil && !d.session.parts() {
			// There may be bytes behind urgent data still. The end that comes
			// behind them is none (see finished).
			if both, _ := d.session.breaks(d.readFailed, readErr); both {
				d.session.passOn()
				return
			}
		}
		if err != nil {
			d.writeBroke(err)
			return
		}
	}
}

// closeWrite passes on the end of stream. If that fails, the other direction
// reads of it.
func (d *direction) closeWrite() {
	if err := d.to.CloseWrite(); err != nil {
		d.session.breaks(d.writeFailed, err)
	}
}

// readBroke is called when all that came before the reset was written.
func (d *direction) readBroke(err error) {
	if both, _ := d.session.breaks(d.readFailed, err); both {
		d.session.passOn()
		return
	}
	d.session.part(d.to)
}

// writeBroke leaves the end to the other direction, which may have bytes to
// read that came before the reset, unless it has ended.
func (d *direction) writeBroke(err error) {
	both, halfClosed := d.session.breaks(d.writeFailed, err)
	switch {
	case both:
		d.session.passOn()
	case halfClosed:
		d.session.part(d.from)
	}
}

// count is called for every n bytes that were given to the kernel.
func (d *direction) count(n int) {
	d.moved.Add(uint64(n))
	d.total.Add(uint64(n))
	now := d.session.plane.Now()
	d.session.active.Store(now)
	d.session.owed.Store(d.moved == &d.session.sent)
	if d.stall.since.Load() != 0 {
		d.stall.since.Store(now)
	}
}

// stall is what a direction keeps while its receiver does not take it.
type stall struct {
	since atomic.Int64 // when a byte last moved, as Plane.Now; 0 = nothing is kept
	bytes atomic.Int64
}

// keep counts what the direction keeps, until leave.
func (d *direction) keep(bytes int64) {
	if d.stall.since.Load() != 0 {
		return
	}
	d.stall.bytes.Store(bytes)
	d.stall.since.Store(d.session.plane.Now())
	d.session.plane.options.Budget.Keep(bytes)
}

// leave is called when all was taken, or dropped.
func (d *direction) leave() {
	if d.stall.since.Load() != 0 {
		d.stall.since.Store(0)
		d.session.plane.options.Budget.Keep(-d.stall.bytes.Load())
	}
}

const bufferSize = 64 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// read waits until there is something to read, then takes a buffer for it,
// which the caller puts back if n > 0. At the end of stream n is 0.
func read(conn syscall.RawConn) (buffer *[bufferSize]byte, n int, err error) {
	var inner error
	err = conn.Read(func(fd uintptr) bool {
		buffer = buffers.Get().(*[bufferSize]byte)
		n, inner = retry(func() (int, error) { return syscall.Read(int(fd), buffer[:]) })
		if n <= 0 {
			buffers.Put(buffer)
		}
		return inner != syscall.EAGAIN
	})
	if err == nil && inner != nil {
		err = os.NewSyscallError("read", inner)
	}
	return buffer, max(n, 0), err
}

// write returns when all of the chunk was taken by the kernel.
func (d *direction) write(conn syscall.RawConn, chunk []byte) error {
	defer d.leave()
	var inner error
	err := conn.Write(func(fd uintptr) bool {
		for len(chunk) > 0 {
			var n int
			n, inner = retry(func() (int, error) { return syscall.Write(int(fd), chunk) })
			if inner == syscall.EAGAIN {
				d.keep(bufferSize)
				return false
			}
			if inner != nil {
				return true
			}
			d.count(n)
			chunk = chunk[n:]
		}
		return true
	})
	switch {
	case err != nil:
		return err
	case inner != nil:
		return os.NewSyscallError("write", inner)
	case len(chunk) > 0:
		return io.ErrShortWrite
	}
	return nil
}

// retry repeats a system call that a signal interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != syscall.EINTR {
			return n, err
		}
	}
}
