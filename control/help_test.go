package control

import (
	"strings"
	"testing"
)

func TestHelp(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	client := r.dial()
	r.expect(client, []exchange{
		{"help drain", OK, "usage:    drain CH...\n" +
			"meaning:  give channel CH no new sessions, and disable it when the last has ended\n" +
			"example:  drain w1 w2\n" +
			"for:      root, the daemon's user and the members of group in [control]"},
		{"? why", OK, "usage:    why ADDRESS [server_name=NAME] [alpn=PROTO] [CH] [-json]\n" +
			"meaning:  tell which channel a client would get, also one whose ClientHello names that server and protocol, or why not CH\n" +
			"example:  why 10.1.2.3 server_name=www.example.net w2\n" +
			"for:      anybody who may use the socket"},
		{"help darin", Misused, "syntax error\n\"darin\" is no command: did you mean \"drain\"?\nusage: help [COMMAND]"},
	})
	answer, _ := r.say(client, "help")
	for _, topic := range topics {
		if !strings.Contains("\n"+answer, "\n"+topic.heading+"\n  ") {
			t.Errorf("help has no heading %q, or nothing below it", topic.heading)
		}
	}
}

// Every command stands in one topic, with an example that is one of it.
func TestEveryCommandHasAnExample(t *testing.T) {
	for _, c := range commands() {
		if c.help == "" {
			continue
		}
		found := 0
		for _, topic := range topics {
			example, here := topic.examples[c.name]
			if !here {
				continue
			}
			found++
			if name, args := Resolve(example); name != c.name || !c.takes(len(args)) {
				t.Errorf("%q is no example of %s", example, c.name)
			}
		}
		if found != 1 {
			t.Errorf("%s stands in %d topics", c.name, found)
		}
	}
}
