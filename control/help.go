package control

// topics are the commands as help shows them, each with an example.
var topics = []struct {
	heading  string
	examples map[string]string // by command
}{
	{"Looking", map[string]string{
		"show": "show all -l", "listeners": "listeners", "health": "health", "sessions": "sessions all by bytes limit 10", "queue": "queue",
		"why": "why 10.1.2.3 server_name=www.example.net w2", "admit": "admit 198.51.100.7", "sources": "sources 50", "events": "events 50", "status": "status", "ready": "ready web", "watch": "watch 5", "config": "config",
		"diff": "diff", "history": "history 7",
	}},
	{"Acting", map[string]string{
		"drain": "drain w1 w2", "enable": "enable web/*", "disable": "disable 10.0.0.21:80", "close": "close client 10.0.0.0/8", "weight": "weight w1 3",
		"maxc": "maxc w* 100", "check": "check w1", "create": "create 10.0.0.23 80", "assign": "assign w1 10.0.0.24 80", "mode": "mode leastconn",
		"hash": "hash", "rr": "rr", "rebalance": "rebalance 50 dry", "reset": "reset w1", "reload": "reload", "kill": "kill",
		"rollback": "rollback 7 -write", "apply": "apply new.toml confirm 60s", "confirm": "confirm",
	}},
	{"This shell", map[string]string{
		"group": "group 1", "listener": "listener web", "help": "help drain", "version": "version", "quit": "quit",
	}},
	{"For scripts", map[string]string{
		"mrtg-bytes": "mrtg-bytes 0 1", "mrtg-conns": "mrtg-conns 0 1", "identify": "identify",
	}},
}

// help lists the commands that the client may say, or tells all about one.
func (c *conversation) help(args []string) Status {
	commands := c.commands()
	if len(args) > 0 {
		return c.helpWith(args[0], commands)
	}
	for i, topic := range topics {
		if i > 0 {
			c.say("")
		}
		c.say("%s", topic.heading)
		for _, command := range commands {
			if _, here := topic.examples[command.name]; !here {
				continue
			}
			if usage := command.usage(); len(usage) > 23 {
				c.say("  %s", usage)
				c.say("  %-24s%s", "", command.help)
			} else {
				c.say("  %-24s%s", usage, command.help)
			}
		}
	}
	c.say("")
	c.say("CH is a number, a name, host:port or a pattern, LISTENER/ may stand before it; help COMMAND says more")
	return OK
}

func (c *conversation) helpWith(word string, commands []command) Status {
	command, found := find(word)
	if !found || command.help == "" {
		return c.misused("%.60q is no command%s", word, meantCommand([]string{word}, commands))
	}
	who := "anybody who may use the socket"
	switch {
	case command.may >= owner:
		who = "root and the daemon's user"
	case command.may >= member:
		who = "root, the daemon's user and the members of group in [control]"
	}
	c.say("usage:    %s", command.usage())
	c.say("meaning:  %s", command.help)
	for _, topic := range topics {
		if example, here := topic.examples[command.name]; here {
			c.say("example:  %s", example)
		}
	}
	c.say("for:      %s", who)
	return OK
}
