package plane

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	// dumpBytes may wait to be written, and as many be on their way. With what
	// slices have to spare a dump takes less than 16 MiB.
	dumpBytes = 6 << 20

	dumpKept = 1 << 20 // of a slice for the next time

	dumpFlush = time.Second // for what waits when a dump ends
)

// Dump shows the bytes of all sessions on one writer. Chunks of concurrent
// sessions never mix. Showing never waits for the writer: a goroutine of the
// dump does. Chunks that find no room are dropped, and the dump says so where
// they are missing.
type Dump struct {
	out     io.Writer
	log     *slog.Logger
	failing bool // the last write failed; owned by run

	mu      sync.Mutex // loops take it: whoever holds it writes nothing and waits for nothing
	waiting []byte     // guarded by mu; whole chunks
	chunks  int        // guarded by mu; in waiting
	lost    int        // guarded by mu; chunks dropped behind those
	closed  bool       // guarded by mu

	wake  chan struct{} // holds one if there is something to do
	ended chan struct{} // closed when the goroutine has ended
}

// NewDump returns a Dump that writes to out, which nobody else may write to.
// Close ends it. That writing fails is logged once, until it succeeds again.
func NewDump(out io.Writer, log *slog.Logger) *Dump {
	d := &Dump{out: out, log: log, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	go d.run()
	return d
}

// ToChannel shows bytes on their way from a client to its channel.
func (d *Dump) ToChannel(chunk []byte) { d.show("->", chunk) }

// ToClient shows bytes on their way from a channel to its client.
func (d *Dump) ToClient(chunk []byte) { d.show("-<", chunk) }

// Close waits until everything is written, but no longer than a second: a
// write that nobody takes is left alone. What is shown later is lost.
func (d *Dump) Close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.signal()
	select {
	case <-d.ended:
	case <-time.After(dumpFlush):
	}
}

func (d *Dump) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *Dump) show(arrow string, chunk []byte) {
	d.mu.Lock()
	whole := len(d.waiting)
	if d.lost == 0 { // else what follows the gap waits for it to be told
		d.waiting = fmt.Appendf(d.waiting, "%s %d\n", arrow, len(chunk))
		d.waiting = appendReadable(d.waiting, chunk)
	}
	if d.lost > 0 || len(d.waiting) > dumpBytes {
		d.waiting = d.waiting[:whole]
		d.lost++
	} else {
		d.chunks++
	}
	d.mu.Unlock()
	d.signal()
}

// run writes what waits, all of it at once.
func (d *Dump) run() {
	defer close(d.ended)
	var batch []byte
	failed := 0 // chunks that could not be written, and are not told yet
	for range d.wake {
		d.mu.Lock()
		batch, d.waiting = d.waiting, batch[:0]
		chunks, lost, closed := d.chunks, d.lost, d.closed
		d.chunks, d.lost = 0, 0
		d.mu.Unlock()
		if failed > 0 && len(batch) > 0 && d.write(fmt.Appendf(nil, "\n-- %d chunks lost\n", failed)) {
			failed = 0
		}
		if lost > 0 {
			batch = fmt.Appendf(batch, "-- %d chunks lost\n", lost)
		}
		if len(batch) > 0 && (failed > 0 || !d.write(batch)) {
			failed += chunks + lost
		}
		if cap(batch) > dumpKept {
			batch = nil
		}
		if closed {
			return
		}
	}
}

// write reports whether all was written.
func (d *Dump) write(text []byte) bool {
	_, err := d.out.Write(text)
	if err != nil && !d.failing {
		d.log.Warn("cannot dump", "error", err)
	}
	d.failing = err != nil
	return err == nil
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
