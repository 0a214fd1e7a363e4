package control

import (
	"slices"
	"strconv"
	"strings"

	"balance/engine"
	"balance/engine/balancer"
	"balance/engine/plane"
)

// candidate is a word that may stand at the end of a line.
type candidate struct {
	word  string
	about string // what it stands for: of a channel the state comes first, with a comma behind
}

// complete answers the words that may stand at the end of a line, which is
// given as one quoted field: each with a tab and what it stands for behind it,
// if there is anything to say.
func (c *conversation) complete(args []string) Status {
	line := args[0]
	if i := strings.LastIndexByte(line, ';'); i >= 0 {
		line = line[i+1:]
	}
	words := strings.Fields(line)
	last := ""
	if len(words) > 0 && !strings.HasSuffix(line, " ") {
		last = words[len(words)-1]
		words = words[:len(words)-1]
	}
	for _, candidate := range c.candidates(words, last) {
		if strings.HasPrefix(candidate.word, last) {
			c.say("%s", strings.TrimRight(candidate.word+"\t"+candidate.about, "\t"))
		}
	}
	return OK
}

// candidates returns what may follow the words of a line, nothing behind a command
// that the client may not say: that would tell what the command does.
func (c *conversation) candidates(words []string, last string) []candidate {
	if len(words) == 0 {
		var list []candidate
		for _, command := range c.commands() {
			if command.help != "" {
				list = append(list, candidate{command.name, command.help})
			}
		}
		return list
	}
	command, ok := find(words[0])
	if !ok || c.role() < command.may {
		return nil
	}
	var list []candidate
	for _, f := range forms(command.args) {
		for _, next := range f.follows(words[1:]) {
			if next == "N" && (command.name == "history" || command.name == "rollback") {
				next = "CONFIGURATION"
			}
			for _, found := range c.candidatesFor(next, words[1:], last) {
				again := next != "NUMBER" && slices.Contains(words[1:], found.word)
				if !again && !slices.Contains(list, found) {
					list = append(list, found)
				}
			}
		}
	}
	return list
}

// candidatesFor returns the words that a word of a usage stands for.
func (c *conversation) candidatesFor(word string, said []string, last string) []candidate {
	switch word {
	case "CH":
		return c.channelCandidates(last)
	case "NUMBER": // mrtg-bytes G NUMBER
		group, _ := strconv.Atoi(said[0])
		return numberCandidates(c.now(), group)
	case "G":
		return c.groupCandidates()
	case "LISTENER", "NAME":
		return c.listenerCandidates()
	case "COMMAND":
		return c.candidates(nil, last)
	case "ID":
		return c.sessionCandidates()
	case "MODE":
		return modeCandidates()
	case "CONFIGURATION":
		return c.configurationCandidates()
	}
	if name, _, ok := strings.Cut(word, "="); ok {
		return c.askedFor(name, last)
	}
	if isPlaceholder(word) {
		return nil
	}
	return []candidate{{word: word}}
}

// askedFor returns what a ClientHello may ask for, as name=VALUE: where that much is
// said already, what the groups of the listener are for, but for wildcards.
func (c *conversation) askedFor(name, last string) []candidate {
	list := []candidate{{word: name + "="}}
	if !strings.HasPrefix(last, name+"=") {
		return list
	}
	for _, l := range c.daemon.Engine.Config().Listeners {
		for i := range l.Groups {
			if l.Name != c.listener {
				continue
			}
			values := l.Groups[i].ServerName
			if name == "alpn" {
				values = l.Groups[i].ALPN
			}
			for _, value := range values {
				if !strings.HasPrefix(value, "*") {
					list = append(list, candidate{word: name + "=" + value})
				}
			}
		}
	}
	if len(list) > 1 {
		return list[1:]
	}
	return list
}

// now returns a picture of the current listener; the zero one if there is none.
func (c *conversation) now() engine.ListenerStatus {
	for _, l := range c.daemon.Engine.Snapshot().Listeners {
		if l.Name == c.listener {
			return l
		}
	}
	return engine.ListenerStatus{}
}

// channelCandidates returns the channels of the current group by their names, or
// else their numbers, and of the other groups those with a name; where none of them
// begins like the last word the addresses, and behind a listener all of its own.
func (c *conversation) channelCandidates(last string) []candidate {
	listeners := c.daemon.Engine.Snapshot().Listeners
	about := func(ch choice) string { return ch.State.String() + ", " + ch.Key.String() }
	var list, addresses []candidate
	if slash := strings.LastIndexByte(last, '/'); slash >= 0 {
		for _, ch := range c.filtered(pickListeners(listeners, last[:slash]), all) {
			name := ch.Name
			if name == "" {
				name = ch.Key.String()
			}
			list = append(list, candidate{last[:slash+1] + name, about(ch)})
		}
		return list
	}
	for _, ch := range c.filtered(pickListeners(listeners, c.listener), all) {
		switch {
		case ch.Name != "":
			list = append(list, candidate{ch.Name, about(ch)})
		case ch.group == c.group:
			list = append(list, candidate{strconv.Itoa(ch.number), about(ch)})
		}
		addresses = append(addresses, candidate{ch.Key.String(), ch.State.String()})
	}
	if !slices.ContainsFunc(list, func(one candidate) bool { return strings.HasPrefix(one.word, last) }) {
		return addresses
	}
	return list
}

func numberCandidates(l engine.ListenerStatus, group int) []candidate {
	if group < 0 || group >= len(l.Groups) {
		return nil
	}
	var list []candidate
	for i, ch := range l.Groups[group].Channels {
		list = append(list, candidate{strconv.Itoa(i), ch.State.String() + ", " + ch.Key.String()})
	}
	return list
}

func (c *conversation) groupCandidates() []candidate {
	var list []candidate
	for i, g := range c.now().Groups {
		list = append(list, candidate{strconv.Itoa(i), standings([]engine.ListenerStatus{{Groups: []engine.GroupStatus{g}}})})
	}
	return list
}

// configurationCandidates are those that can be gone back to.
func (c *conversation) configurationCandidates() []candidate {
	var list []candidate
	for _, one := range c.daemon.History() {
		list = append(list, candidate{strconv.Itoa(one.Number), one.Why})
	}
	return list
}

func modeCandidates() []candidate {
	var list []candidate
	for mode := range balancer.Modes {
		list = append(list, candidate{word: mode.String()})
	}
	return list
}

func (c *conversation) listenerCandidates() []candidate {
	var list []candidate
	for _, l := range c.daemon.Engine.Snapshot().Listeners {
		name := l.Name
		if strings.ContainsAny(name, " \t\";") {
			name = strconv.Quote(name)
		}
		list = append(list, candidate{name, standings([]engine.ListenerStatus{l})})
	}
	return list
}

// maxCandidates bounds a list that is for the eye.
const maxCandidates = 100

func (c *conversation) sessionCandidates() []candidate {
	var list []candidate
	c.daemon.Engine.Sessions(func(s plane.Session) bool {
		if s.Listener.Service().Name == c.listener {
			list = append(list, candidate{strconv.FormatUint(s.ID, 10), plane.ClientText(s.Client)})
		}
		return len(list) < maxCandidates
	})
	return list
}
