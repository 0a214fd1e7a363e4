package plane

import (
	"fmt"
	"io"
	"sync"
)

// Dump shows the bytes of all sessions on one writer. Chunks of concurrent
// sessions never mix: each is written whole, by one call of Write.
type Dump struct {
	mu  sync.Mutex
	out io.Writer // guarded by mu
	buf []byte    // guarded by mu
}

// NewDump returns a Dump that writes to out, which nobody else may write to.
func NewDump(out io.Writer) *Dump { return &Dump{out: out} }

// ToChannel shows bytes on their way from a client to its channel.
func (d *Dump) ToChannel(chunk []byte) error { return d.write("->", chunk) }

// ToClient shows bytes on their way from a channel to its client.
func (d *Dump) ToClient(chunk []byte) error { return d.write("-<", chunk) }

func (d *Dump) write(arrow string, chunk []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.buf = fmt.Appendf(d.buf[:0], "%s %d\n", arrow, len(chunk))
	d.buf = appendReadable(d.buf, chunk)
	_, err := d.out.Write(d.buf)
	return err
}

const dumpWidth = 80 // columns after which a line of a dump is broken

// appendReadable appends printable ASCII as itself, a backslash doubled, and
// any other byte as a backslash and two upper-case hexadecimal digits. A line
// ends after \0A, once it is longer than dumpWidth, and at the end.
func appendReadable(to, chunk []byte) []byte {
	const hex = "0123456789ABCDEF"
	width := 0
	for _, b := range chunk {
		switch {
		case b == '\\':
			to = append(to, `\\`...)
			width += 2
		case b >= ' ' && b <= '~':
			to = append(to, b)
			width++
		default:
			to = append(to, '\\', hex[b>>4], hex[b&15])
			width += 3
		}
		if b == '\n' || width > dumpWidth {
			to = append(to, '\n')
			width = 0
		}
	}
	if width > 0 {
		to = append(to, '\n')
	}
	return to
}
