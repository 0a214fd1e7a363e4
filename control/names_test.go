package control

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"balance/engine/spec"
)

// named declares listeners with channels that have the names.
func named(listeners map[string][]string, channels ...string) *spec.Config {
	config := spec.DefaultConfig()
	for _, name := range []string{"web", "mail"} {
		names, there := listeners[name]
		if !there {
			continue
		}
		l := declare([]string{name}, channels).Listeners[0]
		for i := range names {
			l.Groups[0].Channels[i].Name = names[i]
		}
		if name == "mail" {
			l.Listen = []string{"127.0.0.2:0"} // else it would share a socket
		}
		config.Listeners = append(config.Listeners, l)
	}
	return config
}

func TestNamesAreShown(t *testing.T) {
	a := echo(t)
	r := newRig(t, named(map[string][]string{"web": {"w1", ""}}, a, "127.0.0.2:81"))
	client := r.dial()
	r.expect(client, []exchange{
		{"disable 0", OK, "channel 0 disabled"},
		{"why 10.0.0.1", OK, "group 0 channel 0 " + a + " (w1): disabled by the operator\ngroup 0 channel 1 127.0.0.2:81: chosen"},
		{"enable 0", OK, "channel 0 enabled"},
		{"disable 1", OK, "channel 1 disabled"},
	})
	conn := r.connect()
	fmt.Fprint(conn, "x")
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	for request, want := range map[string]string{
		"show":     `rcvd name\n.* ENA .* w1\n.* 0$`,
		"show -l":  `weight share name\n.* 100% +w1\n.* 0%$`,
		"health":   `(?m) channel name +state .*\n.*` + a + ` +w1 +up`,
		"sessions": `rcvd name\n.*` + a + ` relaying .* w1$`,
		"events":   ` web ` + a + ` \(w1\) disable`,
	} {
		if answer, _ := r.say(client, request); !regexp.MustCompile(want).MatchString(answer) {
			t.Errorf("%s: %q is not in\n%s", request, want, answer)
		}
	}
	if _, err := r.engine.Edit(t.Context(), func(c *spec.Config) error {
		c.Listeners[0].Groups[0].Channels[0].Name = ""
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, request := range []string{"show", "show -l", "health", "sessions"} {
		if answer, _ := r.say(client, request); strings.Contains(answer, "name") || strings.Contains(answer, "w1") {
			t.Errorf("no channel has a name, %s answers\n%s", request, answer)
		}
	}
}
