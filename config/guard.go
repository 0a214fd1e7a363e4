package config

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"
)

var errTooLarge = fmt.Errorf("it is larger than %d bytes", MaxSize)

// maxDepth bounds how deep tables and arrays may nest. A configuration needs
// five levels; a parser that recurses once a level needs some bound.
const maxDepth = 64

// guard refuses what must not reach a parser. The line is 0 if the fault
// stands in no line.
func guard(data []byte) (line int, err error) {
	if len(data) > MaxSize {
		return 0, errTooLarge
	}
	for _, mark := range byteOrderMarks {
		if bytes.HasPrefix(data, mark.bytes) {
			return 1, errors.New(mark.problem)
		}
	}
	if at := bytes.IndexByte(data, 0); at >= 0 {
		return lineAt(data, at), errors.New("the file holds a NUL byte: it is not text in UTF-8")
	}
	for at := 0; at < len(data); {
		r, size := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && size == 1 {
			return lineAt(data, at), fmt.Errorf("the byte 0x%02x is not UTF-8: save the file as UTF-8", data[at])
		}
		at += size
	}
	if at := tooDeep(data); at >= 0 {
		return lineAt(data, at), fmt.Errorf("tables and arrays nest deeper than %d levels", maxDepth)
	}
	return 0, nil
}

var byteOrderMarks = []struct {
	bytes   []byte
	problem string
}{
	{[]byte("\xef\xbb\xbf"), "the file begins with a byte order mark: save it as UTF-8 without one"},
	{[]byte("\xff\xfe"), "the file is in UTF-16: save it as UTF-8"},
	{[]byte("\xfe\xff"), "the file is in UTF-16: save it as UTF-8"},
}

func lineAt(data []byte, offset int) int {
	return 1 + bytes.Count(data[:offset], []byte("\n"))
}

// tooDeep returns where brackets, braces and dotted keys nest deeper than
// maxDepth, or -1. It counts levels up to the first fault in the syntax of the
// document exactly or too high, never too low, and a parser that stops at that
// fault meets no others. Strings and comments are told as the parser tells
// them: a run of three or more quotes ends a multi-line string, all of the run.
func tooDeep(data []byte) int {
	var (
		open []int // for each bracket that is open, the dots of the key before it
		deep int   // len(open) and all dots in open
		dots int   // in the key or value that is being read
	)
	for i := 0; i < len(data); i++ {
		switch c := data[i]; c {
		case '#':
			i += lengthTo(data[i:], '\n') - 1
		case '"', '\'':
			i = stringEnd(data, i) - 1
		case '.':
			dots++
		case ',', '\n':
			dots = 0
		case '[', '{':
			open = append(open, dots)
			deep += 1 + dots
			dots = 0
		case ']', '}':
			if n := len(open); n > 0 {
				deep -= 1 + open[n-1]
				open = open[:n-1]
			}
		}
		if deep+dots > maxDepth {
			return i
		}
	}
	return -1
}

// stringEnd returns the offset behind the string that begins at start. A
// string of one line ends at the end of the line at the latest.
func stringEnd(data []byte, start int) int {
	quote := data[start]
	multiline := run(data[start:], quote) >= 3
	i := start + 1
	if multiline {
		i = start + 3
	}
	for i < len(data) {
		switch {
		case data[i] == '\\' && quote == '"':
			i += 2
		case data[i] == '\n' && !multiline:
			return i
		case data[i] != quote:
			i++
		case !multiline:
			return i + 1
		default:
			n := run(data[i:], quote)
			i += n
			if n >= 3 {
				return i
			}
		}
	}
	return len(data)
}

// run returns how many bytes at the start of data are c.
func run(data []byte, c byte) int {
	n := 0
	for n < len(data) && data[n] == c {
		n++
	}
	return n
}

// lengthTo returns the length of data before the first c.
func lengthTo(data []byte, c byte) int {
	if n := bytes.IndexByte(data, c); n >= 0 {
		return n
	}
	return len(data)
}
