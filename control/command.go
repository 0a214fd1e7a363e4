package control

import (
	"fmt"
	"strings"

	"balance/engine"
)

// command is a word that clients may say.
type command struct {
	name string
	args string // as help shows them; an optional one stands in brackets
	help string // empty for what only programs say
	run  func(*conversation, []string) Status
}

// classicCommands stand in the order in which they claim their prefixes; the
// scripts of the classic program rely on it.
func classicCommands() []command {
	return []command{
		{"quit", "", "leave the shell", (*conversation).quit},
		{"show", "", "show all channels", (*conversation).show},
		{"help", "", "show this list", (*conversation).help},
		{"kill", "", "end the daemon", (*conversation).kill},
		{"disable", "CH", "give channel CH no new sessions", (*conversation).disable},
		{"group", "G", "aim at group G", (*conversation).chooseGroup},
		{"reset", "CH", "zero the counters of channel CH", (*conversation).reset},
		{"enable", "CH", "let channel CH serve", (*conversation).enable},
		{"create", "HOST PORT", "add a channel to the group, disabled at first", (*conversation).create},
		{"assign", "CH HOST PORT", "give disabled channel CH another address", (*conversation).assign},
		{"maxc", "CH N", "limit channel CH to N simultaneous sessions, 0 = none", (*conversation).maxc},
		{"mrtg-bytes", "G CH", "bytes received and sent, for MRTG", (*conversation).mrtgBytes},
		{"mrtg-conns", "G CH", "total sessions, for MRTG", (*conversation).mrtgConns},
		{"version", "", "show the version", (*conversation).version},
		{"hash", "", "choose among the group's channels by the client's address", (*conversation).hash},
		{"rr", "", "choose among the group's channels in turn", (*conversation).roundRobin},
	}
}

// newCommands get the prefixes that the classic ones leave.
func newCommands() []command {
	return []command{
		{"listeners", "", "show all listeners", (*conversation).listeners},
		{"listener", "NAME", "aim at another listener", (*conversation).chooseListener},
		{"sessions", "[CH|CLIENT]", "show sessions; CLIENT is an address or a network", (*conversation).sessions},
		{"close", "ID", "end a session", (*conversation).closeSession},
		{"drain", "CH", "give channel CH no new sessions, and disable it when the last has ended", (*conversation).drain},
		{"reload", "", "apply the configuration file now", (*conversation).reload},
		{"diff", "[json]", "show what reload would change", (*conversation).diff},
		{"config", "", "show the configuration in force", (*conversation).config},
		{"status", "", "show version, uptime and the last reload", (*conversation).status},
		{"why", "ADDRESS", "tell which channel a client would get, and why", (*conversation).why},
		{"watch", "[SECONDS]", "show again and again, until a key is pressed", (*conversation).watch},
		{"identify", "", "tell who this daemon is, as JSON", (*conversation).identify},
		{"complete", "LINE", "", (*conversation).complete},
	}
}

func commands() []command { return append(classicCommands(), newCommands()...) }

// find returns the command that a word stands for: the one of that name, or
// the first that it is a prefix of.
func find(word string) (command, bool) {
	if word == "?" {
		word = "help"
	}
	all := commands()
	for _, c := range all {
		if c.name == word {
			return c, true
		}
	}
	for _, c := range all {
		if word != "" && strings.HasPrefix(c.name, word) {
			return c, true
		}
	}
	return command{}, false
}

// Resolve returns the name of the command that a request line asks for, empty
// if there is none, and its arguments.
func Resolve(request string) (name string, args []string) {
	words, ok := fields(request)
	if !ok || len(words) == 0 {
		return "", nil
	}
	c, ok := find(words[0])
	if !ok {
		return "", nil
	}
	return c.name, words[1:]
}

// takes reports whether the command can have so many arguments.
func (c command) takes(n int) bool {
	most := strings.Fields(c.args)
	least := 0
	for _, arg := range most {
		if !strings.HasPrefix(arg, "[") {
			least++
		}
	}
	return least <= n && n <= len(most)
}

// conversation is what the server knows of one client.
type conversation struct {
	server *Server
	daemon *Daemon

	listener string // name of the current one
	group    int    // the current one, or one more than the last: create makes it
	over     bool   // the client has said quit, or the daemon ends

	lines []string // of the answer to the current request
}

func (s *Server) converse() *conversation {
	c := &conversation{server: s, daemon: &s.daemon}
	if listeners := s.daemon.Engine.Snapshot().Listeners; len(listeners) > 0 {
		c.listener = listeners[0].Name
	}
	return c
}

// request answers one request line.
func (c *conversation) request(line string) (lines []string, status Status) {
	c.lines = nil
	status = c.dispatch(line)
	return c.lines, status
}

func (c *conversation) dispatch(line string) Status {
	words, ok := fields(strings.TrimSuffix(line, "\n"))
	if ok && len(words) == 0 {
		return OK
	}
	if ok {
		if command, found := find(words[0]); found && command.takes(len(words)-1) {
			return command.run(c, words[1:])
		}
	}
	return c.misused()
}

// say adds a line to the answer.
func (c *conversation) say(format string, args ...any) {
	c.lines = append(c.lines, fmt.Sprintf(format, args...))
}

// sayText adds lines to the answer.
func (c *conversation) sayText(text string) {
	if text = strings.TrimSuffix(text, "\n"); text != "" {
		c.lines = append(c.lines, strings.Split(text, "\n")...)
	}
}

func (c *conversation) misused() Status {
	c.say("syntax error")
	return Misused
}

func (c *conversation) fail(format string, args ...any) Status {
	c.say(format, args...)
	return Failed
}

// failed answers an error, which may be many, one a line.
func (c *conversation) failed(err error) Status {
	c.sayText(err.Error())
	return Failed
}

// current returns a picture of the current listener.
func (c *conversation) current() (engine.ListenerStatus, bool) {
	for _, l := range c.daemon.Engine.Snapshot().Listeners {
		if l.Name == c.listener {
			return l, true
		}
	}
	c.say("there is no listener %q any more", c.listener)
	return engine.ListenerStatus{}, false
}

// Words returns the names of all commands that people may say.
func Words() []string { return names(commands()) }
