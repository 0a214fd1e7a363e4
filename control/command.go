package control

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	"balance/engine"
)

// command is a word that clients may say.
type command struct {
	name string
	args string // as help shows them; an optional one stands in brackets
	help string // empty for what only programs say
	may  role   // the least that may say it
	run  func(*conversation, []string) Status
}

// classicCommands stand in the order in which they claim their prefixes; the
// scripts of the classic program rely on it.
func classicCommands() []command {
	return []command{
		{"quit", "", "leave the shell", reader, (*conversation).quit},
		{"show", "[all|LISTENER...] [-l] [-json]", "show the channels, of all listeners or those that are named; with -l also their weight and their share of the group's sessions", reader, (*conversation).show},
		{"help", "[COMMAND]", "list the commands, or tell all about one", reader, (*conversation).help},
		{"kill", "", "end the daemon", member, (*conversation).kill},
		{"disable", "CH...", "give channel CH no new sessions", member, (*conversation).disable},
		{"group", "G", "aim at group G", reader, (*conversation).chooseGroup},
		{"reset", "CH...", "zero the counters of channel CH", member, (*conversation).reset},
		{"enable", "CH...", "let channel CH serve", member, (*conversation).enable},
		{"create", "HOST PORT", "add a channel to the group, disabled at first", member, (*conversation).create},
		{"assign", "CH HOST PORT", "give disabled channel CH another address", member, (*conversation).assign},
		{"maxc", "CH... N", "limit channel CH to N simultaneous sessions, 0 = none", member, (*conversation).maxc},
		{"mrtg-bytes", "G NUMBER", "bytes received and sent, for MRTG", reader, (*conversation).mrtgBytes},
		{"mrtg-conns", "G NUMBER", "total sessions, for MRTG", reader, (*conversation).mrtgConns},
		{"version", "", "show the version", reader, (*conversation).version},
		{"hash", "", "choose among the group's channels by the client's address", member, (*conversation).hash},
		{"rr", "", "choose among the group's channels in turn", member, (*conversation).roundRobin},
	}
}

