package portable

import (
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// splice moves bytes through a pipe, without copying them to user space, for
// as long as there are some to read. It returns without an error when there
// are none for the moment, at the end of stream, and when there is no pipe to
// be had. Only while bytes move does it hold a pipe.
func (pool *pipePool) splice(from, to syscall.RawConn, d *direction) (readErr, writeErr error) {
	p, ok := pool.get()
	if !ok {
		return nil, nil
	}
	for {
		n, err := p.fill(from)
		if n <= 0 {
			pool.put(p)
			return err, nil
		}
		if err := p.empty(to, n, d); err != nil {
			pool.discard(p)
			return nil, err
		}
	}
}

type pipe struct{ r, w int }

const (
	// pipeSize is asked for, the most that pipe-max-size allows for by
	// default; a user over the soft limit of pipe-user-pages-soft gets less,
	// which is no error (pipe(7)).
	pipeSize = 1 << 20
	// maxPipes bounds the pipes of the plane, and with them what receivers
	// that do not read can make it hold. Directions beyond them copy.
	maxPipes    = 256
	spliceFlags = unix.SPLICE_F_MOVE | unix.SPLICE_F_NONBLOCK
)

func (p *pipe) close() {
	unix.Close(p.r)
	unix.Close(p.w)
}

// fill takes what can be read without waiting into the empty pipe. A socket
// tells of a reset once, so an error must not get lost here.
func (p *pipe) fill(from syscall.RawConn) (n int, err error) {
	var inner error
	err = from.Read(func(fd uintptr) bool {
		n, inner = retry(func() (int, error) {
			n, err := unix.Splice(int(fd), nil, p.w, nil, pipeSize, spliceFlags)
			return int(n), err
		})
		return true
	})
	if err == nil && inner != unix.EAGAIN {
		err = os.NewSyscallError("splice", inner)
	}
	return n, err
}

// empty gives the n bytes in the pipe to the connection.
func (p *pipe) empty(to syscall.RawConn, n int, d *direction) error {
	defer d.leave()
	var inner error
	err := to.Write(func(fd uintptr) bool {
		for n > 0 {
			var moved int
			moved, inner = retry(func() (int, error) {
				n, err := unix.Splice(p.r, nil, int(fd), nil, n, spliceFlags)
				return int(n), err
			})
			if inner == unix.EAGAIN {
				d.keep(pipeSize)
				return false
			}
			if inner != nil {
				return true
			}
			d.count(moved)
			n -= moved
		}
		return true
	})
	if err == nil && inner != nil {
		err = os.NewSyscallError("splice", inner)
	}
	return err
}

// pipePool keeps the empty pipes that wait for their next use.
type pipePool struct {
	mu   sync.Mutex
	idle []*pipe // guarded by mu
	held int     // likewise; those that are taken
	most int     // that may be held
}

const idlePipes = 16

func (pool *pipePool) get() (*pipe, bool) {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	if last := len(pool.idle) - 1; last >= 0 {
		p := pool.idle[last]
		pool.idle = pool.idle[:last]
		pool.held++
		return p, true
	}
	if pool.held >= pool.most {
		return nil, false
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		return nil, false
	}
	unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, pipeSize)
	pool.held++
	return &pipe{r: fds[0], w: fds[1]}, true
}

// put takes back an empty pipe.
func (pool *pipePool) put(p *pipe) {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	pool.held--
	if len(pool.idle) < idlePipes {
		pool.idle = append(pool.idle, p)
		return
	}
	p.close()
}

// discard takes back a pipe that still has bytes in it.
func (pool *pipePool) discard(p *pipe) {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	pool.held--
	p.close()
}

func (pool *pipePool) closeIdle() {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	for _, p := range pool.idle {
		p.close()
	}
	pool.idle = nil
}
