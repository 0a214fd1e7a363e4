package planetest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

func testDump(t *testing.T, newPlane New) {
	out := new(bytes.Buffer)
	r := newRigWith(t, newPlane, out)
	client := r.listen(r.router(r.serve(func(conn *net.TCPConn) {
		io.ReadFull(conn, make([]byte, 7))
		io.WriteString(conn, "bye\\\r\n")
	}))).dial()
	io.WriteString(client, "hi\x1b[2J\x9b")
	if got := readAll(t, client); got != "bye\\\r\n" {
		t.Errorf("got %q", got)
	}
	client.Close()
	r.end()
	r.dump.Close()
	const want = "-> 7\nhi\\1B[2J\\9B\n-< 6\nbye\\\\\\0D\\0A\n"
	if out.String() != want {
		t.Errorf("dump:\n%s\nwant:\n%s", out, want)
	}
}

// A dump that nobody reads stops no session. Read at last, it says what is
// missing, and what it shows is whole.
func testDumpUnread(t *testing.T, newPlane New) {
	const sessions, volume = 4, 4 << 20 // twice, there and back: more than a dump keeps
	out := &unread{open: make(chan struct{})}
	r := newRigWith(t, newPlane, out)
	d := r.listen(r.router(r.serve(echo)))
	var all sync.WaitGroup
	for i := range sessions {
		client := d.dial()
		sent := bytes.Repeat([]byte{'a' + byte(i)}, volume)
		all.Go(func() {
			client.Write(sent)
			client.CloseWrite()
		})
		all.Go(func() {
			if got, err := io.ReadAll(client); !bytes.Equal(got, sent) {
				t.Errorf("got %d bytes of %d, %v", len(got), len(sent), err)
			}
		})
	}
	all.Wait()
	for range sessions {
		r.end()
	}
	close(out.open)
	eventually(t, "the dump says what is missing", func() bool { return bytes.HasSuffix(out.text(), []byte(" chunks lost\n")) })
	r.dump.Close()
	shown, lost := 0, 0
	for text := out.text(); len(text) > 0; {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		text = rest
		var n int
		if _, err := fmt.Sscanf(string(line), "-- %d chunks lost", &n); err == nil {
			lost += n
			continue
		}
		if _, err := fmt.Sscanf(strings.Replace(string(line), "-<", "->", 1), "-> %d", &n); err != nil {
			t.Fatalf("after %d bytes: %.100q", shown, line)
		}
		letter := text[0]
		for left := n; left > 0; shown++ {
			if text[0] == '\n' {
				text = text[1:]
				continue
			}
			if text[0] != letter {
				t.Fatalf("a chunk of %q goes on with %.100q", letter, text)
			}
			text = text[1:]
			left--
		}
		text = text[1:]
	}
	if lost == 0 || shown == 0 {
		t.Errorf("%d bytes are shown, %d chunks lost", shown, lost)
	}
}

// unread takes nothing until it is opened.
type unread struct {
	open chan struct{}
	mu   sync.Mutex
	buf  bytes.Buffer // guarded by mu
}

func (u *unread) Write(p []byte) (int, error) {
	<-u.open
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.buf.Write(p)
}

func (u *unread) text() []byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.buf.Bytes()
}
