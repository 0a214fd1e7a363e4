package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"balance/engine/balancer"
)

const (
	maxWords  = 256      // bytes of an Answer
	maxQuote  = 120      // bytes of what a quote takes in it
	maxAnswer = 64 << 10 // bytes that are read of what a server sends
)

// failure is what came of a check that did not pass.
type failure struct {
	outcome Outcome
	words   string
}

func (f *failure) Error() string { return f.words }

func failed(outcome Outcome, format string, args ...any) error {
	return &failure{outcome, fmt.Sprintf(format, args...)}
}

// outcomeOf returns what came of a check that failed with an error.
func outcomeOf(err error) Outcome {
	var known *failure
	if errors.As(err, &known) {
		return known.outcome
	}
	switch balancer.FailureOf(err) {
	case balancer.Refused:
		return Refused
	case balancer.TimedOut:
		return TimedOut
	case balancer.Unreachable:
		return Unreachable
	case balancer.LocalFailure:
		return Local
	}
	return Reset
}

// cause returns the cause of an error of a system call, without the story that
// Go tells around it.
func cause(err error) string {
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "no answer"
	case errors.Is(err, context.Canceled):
		return "given up"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed the connection"
	}
	return err.Error()
}

// quote returns what a server said in quotes, with escapes in the place of what
// cannot be printed, and cut to what an Answer can hold.
func quote(said []byte) string {
	said = said[:min(len(said), 4*maxQuote)]
	quoted := strconv.Quote(string(said))
	if len(quoted) <= maxQuote {
		return quoted
	}
	for end := maxQuote; ; end-- {
		// Not in the middle of a rune, nor of an escape.
		if !utf8.RuneStart(quoted[end]) {
			continue
		}
		if text, err := strconv.Unquote(quoted[:end] + `"`); err == nil && strings.HasPrefix(string(said), text) {
			return quoted[:end] + `"…`
		}
	}
}

// printable returns a text in which every rune can be printed, of at most
// maxWords bytes. What a server said was quoted before; this also bounds what
// others put in their errors.
func printable(text string) string {
	const more = "…"
	var b strings.Builder
	for _, r := range text {
		if !strconv.IsPrint(r) || r == utf8.RuneError {
			r = '?'
		}
		if b.Len()+utf8.RuneLen(r) > maxWords {
			kept := b.String()
			end := maxWords - len(more)
			for end < len(kept) && !utf8.RuneStart(kept[end]) {
				end--
			}
			return kept[:min(end, len(kept))] + more
		}
		b.WriteRune(r)
	}
	return b.String()
}
