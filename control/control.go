// Package control drives a running daemon: a server that listens on a unix
// stream socket, the commands that it answers, and a client.
//
// # Protocol
//
// The client sends a request line, the server sends the lines of the answer and
// an end mark, and so on until the client closes the connection:
//
//	request    a command line of at most MaxRequest bytes, ended by a line feed
//	answer     any number of lines; one that begins with a dot has another put
//	           before it, as in SMTP (RFC 5321, 4.5.2)
//	end mark   a dot, a blank and a status in decimal: ". 0"
//
// The statuses are those of Status. Fields of a request are separated by
// blanks; one that holds blanks itself is written in double quotes, as Go
// writes strings. Each connection has a current listener and a current group
// that its commands are about: the first ones, until "listener" and "group"
// name others.
//
// # Rendezvous
//
// Each daemon has one socket, PID.sock, in the directory that Directory names.
// A client asks each socket there which listeners its daemon has. Root may ask
// those of other users, too, wherever they are: SearchOthers.
package control

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"balance/engine"
	"balance/engine/spec"
)

// MaxRequest is the length of the longest request line, in bytes.
const MaxRequest = 4096

// Status tells what came of a command.
type Status int

// The statuses, as they stand in the end mark.
const (
	OK      Status = 0
	Failed  Status = 1
	Differs Status = 2  // diff: the file differs from what runs
	Misused Status = 64 // an unknown command, or wrong arguments
)

// Daemon is what the commands work on, and what package web shows.
type Daemon struct {
	Engine  *engine.Engine
	Version string
	Started time.Time
	File    string // absolute path of the configuration file; empty without one

	// Marshal returns a configuration as TOML.
	Marshal func(*spec.Config) []byte
	// Reload applies the file now, because somebody asked for it; nil without one,
	// as the next two.
	Reload func(by engine.Actor) (spec.Changes, error)
	// Preview tells what Reload would change.
	Preview func() (spec.Changes, error)
	// LastReload tells what came of the last reload.
	LastReload func() Reload
	// FileDiffers reports whether the file, as it was last applied, says something
	// else than what is in force; nil without a file.
	FileDiffers func() bool

	// History returns the last configurations that were in force, the oldest first.
	History func() []Configuration
	// Compare tells how one of them differs from others.
	Compare func(number int) (Comparison, error)
	// Rollback puts one of them in force again, as one more change, that of number
	// 0 being the one before; and writes it to the file, if it is to. Of a change that
	// waits to be confirmed it is the end.
	Rollback func(by engine.Actor, number int, write bool) (Rollback, error)
	// Apply puts in force what a file of this name holds. If within is not 0 it is
	// undone after that time unless it is confirmed. The name is printable.
	Apply func(by engine.Actor, name string, data []byte, within time.Duration) (spec.Changes, error)
	// Confirm keeps the change that would be undone, and returns its number.
	Confirm func(by engine.Actor) (int, error)
	// Unconfirmed returns the change that would be undone; nil if there is none. It
	// is nil itself where there can be none, as Edited is where nobody asks.
	Unconfirmed func() *Unconfirmed
	// Edited is told of a command that changed the configuration in force. The text
	// is printable.
	Edited func(by engine.Actor, command string)

	// MessagesLost returns how many log messages nobody took, since the
	// start.
	MessagesLost func() uint64
	// Stopping reports whether the daemon is on its way to its end, though it may
	// still serve clients for a while.
	Stopping func() bool
	// Stop asks the daemon to shut down. It does not wait.
	Stop func()
}

// Reload is what came of a reload; the zero value if there was none yet.
type Reload struct {
	Time       time.Time
	Errs       []error // one each; none if it succeeded
	Generation uint64  // of the configuration in force afterwards
	Hash       string  // SHA-256 of the file, in hexadecimal; empty if it could not be read
}

// OK reports whether the reload succeeded.
func (r Reload) OK() bool { return len(r.Errs) == 0 }

// Errors returns the text of each error.
func (r Reload) Errors() []string {
	texts := make([]string, len(r.Errs))
	for i, err := range r.Errs {
		texts[i] = err.Error()
	}
	return texts
}

