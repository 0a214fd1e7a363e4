package control

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"balance/engine"
	"balance/spelling"
)

// choice is a channel that an operator named.
type choice struct {
	listener string
	group    int
	number   int
	words    string // what answers call it: its number if that was said, else its name, else its address
	engine.ChannelStatus
}

// mischoice is why a word stands for no channel.
type mischoice struct {
	text    string
	number  bool // it was the number of none, which has its classic answer
	unknown bool // it stands for nothing at all, which is an error of syntax
}

func (m mischoice) Error() string { return m.text }

// choose returns the channels that words stand for, each once, in the order of the
// words. It answers if one of them stands for none; unknown is the answer to a
// number that no channel has, "" for the usual one.
//
// A word is, each behind LISTENER/ or for the current listener:
//
//	7             the number of a channel of the current group, or of group 0 of another listener
//	w1            the name of a channel
//	10.0.0.7:80   its host and port
//	10.0.0.7      its host, if no other channel of the listener has it
//	w*, *:80      a pattern for any of the three: * is any text, ? any character
func (c *conversation) choose(unknown string, words ...string) ([]choice, Status) {
	listeners := c.daemon.Engine.Snapshot().Listeners
	var chosen []choice
	for _, word := range words {
		found, err := c.match(listeners, word)
		if wrong, ok := err.(mischoice); ok {
			switch {
			case wrong.unknown:
				return nil, c.misused("%s", wrong.text)
			case wrong.number && unknown != "":
				return nil, c.fail("%s", unknown)
			}
			return nil, c.fail("%s", wrong.text)
		}
		for _, ch := range found {
			if !slices.ContainsFunc(chosen, func(other choice) bool { return other.listener == ch.listener && other.Key == ch.Key }) {
				chosen = append(chosen, ch)
			}
		}
	}
	return chosen, OK
}

// each does something to every channel that the words stand for, once it is known
// that all of them stand for one.
func (c *conversation) each(words []string, do func(choice) error) Status {
	chosen, status := c.choose("", words...)
	for _, ch := range chosen {
		if err := do(ch); err != nil { // it went this moment
			status = c.fail("no such channel %s", ch.words)
		}
	}
	return status
}

// match returns the channels that one word stands for, or a mischoice.
func (c *conversation) match(listeners []engine.ListenerStatus, word string) ([]choice, error) {
	slash := strings.LastIndexByte(word, '/') // it may stand in the name of a listener, but in none of a channel
	text := word[slash+1:]
	among := pickListeners(listeners, c.listener)
	if slash >= 0 {
		if among = pickListeners(listeners, word[:slash]); len(among) == 0 {
			return nil, mischoice{text: noListener(listeners, word[:slash]), unknown: true}
		}
	}
	if number, err := strconv.Atoi(text); err == nil {
		return c.numbered(among, slash >= 0, number)
	}
	var found []choice
	for _, by := range []func(engine.ChannelStatus) bool{
		func(ch engine.ChannelStatus) bool { return ch.Name == text },
		func(ch engine.ChannelStatus) bool { return ch.Key.String() == text },
		func(ch engine.ChannelStatus) bool { return sameHost(ch.Key.Host, text) },
	} {
		if found = c.filtered(among, by); text != "" && len(found) > 0 {
			break
		}
	}
	switch {
	case isPattern(text):
		fits := pattern(text)
		found = c.filtered(among, func(ch engine.ChannelStatus) bool {
			return ch.Name != "" && fits(ch.Name) || fits(ch.Key.String()) || fits(ch.Key.Host)
		})
	case len(found) > 1 && len(among) == 1:
		var keys []string
		for _, ch := range found {
			keys = append(keys, titled(ch.Key.String(), ch.Name))
		}
		return nil, mischoice{text: fmt.Sprintf("%q is ambiguous: it is the host of %s", word, strings.Join(keys, ", "))}
	}
	if len(found) == 0 {
		return nil, mischoice{text: c.noChannel(listeners, among, word, text), unknown: true}
	}
	return found, nil
}

func all(engine.ChannelStatus) bool { return true }

// numbered returns the channels with a number: of the current group, and of group 0
// of other listeners.
func (c *conversation) numbered(among []engine.ListenerStatus, named bool, number int) ([]choice, error) {
	var found []choice
	for _, l := range among {
		group := 0
		if l.Name == c.listener {
			group = c.group
		}
		for _, ch := range c.filtered([]engine.ListenerStatus{l}, all) {
			if ch.group == group && ch.number == number {
				if !named {
					ch.words = strconv.Itoa(number)
				}
				found = append(found, ch)
			}
		}
	}
	if len(found) == 0 {
		return nil, mischoice{text: fmt.Sprintf("no such channel %d", number), number: true}
	}
	return found, nil
}

