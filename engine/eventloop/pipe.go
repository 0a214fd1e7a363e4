//go:build linux

package eventloop

import "time"

// pipe carries the bytes of one direction from socket to socket.
type pipe struct {
	r, w int32
	used int64 // when it was put back
}

// pipes are the pipes of a loop. A direction holds one only while there are
// bytes in it.
type pipes struct {
	kernel kernel
	idle   []*pipe // the one used last is at the end
	most   int     // there may be
	out    int     // held by sessions
	retry  int64   // no new pipe is asked for before then
	timer  timer   // closes those that are idle
}

const (
	// pipeSize is the most that pipe-max-size allows for by default (pipe(7)).
	// Fewer, larger pieces wake the receiver less often.
	pipeSize = 1 << 20
	// maxPipes bounds the pipes of a loop, and with them what receivers that
	// do not read can make it hold. Directions beyond them copy.
	maxPipes  = 64
	pipeRest  = 5 * time.Second // idle for so long, a pipe is closed
	pipeRetry = time.Second     // after the system had none
)

// get returns an empty pipe, or nil if there is none to be had.
func (p *pipes) get(now int64) *pipe {
	if last := len(p.idle) - 1; last >= 0 {
		taken := p.idle[last]
		p.idle = p.idle[:last]
		p.out++
		return taken
	}
	if p.out >= p.most || now < p.retry {
		return nil
	}
	r, w, ok := p.kernel.pipe(pipeSize)
	if !ok {
		p.retry = now + int64(pipeRetry)
		return nil
	}
	p.out++
	return &pipe{r: r, w: w}
}

// put takes back an empty pipe.
func (p *pipes) put(done *pipe, l *loop) {
	p.out--
	done.used = l.now
	p.idle = append(p.idle, done)
	if !p.timer.armed() {
		l.arm(&p.timer, pipeRest)
	}
}

// discard takes back a pipe that still has bytes in it.
func (p *pipes) discard(broken *pipe) {
	p.out--
	p.close(broken)
}

func (p *pipes) close(unused *pipe) {
	p.kernel.close(unused.r)
	p.kernel.close(unused.w)
}

// expire closes the pipes that have been idle for long.
func (p *pipes) expire(l *loop) {
	old := 0
	for old < len(p.idle) && p.idle[old].used+int64(pipeRest) <= l.now {
		p.close(p.idle[old])
		old++
	}
	p.idle = append(p.idle[:0], p.idle[old:]...)
	if len(p.idle) > 0 {
		l.arm(&p.timer, time.Duration(p.idle[0].used-l.now)+pipeRest)
	}
}

func (p *pipes) closeIdle() {
	for _, unused := range p.idle {
		p.close(unused)
	}
	p.idle = nil
}