// Identity tells daemons apart. It is what "identify" answers, as JSON.
type Identity struct {
	Version   string     `json:"version"`
	PID       int        `json:"pid"`
	Started   time.Time  `json:"started"`
	File      string     `json:"file,omitempty"`
	Listeners []Listener `json:"listeners"`
}

// Listener is a listener of a daemon.
type Listener struct {
	Name string `json:"name"`
	// Listen is what is declared, Addresses what is bound; in both an empty
	// host stands for every address of the machine.
	Listen    []string `json:"listen"`
	Addresses []string `json:"addresses"`
}

// writeAnswer writes an answer to w, piece by piece. What a terminal could take
// as a command is replaced.
func writeAnswer(w io.Writer, lines iter.Seq[string], status Status) error {
	buffered := bufio.NewWriterSize(w, 32<<10)
	for line := range lines {
		if strings.HasPrefix(line, ".") {
			buffered.WriteByte('.')
		}
		buffered.WriteString(printable(line))
		if err := buffered.WriteByte('\n'); err != nil {
			return err
		}
	}
	fmt.Fprintf(buffered, ". %d\n", status)
	return buffered.Flush()
}

// The bounds of an answer that a client takes, which are beyond what a daemon
// with a file of its greatest size says.
const (
	maxAnswer      = 64 << 20 // bytes
	maxAnswerLines = 1 << 20
)

// readAnswer reads what writeAnswer wrote, of at most so many bytes. Whoever
// wrote it need not be a daemon: what comes back can be printed.
func readAnswer(r *bufio.Reader, most int) (lines []string, status Status, err error) {
	for {
		line, err := readLine(r, &most)
		if err != nil {
			return lines, Failed, err
		}
		if mark, ok := strings.CutPrefix(line, ". "); ok {
			number, err := strconv.Atoi(mark)
			if err != nil {
				return lines, Failed, fmt.Errorf("end mark %.20q is none", line)
			}
			return lines, Status(number), nil
		}
		if len(lines) == maxAnswerLines {
			return lines, Failed, fmt.Errorf("the answer has more than %d lines", maxAnswerLines)
		}
		lines = append(lines, printable(strings.TrimPrefix(line, ".")))
	}
}

// readLine reads a line of at most so many bytes, and takes them off.
func readLine(r *bufio.Reader, most *int) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(part) > *most {
			return "", errors.New("the answer is too long")
		}
		*most -= len(part)
		line = append(line, part...)
		switch {
		case err == nil:
			return string(line[:len(line)-1]), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return "", err
		}
	}
}

// printable writes what cannot be printed as JSON escapes it (RFC 8259, 7), so
// that an answer in JSON stays one. What is no UTF-8 becomes U+FFFD: a terminal
// may take a single byte for a command (ECMA-48, 5.3).
func printable(text string) string {
	text = strings.ToValidUTF8(text, "\ufffd")
	if !strings.ContainsFunc(text, notPrintable) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if notPrintable(r) {
			for _, unit := range utf16.AppendRune(nil, r) {
				fmt.Fprintf(&b, `\u%04x`, unit)
			}
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func notPrintable(r rune) bool { return !unicode.IsPrint(r) && r != '\t' }

// fields takes a request line apart.
func fields(line string) ([]string, bool) {
	var list []string
	for {
		line = strings.TrimLeft(line, " \t\r")
		if line == "" {
			return list, true
		}
		if line[0] != '"' {
			end := strings.IndexAny(line, " \t\r")
			if end < 0 {
				end = len(line)
			}
			list = append(list, line[:end])
			line = line[end:]
			continue
		}
		quoted, err := strconv.QuotedPrefix(line)
		if err != nil {
			return nil, false
		}
		text, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, false
		}
		list = append(list, text)
		line = line[len(quoted):]
	}
}

// Split takes several commands apart that semicolons separate. One in double
// quotes separates nothing.
func Split(text string) []string {
	var list []string
	quoted, start := false, 0
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '"':
			quoted = !quoted
		case text[i] == '\\' && quoted:
			i++
		case text[i] == ';' && !quoted:
			list = append(list, strings.TrimSpace(text[start:i]))
			start = i + 1
		}
	}
	list = append(list, strings.TrimSpace(text[start:]))
	return list
}
