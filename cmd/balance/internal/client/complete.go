package client

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"balance/control"
)

// complete extends the word at the cursor as far as it is certain, and lists
// what it may become if that is nothing.
func (s *dialogue) complete(out io.Writer, text string, at int) (string, int, bool) {
	lines, status, err := s.client.Ask("complete " + strconv.Quote(text[:at]))
	if err != nil {
		fmt.Fprintf(out, "balance: complete: %v\n", err)
	}
	if err != nil || status != control.OK || len(lines) == 0 {
		return text, at, true
	}
	typed := text[:at]
	typed = typed[strings.LastIndexAny(typed, " ;")+1:]
	common := commonPrefix(lines)
	if len(lines) == 1 {
		common += " "
	}
	if len(common) <= len(typed) {
		fmt.Fprintln(out, strings.Join(lines, "  "))
		return text, at, true
	}
	return text[:at] + common[len(typed):] + text[at:], at + len(common) - len(typed), true
}

func commonPrefix(words []string) string {
	prefix := words[0]
	for _, word := range words[1:] {
		for !strings.HasPrefix(word, prefix) {
			prefix = prefix[:len(prefix)-1]
		}
	}
	return prefix
}
