//go:build linux

package eventloop

// buffer holds what a receiver did not take yet.
type buffer [bufferSize]byte

const bufferSize = 64 << 10

// buffers keeps some of those that are empty for their next use.
type buffers struct{ idle []*buffer }

const idleBuffers = 16

func (p *buffers) get() *buffer {
	if last := len(p.idle) - 1; last >= 0 {
		b := p.idle[last]
		p.idle = p.idle[:last]
		return b
	}
	return new(buffer)
}

func (p *buffers) put(b *buffer) {
	if len(p.idle) < idleBuffers {
		p.idle = append(p.idle, b)
	}
}