// filtered returns the channels of listeners that fit.
func (c *conversation) filtered(listeners []engine.ListenerStatus, fits func(engine.ChannelStatus) bool) []choice {
	var found []choice
	for _, l := range listeners {
		for g, group := range l.Groups {
			for i, ch := range group.Channels {
				if !fits(ch) {
					continue
				}
				words := ch.Name
				if words == "" {
					words = ch.Key.String()
				}
				if l.Name != c.listener {
					words = l.Name + "/" + words
				}
				found = append(found, choice{l.Name, g, i, words, ch})
			}
		}
	}
	return found
}

// noChannel tells that a word stands for no channel, and what may have been meant.
func (c *conversation) noChannel(listeners, among []engine.ListenerStatus, word, text string) string {
	problem := fmt.Sprintf("%.60q is no channel", word)
	if isPattern(text) {
		return problem + ": none fits"
	}
	var known []string
	for _, ch := range c.filtered(among, all) {
		for _, name := range []string{ch.Name, ch.Key.Host, ch.Key.String()} {
			if name != "" && !slices.Contains(known, name) {
				known = append(known, name)
			}
		}
	}
	for _, ch := range c.filtered(listeners, func(ch engine.ChannelStatus) bool { return ch.Name == text || ch.Key.String() == text }) {
		if text != "" {
			return problem + fmt.Sprintf(" of listener %q: did you mean %q?", c.listener, ch.words)
		}
	}
	return problem + meant(text, known)
}

// noListener tells that a name is that of no listener, and which one may have been
// meant, or which other word.
func noListener(listeners []engine.ListenerStatus, name string, known ...string) string {
	for _, l := range listeners {
		known = append(known, l.Name)
	}
	return fmt.Sprintf("%.60q is no listener", name) + meant(name, known)
}

// maxKnown is how many words are listed where none is like the one that was said.
const maxKnown = 12

// meant tells which of the known words may have been meant, or which there are.
func meant(word string, known []string) string {
	if len(word) < 100 { // what is longer is no typing error
		if near, ok := spelling.Nearest(word, known[:min(len(known), 10_000)]); ok {
			return fmt.Sprintf(": did you mean %q?", near)
		}
	}
	if len(known) == 0 {
		return ""
	}
	more := ""
	if n := len(known) - maxKnown; n > 0 {
		known, more = known[:maxKnown], fmt.Sprintf(" and %d more", n)
	}
	return ": known here are " + strings.Join(known, ", ") + more
}

// pickListeners returns the listener of this name, or those that fit the pattern.
func pickListeners(listeners []engine.ListenerStatus, text string) []engine.ListenerStatus {
	i := slices.IndexFunc(listeners, func(l engine.ListenerStatus) bool { return l.Name == text })
	switch {
	case i >= 0:
		return listeners[i : i+1]
	case !isPattern(text):
		return nil
	}
	var fit []engine.ListenerStatus
	fits := pattern(text)
	for _, l := range listeners {
		if fits(l.Name) {
			fit = append(fit, l)
		}
	}
	return fit
}

func isPattern(text string) bool { return strings.ContainsAny(text, "*?") }

var stars = regexp.MustCompile(`\*+`)

// pattern returns whether a text fits one with * for any text and ? for any
// character. Those of package path would take the brackets of an IPv6 address for
// a class, and no slash for a *.
func pattern(text string) func(string) bool {
	text = stars.ReplaceAllLiteralString(text, "*") // each would be tried beside the others
	expression := strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(regexp.QuoteMeta(text))
	compiled, err := regexp.Compile(`(?s)^` + expression + `$`)
	if err != nil { // it is too long, which no request is
		return func(string) bool { return false }
	}
	return compiled.MatchString
}

// sameHost reports whether two texts are one host: names whatever their case, and
// addresses however they are written.
func sameHost(host, text string) bool {
	inside, _ := strings.CutPrefix(text, "[")
	a, err1 := netip.ParseAddr(host)
	b, err2 := netip.ParseAddr(strings.TrimSuffix(inside, "]"))
	if err1 == nil && err2 == nil {
		return a == b.Unmap()
	}
	return strings.EqualFold(host, text)
}
