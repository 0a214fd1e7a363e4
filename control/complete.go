package control

import (
	"strconv"
	"strings"

	"balance/engine/balancer"
	"balance/engine/plane"
)

// complete answers the words that may stand at the end of a line, which is
// given as one quoted field.
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
		if strings.HasPrefix(candidate, last) {
			c.say("%s", candidate)
		}
	}
	return OK
}

// candidates returns what may follow the words of a line.
func (c *conversation) candidates(words []string) []string {
	if len(words) == 0 {
		return names(c.commands())
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
		return c.channelNumbers(group)
	case "G":
		return c.groupNumbers()
	case "NAME":
		return c.listenerNames()
	case "ID":
		return c.sessionIDs()
	case "MODE":
		return modes()
	case "json", "-l":
		return []string{arg}
	}
	return nil
}

func names(commands []command) []string {
	var list []string
	for _, c := range commands {
		if c.help != "" {
			list = append(list, c.name)
		}
	}
	return list
}

func (c *conversation) channelNumbers(group int) []string {
	for _, l := range c.daemon.Engine.Snapshot().Listeners {
		if l.Name == c.listener && group >= 0 && group < len(l.Groups) {
			return numbers(len(l.Groups[group].Channels))
		}
	}
	return nil
}

func (c *conversation) groupNumbers() []string {
	for _, l := range c.daemon.Engine.Snapshot().Listeners {
		if l.Name == c.listener {
			return numbers(len(l.Groups))
		}
	}
	return nil
}

func modes() []string {
	var list []string
	for mode := range balancer.Modes {
		list = append(list, mode.String())
	}
	return list
}

func numbers(n int) []string {
	var list []string
	for i := range n {
		list = append(list, strconv.Itoa(i))
	}
	return list
}

func (c *conversation) listenerNames() []string {
	var list []string
	for _, l := range c.daemon.Engine.Snapshot().Listeners {
		name := l.Name
		if strings.ContainsAny(name, " \t\";") {
			name = strconv.Quote(name)
		}
		list = append(list, name)
	}
	return list
}

// maxCandidates bounds a list that is for the eye.
const maxCandidates = 100

func (c *conversation) sessionIDs() []string {
	var list []string
	c.daemon.Engine.Sessions(func(s plane.Session) bool {
		if s.Listener.Service().Name == c.listener {
			list = append(list, strconv.FormatUint(s.ID, 10))
		}
		return len(list) < maxCandidates
	})
	return list
}
