package control

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"balance/engine"
	"balance/engine/admit"
)

// Who is let in, and for whom a group is, as the shell tells it.
func TestEdge(t *testing.T) {
	config := declare([]string{"web", "mail"}, []string{"127.0.0.1:80"}, []string{"127.0.0.1:81"})
	config.Listeners[1].Listen = []string{"127.0.0.2:0"} // else they would share a socket
	file := filepath.Join(t.TempDir(), "deny")
	if err := os.WriteFile(file, []byte("# bad ones\n198.51.100.0/24\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	web := &config.Listeners[0]
	web.Admit.DenyFile, web.Admit.MaxSessions = file, 3
	web.ProxyProtocol.Accept = []string{"10.0.0.0/8"}
	web.Groups[0].ServerName = []string{"a.example", "*.b.example"}
	web.Groups[0].ALPN = []string{"h2"}
	r := newRig(t, config)
	client := r.dial()
	denied := "denied: by 198.51.100.0/24, " + file + ":2"
	source := "\nsource 198.51.100.7/32: 0 sessions of at most 3"
	const usage = "\nusage: why ADDRESS [server_name=NAME] [alpn=PROTO] [CH] [-json]"
	const others = `group 0: passed over: it is for certain server names, and the client names none`
	r.expect(client, []exchange{
		{"admit 198.51.100.7", OK, denied + source},
		{"admit ::ffff:198.51.100.7", OK, denied + source},
		{"admit 10.0.0.1", OK, "10.0.0.1 must begin with a PROXY header, by 10.0.0.0/8, accept of the configuration; what follows is for a client whom one names so\n" +
			"admitted: nothing denies it\nsource 10.0.0.1/32: 0 sessions of at most 3"},
		{"admit", Misused, "syntax error\nadmit with 0 arguments makes no sense\nusage: admit ADDRESS [-json]"},
		{"admit 10.0.0.1 10.0.0.2", Misused, "syntax error\none address is needed\nusage: admit ADDRESS [-json]"},
		{"admit 10.0.0.0/8", Failed, `"10.0.0.0/8" is not an IP address`},
		{"sources", OK, "source sessions new/s refused limited since"},
		{"sources 5 6", Misused, "syntax error\none number may follow\nusage: sources [N] [-json]"},
		{"sources 0", Misused, "syntax error\n\"0\" is not a number from 1 to 1000\nusage: sources [N] [-json]"},

		{"why 192.0.2.1", OK, others + "\ngroup 1 channel 0 127.0.0.1:81: chosen"},
		{"why 192.0.2.1 server_name=A.example alpn=http/1.1,h2", OK, "group 0 channel 0 127.0.0.1:80: chosen"},
		{"why 198.51.100.7", OK, denied + "; what follows is for a client that is let in\n" + others + "\ngroup 1 channel 0 127.0.0.1:81: chosen"},
		{"why 198.51.100.7 mail/0", OK, "group 0 channel 0 127.0.0.1:80: chosen"},
		{"why 192.0.2.1 server_name=a server_name=b", Misused, "syntax error\nserver_name= is said more than once" + usage},

		{`complete "why 192.0.2.1 ser"`, OK, "server_name="},
		{`complete "why 192.0.2.1 server_name="`, OK, "server_name=a.example"},
		{`complete "why 192.0.2.1 alpn="`, OK, "alpn=h2"},
		{`complete "why 192.0.2.1 server_name=x alpn=x"`, OK, ""},
		{"listener mail", OK, ""},
		{`complete "why 192.0.2.1 server_name="`, OK, "server_name="},
	})
	for request, want := range map[string]string{
		"admit 198.51.100.7 -json": `"outcome":"denied","words":"denied: by .*"network":"198.51.100.0/24","file":".*/deny","line":2,"proxy":false,"source":{"network":"198.51.100.7/32",`,
		"sources -json":            `^{"listener":"web","sources":\[\],"more":0}$`,
		"why 198.51.100.7 -json":   `"outcome":"refused","refused":"denied: by `,
		"why 192.0.2.1 -json":      `"outcome":"chosen"}$`,
	} {
		r.say(client, "listener web")
		if answer, _ := r.say(client, request); !regexp.MustCompile(want).MatchString(answer) {
			t.Errorf("%s: %q is not in\n%s", request, want, answer)
		}
	}
}

func TestListenersTellWhoWasRefused(t *testing.T) {
	l := engine.ListenerStatus{Name: "web", Accepted: 9, Rejected: 1}
	l.Refused[admit.Denied], l.Refused[admit.TooFast] = 2, 3
	if row := strings.Join(listenerRow(&l), " "); row != "web 0 0 0 9 5 1 " {
		t.Error(row)
	}
}
