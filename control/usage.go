package control

import (
	"slices"
	"strings"
	"unicode"
)

// argument is one argument of a command, as its usage says: CH, [N], ADDR..., -l.
// What is in upper case stands for something, the rest for itself.
type argument struct {
	words    []string // more than one where the first calls for the next, as in [limit N]; each may be several with bars between
	optional bool
	many     bool // may be said several times
}

// form is one way to say a command.
type form []argument

// forms takes a usage apart, whose forms have " | " between them.
func forms(usage string) []form {
	var all []form
	for text := range strings.SplitSeq(usage, " | ") {
		var f form
		words := strings.Fields(text)
		for len(words) > 0 {
			n := 1
			if strings.HasPrefix(words[0], "[") {
				n = 1 + slices.IndexFunc(words, func(word string) bool { return strings.HasSuffix(word, "]") })
			}
			inside, optional := strings.CutPrefix(strings.TrimSuffix(strings.Join(words[:n], " "), "]"), "[")
			inside, many := strings.CutSuffix(inside, "...")
			f = append(f, argument{strings.Fields(inside), optional, many})
			words = words[n:]
		}
		all = append(all, f)
	}
	return all
}

// takes reports whether the command can have so many arguments.
func (c command) takes(n int) bool {
	return slices.ContainsFunc(forms(c.args), func(f form) bool { return f.takes(n) })
}

func (f form) takes(n int) bool {
	least, most, many := 0, 0, false
	for _, a := range f {
		if !a.optional {
			least += len(a.words)
		}
		most += len(a.words)
		many = many || a.many
	}
	return least <= n && (n <= most || many)
}

// isPlaceholder reports whether a word of a usage stands for something else.
func isPlaceholder(word string) bool { return strings.ContainsFunc(word, unicode.IsUpper) }

// follows returns what may come behind the words that have been said: words, and
// what stands for words.
func (f form) follows(said []string) []string {
	var next, options []string
	at, places := 0, form{}
	for _, a := range f {
		if name, _, ok := strings.Cut(a.words[0], "="); ok { // name=VALUE may stand anywhere
			rest, text := assigned(said, name)
			if said = rest; text == "" {
				options = append(options, a.words[0])
			}
			continue
		}
		if a.optional && !isPlaceholder(a.words[0]) {
			if i := slices.Index(said, a.words[0]); i < 0 {
				options = append(options, a.words[0])
			} else if given := said[i+1:]; len(given) < len(a.words)-1 {
				return strings.Split(a.words[len(given)+1], "|")
			} else {
				said = append(slices.Clone(said[:i]), given[len(a.words)-1:]...)
			}
			continue
		}
		places = append(places, a)
	}
	if len(said) == 0 && len(places) > 0 && !isPlaceholder(places[0].words[0]) {
		return places[0].words // which says that it is this form
	}
	for i := range said {
		switch {
		case at == len(places):
			return nil
		case i == 0 && !isPlaceholder(places[0].words[0]) && said[0] != places[0].words[0]:
			return nil
		case !places[at].many:
			at++
		case i == len(said)-1 && at+1 < len(places):
			next = append(next, places[at+1].words...)
		}
	}
	if at < len(places) {
		next = append(strings.Split(places[at].words[0], "|"), next...)
	}
	return append(next, options...)
}

// option takes a word that may stand anywhere out of the arguments, and reports
// whether it was there.
func option(args []string, name string) ([]string, bool) {
	i := slices.Index(args, name)
	if i < 0 {
		return args, false
	}
	return slices.Delete(slices.Clone(args), i, i+1), true
}

// assigned returns the arguments without the first that is name=text, and the text;
// empty if there is none.
func assigned(args []string, name string) (rest []string, text string) {
	for i, arg := range args {
		if text, ok := strings.CutPrefix(arg, name+"="); ok {
			return slices.Delete(slices.Clone(args), i, i+1), text
		}
	}
	return args, ""
}

// value is option for a word with a value behind it; ok is false if there is none.
func value(args []string, name string) (rest []string, text string, there, ok bool) {
	i := slices.Index(args, name)
	if i < 0 || i == len(args)-1 {
		return args, "", i >= 0, i < 0
	}
	return slices.Delete(slices.Clone(args), i, i+2), args[i+1], true, true
}
