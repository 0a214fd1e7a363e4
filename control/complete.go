package control

import (
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
	for _, candidate := range c.candidates(words) {
		if strings.HasPrefix(candidate.word, last) {
			c.say("%s", strings.TrimRight(candidate.word+"\t"+candidate.about, "\t"))
		}
	}
	return OK
}

// candidates returns what may follow the words of a line.
func (c *conversation) candidates(words []string) []candidate {
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
	args := strings.Fields(command.args)
	if !ok || len(words) > len(args) {
		return nil
	}
	switch arg := strings.Trim(args[len(words)-1], "[]"); arg {
	case "CH", "CH|CLIENT":
		group := c.group
		if len(words) > 1 { // mrtg-bytes G CH
			group, _ = strconv.Atoi(words[1])
		}
		return c.channelCandidates(group)
	case "G":
		return c.groupCandidates()
	case "NAME":
		return c.listenerCandidates()
	case "ID":
		return c.sessionCandidates()
	case "MODE":
		return modeCandidates()
	case "json", "-l":
		return []candidate{{word: arg}}
	}
	return nil
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

func (c *conversation) channelCandidates(group int) []candidate {
	l := c.now()
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
			list = append(list, candidate{strconv.FormatUint(s.ID, 10), s.Client.String()})
		}
		return len(list) < maxCandidates
	})
	return list
}
