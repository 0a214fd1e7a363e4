package health

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// talk is a conversation with a server: what is sent is told as a step, and so is
// what comes back, of which at most maxAnswer bytes are read in all.
type talk struct {
	visit *visit
	conn  net.Conn
	limit *io.LimitedReader // of conn, to maxAnswer
	in    *bufio.Reader     // of limit
	asked string            // what the server is to answer to, in words; empty: it speaks first
	began time.Time         // when it began to be waited for
	got   int               // bytes of that answer
	looks int               // at what is there, for what is expected
}

// conversation is a kind that is nothing but a talk with a server, which it
// connects to.
type conversation struct{ talker }

// talker has the talk, and returns what kind does.
type talker interface {
	talk(t *talk) (words string, err error)
}

func (c conversation) ask(ctx context.Context, v *visit) (string, error) {
	conn, err := v.connect(ctx, false)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return c.talk(v.talk(conn))
}

func (v *visit) talk(conn net.Conn) *talk {
	limit := &io.LimitedReader{R: conn, N: maxAnswer}
	return &talk{visit: v, conn: conn, limit: limit, in: bufio.NewReader(limit), began: time.Now()}
}

// send sends what is to be answered, and is called so in words.
func (t *talk) send(asked string, data []byte) error {
	t.asked, t.began, t.got = asked, time.Now(), 0
	if _, err := t.conn.Write(data); err != nil {
		return t.broken(err)
	}
	t.visit.took("send", t.began, asked)
	t.began = time.Now()
	return nil
}

// answered tells what the answer is.
func (t *talk) answered(words string) { t.visit.took("answer", t.began, words) }

// line returns the next line of the answer without its end, at most a buffer's
// length.
func (t *talk) line() ([]byte, error) {
	line, err := t.in.ReadSlice('\n')
	t.got += len(line)
	if err == bufio.ErrBufferFull {
		return nil, t.wrong(line, "in a line that does not end")
	}
	if err != nil {
		return nil, t.broken(err)
	}
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, nil
}

// bytes returns the next n bytes of the answer.
func (t *talk) bytes(n int) ([]byte, error) {
	data := make([]byte, n)
	n, err := io.ReadFull(t.in, data)
	t.got += n
	if err != nil {
		return nil, t.broken(err)
	}
	return data, nil
}

// to returns what was asked as the end of a sentence.
func (t *talk) to() string {
	if t.asked == "" {
		return ""
	}
	return " to " + t.asked
}

// wrong is the failure of a server that answered, but not as it should, with the
// reason, if there is one to tell.
func (t *talk) wrong(said []byte, why string) error {
	t.answered(quote(said))
	if why != "" {
		why = ", " + why
	}
	return failed(Answered, "%s answered %s%s%s", t.visit.target.server(), quote(said), t.to(), why)
}

// broken is the failure of a conversation that came to no end.
func (t *talk) broken(err error) error {
	server := t.visit.target.server()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		t.answered("none in time")
		within := t.visit.target.Check.Timeout
		if t.got > 0 {
			return failed(TimedOut, "%s: no whole answer%s within %s", server, t.to(), within)
		}
		return failed(TimedOut, "%s: no answer%s within %s", server, t.to(), within)
	case t.limit.N <= 0:
		t.answered("too long")
		return failed(Answered, "%s answered too much%s", server, t.to())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		t.answered("closed the connection")
		if t.got > 0 {
			return failed(Reset, "%s closed the connection within its answer%s", server, t.to())
		}
		return failed(Reset, "%s closed the connection without an answer%s", server, t.to())
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		t.answered("reset the connection")
		return failed(Reset, "%s reset the connection before an answer%s", server, t.to())
	}
	return failed(outcomeOf(err), "%s: %s", server, cause(err))
}
