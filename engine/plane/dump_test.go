package plane

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// unreadWriter takes nothing until it is opened.
type unreadWriter struct {
	bytes.Buffer
	open chan struct{}
}

func (w *unreadWriter) Write(p []byte) (int, error) {
	<-w.open
	return w.Buffer.Write(p)
}

// TestDumpUnread shows much while nobody takes it. What is taken later is
// whole and in order, and where chunks are missing it says how many.
func TestDumpUnread(t *testing.T) {
	const writers, each = 4, 2000
	out := &unreadWriter{open: make(chan struct{})}
	d := NewDump(out, slog.New(slog.DiscardHandler))
	filling := strings.Repeat("x", 1000)
	chunk := func(i, n int) []byte { return fmt.Appendf(nil, "%c%06d%s", 'a'+i, n, filling) }
	for round := range 2 {
		var all sync.WaitGroup
		for i := range writers {
			all.Go(func() {
				for n := range each {
					d.ToChannel(chunk(i, round*each+n))
				}
			})
		}
		all.Wait()
		if round == 0 {
			d.mu.Lock()
			if len(d.waiting) > dumpBytes || d.lost == 0 {
				t.Errorf("%d bytes are waiting, %d chunks lost", len(d.waiting), d.lost)
			}
			d.mu.Unlock()
			close(out.open)
		}
	}
	d.Close()
	<-d.ended // this machine may take longer than a second
	text := out.String()
	shown, lost := 0, 0
	next := [writers]int{}
	for text != "" {
		var count int
		if n, _ := fmt.Sscanf(text, "-- %d chunks lost\n", &count); n == 1 {
			lost += count
			_, text, _ = strings.Cut(text, "\n")
			continue
		}
		var letter rune
		var number int
		if n, _ := fmt.Sscanf(text, "-> 1007\n%c%06dx", &letter, &number); n != 2 {
			t.Fatalf("after %d chunks: %.100q", shown, text)
		}
		i := int(letter - 'a')
		whole := "-> 1007\n" + string(appendReadable(nil, chunk(i, number)))
		if !strings.HasPrefix(text, whole) || number < next[i] {
			t.Fatalf("after %d chunks, of which writer %c showed number %d last: %.100q", shown, letter, next[i]-1, text)
		}
		text = text[len(whole):]
		next[i] = number + 1
		shown++
	}
	if shown+lost != 2*writers*each || lost == 0 {
		t.Errorf("%d chunks shown, %d lost, of %d", shown, lost, 2*writers*each)
	}
}

// TestDumpEndsUnread ends a dump that nobody takes.
func TestDumpEndsUnread(t *testing.T) {
	out := &unreadWriter{open: make(chan struct{})}
	d := NewDump(out, slog.New(slog.DiscardHandler))
	d.ToClient([]byte("a"))
	d.Close()
	close(out.open)
	<-d.ended
	if got := out.String(); got != "-< 1\na\n" {
		t.Errorf("dump: %q", got)
	}
}

// tornWriter fails in the middle of the first write.
type tornWriter struct {
	bytes.Buffer
	failed chan struct{}
}

func (w *tornWriter) Write(p []byte) (int, error) {
	select {
	case <-w.failed:
		return w.Buffer.Write(p)
	default:
		close(w.failed)
		n, _ := w.Buffer.Write(p[:len(p)/2])
		return n, io.ErrShortWrite
	}
}

// TestDumpThatFails says what could not be written, in the log and in the dump.
func TestDumpThatFails(t *testing.T) {
	var log bytes.Buffer
	out := &tornWriter{failed: make(chan struct{})}
	d := NewDump(out, slog.New(slog.NewTextHandler(&log, nil)))
	d.ToChannel([]byte("abcdef"))
	<-out.failed
	d.ToChannel([]byte("ghi"))
	d.Close()
	if got := out.String(); got != "-> 6\na\n-- 1 chunks lost\n-> 3\nghi\n" {
		t.Errorf("dump: %q", got)
	}
	if n := strings.Count(log.String(), `level=WARN msg="cannot dump" error="short write"`); n != 1 {
		t.Errorf("it is said %d times:\n%s", n, &log)
	}
}

type deadWriter struct{}

func (deadWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestDumpFailsOnce logs one line, though there is no end of failures.
func TestDumpFailsOnce(t *testing.T) {
	var log bytes.Buffer
	d := NewDump(deadWriter{}, slog.New(slog.NewTextHandler(&log, nil)))
	for range 100 {
		d.ToChannel([]byte("a"))
	}
	d.Close()
	if n := strings.Count(log.String(), "cannot dump"); n != 1 {
		t.Errorf("it is said %d times:\n%s", n, &log)
	}
}
