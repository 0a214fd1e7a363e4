package client

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"balance/control"
)

// offer is a word that the daemon offers, and what it stands for.
type offer struct{ word, about string }

// complete extends the word at the cursor, which stands behind so many runes,
// as far as it is certain, and lists what it may become if that is nothing. The
// editor gets the one word to put between head and tail.
func (s *dialogue) complete(text string, at int) (head string, words []string, tail string) {
	runes := []rune(text)
	before, after := string(runes[:at]), string(runes[at:])
	lines, status, err := s.client.Ask("complete " + strconv.Quote(before))
	if err != nil {
		fmt.Fprintf(s.stdout, "\nbalance: complete: %v\n", err)
	}
	if err != nil || status != control.OK || len(lines) == 0 {
		return before, []string{""}, after
	}
	offers := offersOf(lines)
	start := strings.LastIndexAny(before, " ;") + 1
	head, typed := before[:start], before[start:]
	common := commonPrefix(offers)
	if len(offers) == 1 && !strings.HasPrefix(after, " ") && !strings.HasSuffix(common, "=") {
		common += " "
	}
	if len(common) > len(typed) && strings.HasPrefix(common, typed) {
		return head, []string{common}, after
	}
	fmt.Fprintln(s.stdout)
	columns, rows := s.editor.size()
	for _, line := range s.palette.listing(offers, columns, rows) {
		fmt.Fprintln(s.stdout, line)
	}
	return head, []string{typed}, after
}

// offersOf takes the lines of an answer apart.
func offersOf(lines []string) []offer {
	offers := make([]offer, len(lines))
	for i, line := range lines {
		offers[i].word, offers[i].about, _ = strings.Cut(line, "\t")
	}
	return offers
}

func commonPrefix(offers []offer) string {
	prefix := offers[0].word
	for _, o := range offers[1:] {
		for !strings.HasPrefix(o.word, prefix) {
			prefix = prefix[:len(prefix)-1]
		}
	}
	return strings.ToValidUTF8(prefix, "")
}

// listing arranges offers in columns that fit the screen, as ls(1) does. What
// they stand for is beside them, unless that is more than a screen.
func (p palette) listing(offers []offer, columns, rows int) []string {
	columns = max(columns, 40)
	words, abouts := 0, 0
	for _, o := range offers {
		words = max(words, utf8.RuneCountInString(o.word))
		abouts = max(abouts, utf8.RuneCountInString(o.about))
	}
	abouts = max(min(abouts, columns-words-3), 0)
	width := words
	if abouts > 0 {
		width += 2 + abouts
	}
	across := max((columns+1)/(width+2), 1)
	down := (len(offers) + across - 1) / across
	if abouts > 0 && rows > 0 && down > rows-2 {
		bare := make([]offer, len(offers))
		for i, o := range offers {
			bare[i].word = o.word
		}
		return p.listing(bare, columns, rows)
	}
	lines := make([]string, down)
	for i, o := range offers {
		about := []rune(o.about)
		about = about[:min(len(about), abouts)]
		lines[i%down] += o.word + blanks(words-utf8.RuneCountInString(o.word)+2)
		if abouts > 0 {
			state, rest, more := strings.Cut(string(about), ",") // as in "up, 10.0.0.1:80"
			if more {
				rest = "," + rest
			}
			lines[i%down] += p.paint(state) + rest + blanks(abouts-len(about)+2)
		}
	}
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return lines
}

func blanks(n int) string { return strings.Repeat(" ", n) }