// newCommands get the prefixes that the classic ones leave.
func newCommands() []command {
	return []command{
		{"listeners", "[-json]", "show all listeners", reader, (*conversation).listeners},
		{"listener", "NAME", "aim at another listener", reader, (*conversation).chooseListener},
		{"sessions", "[all|CH|CLIENT...] [by age|idle|bytes] [limit N] [-json]", "show sessions: of the listener or of all, on channels, of clients; CLIENT is an address or a network", reader, (*conversation).sessions},
		{"queue", "", "show the clients that wait for a slot", reader, (*conversation).queue},
		{"close", "ID... | client CLIENT... [all] | channel CH...", "end sessions: by id, of clients (of all listeners with all) or on channels", member, (*conversation).closeSessions},
		{"drain", "CH...", "give channel CH no new sessions, and disable it when the last has ended", member, (*conversation).drain},
		{"reload", "", "apply the configuration file now", member, (*conversation).reload},
		{"diff", "[-json]", "show what reload would change", member, (*conversation).diff},
		{"config", "", "show the configuration in force", member, (*conversation).config},
		{"status", "[-json]", "show version, uptime, the last reload and what is not well", reader, (*conversation).status},
		{"why", "ADDRESS [server_name=NAME] [alpn=PROTO] [CH] [-json]", "tell which channel a client would get, also one whose ClientHello names that server and protocol, or why not CH", reader, (*conversation).why},
		{"admit", "ADDRESS [-json]", "tell whether a client would be let in, and by which line of which list", reader, (*conversation).admit},
		{"sources", "[N] [-json]", "show the N busiest sources of clients against their limits, 20 without N", reader, (*conversation).sources},
		{"watch", "[SECONDS]", "show again and again, until a key is pressed", reader, (*conversation).watch},
		{"identify", "", "tell who this daemon is, as JSON", reader, (*conversation).identify},
		{"health", "[all|LISTENER...] [-json]", "show how it stands with all channels, since when and why, and their checks", reader, (*conversation).health},
		{"check", "CH...", "check channel CH now", member, (*conversation).check},
		{"events", "[N] [-json]", "show the last N events of channels and of what was asked for, 20 without N", reader, (*conversation).events},
		{"ready", "[NAME]", "tell whether clients can be served, by all listeners or one, or why not", reader, (*conversation).ready},
		{"weight", "CH... N", "give channel CH a share of N beside the others, 0 = no new clients", member, (*conversation).weight},
		{"mode", "MODE", "choose among the group's channels by rr, hash, leastconn, random or first", member, (*conversation).mode},
		{"rebalance", "[PERCENT] [dry]", "end so much of the sessions that channels have above their share, 100 without PERCENT; dry: only tell which", member, (*conversation).rebalance},
		{"history", "[N] [-json]", "show the last configurations that were in force; with N what it changed, and what going back to it would change", member, (*conversation).history},
		{"rollback", "[N] [-write]", "put configuration N in force again, without N the one before; with -write also into the file", member, (*conversation).rollback},
		{"apply", "FILE [confirm TIME]", "put FILE in force, which this client reads; undo that after TIME, unless it is confirmed", owner, (*conversation).apply},
		{"confirm", "", "keep the last change, which would be undone", member, (*conversation).confirm},
		{"piece", "BASE64", "", owner, (*conversation).piece},
		{"complete", "LINE", "", reader, (*conversation).complete},
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

// WellFormed reports whether a request line is a command with as many arguments
// as that takes.
func WellFormed(request string) bool {
	words, ok := fields(request)
	if !ok || len(words) == 0 {
		return false
	}
	c, ok := find(words[0])
	return ok && c.takes(len(words)-1)
}

// Changes reports whether a request line is a command that those may not say who
// may only read.
func Changes(request string) bool {
	words, ok := fields(request)
	if !ok || len(words) == 0 {
		return false
	}
	c, ok := find(words[0])
	return ok && c.may > reader
}

// conversation is what the server knows of one client.
type conversation struct {
	server *Server
	daemon *Daemon
	client credentials
	who    engine.Actor // actor's alone

	listener string // name of the current one
	group    int    // the current one, or one more than the last: create makes it
	over     bool   // the client has said quit, or the daemon ends

	sent []byte // of a file, for apply; nil if nothing was sent
	room *room  // that sent takes its capacity from

	reply reply // to the current request
	audit audit // of it
}

func (s *Server) converse(client credentials) *conversation {
	c := &conversation{server: s, daemon: &s.daemon, client: client}
	if listeners := s.daemon.Engine.Snapshot().Listeners; len(listeners) > 0 {
		c.listener = listeners[0].Name
	}
	return c
}

// request answers one request line. What the answer holds stays taken until
// c.reply.release.
func (c *conversation) request(line string) (lines iter.Seq[string], status Status) {
	role := c.role()
	c.reply = reply{room: &c.server.rooms[role], user: c.client.uid, most: userRoom}
	if role == owner {
		c.reply.most = roleRoom
	}
	status = c.dispatch(line, role)
	if c.reply.short {
		status = Failed
	}
	return c.reply.all(), status
}

func (c *conversation) dispatch(line string, role role) Status {
	words, ok := fields(strings.TrimSuffix(line, "\n"))
	if ok && len(words) == 0 {
		return OK
	}
	if role == stranger { // it was none when it came
		c.over = true
		return c.fail(errDenied)
	}
	c.audit = audit{}
	if !ok {
		return c.misused("a double quote is open, or behind one there is no blank")
	}
	command, found := find(words[0])
	status := Misused
	c.audit.command = command
	switch {
	case found && role < command.may:
		status = c.fail(errDenied)
	case found && command.takes(len(words)-1):
		status = c.run(command, words)
	case found:
		plural := "s"
		if len(words) == 2 {
			plural = ""
		}
		return c.misused("%s with %d argument%s makes no sense", command.name, len(words)-1, plural)
	default:
		return c.misused("%.60q is no command%s", words[0], meantCommand(words, c.commands()))
	}
	if status == Failed {
		c.missed(line)
	}
	return status
}

// meantCommand tells which command may have been meant by words of which the first is
// none: one that stands last, or one that is spelt alike. The list of all is what help
// is for.
func meantCommand(words []string, commands []command) string {
	var known []string
	for _, c := range commands {
		if c.help != "" {
			known = append(known, c.name)
		}
	}
	last := len(words) - 1
	if last > 0 && slices.Contains(known, words[last]) {
		return fmt.Sprintf(": did you mean %.60q?", strings.Join(append([]string{words[last]}, words[:last]...), " "))
	}
	if hint := meant(words[0], known); strings.Contains(hint, "did you mean") {
		return hint
	}
	return "; help lists them"
}

// run answers a command, and tells the daemon what it changed in the configuration.
func (c *conversation) run(command command, words []string) Status {
	before := c.daemon.Engine.Config()
	status := command.run(c, words[1:])
	if c.daemon.Edited != nil && c.daemon.Engine.Config() != before && command.may > reader {
		c.daemon.Edited(c.actor(), printable(fmt.Sprintf("%s: %s", c.listener, strings.Join(words, " "))))
	}
	return status
}

const errDenied = "permission denied"

// role returns what the client may do now.
func (c *conversation) role() role { return c.server.access.Load().role(c.client) }

// commands are those that the client may say.
func (c *conversation) commands() []command {
	role := c.role()
	return slices.DeleteFunc(commands(), func(command command) bool { return role < command.may })
}

// say adds a line to the answer.
func (c *conversation) say(format string, args ...any) {
	c.reply.add(fmt.Sprintf(format, args...))
}

// sayText adds lines to the answer.
func (c *conversation) sayText(text string) {
	if text = strings.TrimSuffix(text, "\n"); text != "" {
		c.reply.add(strings.Split(text, "\n")...)
	}
}

// misused answers what was wrong with a request, and what would be right. The first
// line is the classic one, which scripts look for.
func (c *conversation) misused(format string, args ...any) Status {
	c.say("syntax error")
	c.say(format, args...)
	if command := c.audit.command; command.name != "" {
		c.say("usage: %s", command.usage())
	}
	return Misused
}

// usage is how the command is said.
func (c command) usage() string { return strings.TrimSpace(c.name + " " + c.args) }

func (c *conversation) fail(format string, args ...any) Status {
	return c.failed(fmt.Errorf(format, args...))
}

// failed answers an error, which may be many, one a line.
func (c *conversation) failed(err error) Status {
	c.audit.problem = cmp.Or(c.audit.problem, err.Error())
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
func Words() []string {
	var list []string
	for _, c := range commands() {
		if c.help != "" {
			list = append(list, c.name)
		}
	}
	return list
}
