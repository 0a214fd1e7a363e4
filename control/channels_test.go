package control

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"balance/engine/balancer"
)

func TestChannelsAreCalledByManyWords(t *testing.T) {
	r := newRig(t, named(map[string][]string{"web": {"w1", "w2"}, "mail": {"", "w2"}}, "127.0.0.1:80", "127.0.0.2:80", "127.0.0.2:81", "[2001:db8::1]:80"))
	client := r.dial()
	r.expect(client, []exchange{
		{"disable w1", OK, "channel w1 disabled"},
		{"disable w1", OK, "channel w1 already disabled"},
		{"enable 0", OK, "channel 0 enabled"},
		{"disable 127.0.0.2:81", OK, "channel 127.0.0.2:81 disabled"},
		{"disable 127.0.0.1", OK, "channel w1 disabled"},
		{"disable 2001:DB8:0::1", OK, "channel [2001:db8::1]:80 disabled"},
		{"enable [2001:db8::1]", OK, "channel [2001:db8::1]:80 enabled"},
		{"enable [2001:db8::1]:80", OK, "channel [2001:db8::1]:80 already enabled"},
		{"enable w1 2 w1 127.0.0.1:80", OK, "channel w1 enabled\nchannel 2 enabled"},
		{"disable w?", OK, "channel w1 disabled\nchannel w2 disabled"},
		{"enable *:80", OK, "channel w1 enabled\nchannel w2 enabled\nchannel [2001:db8::1]:80 already enabled"},
		{"disable mail/w2", OK, "channel mail/w2 disabled"},
		{"disable */w2", OK, "channel w2 disabled\nchannel mail/w2 already disabled"},
		{"disable mail/0", OK, "channel mail/127.0.0.1:80 disabled"},
		{"enable web/0 mail/*", OK, "channel w1 already enabled\nchannel mail/127.0.0.1:80 enabled\n" +
			"channel mail/w2 enabled\nchannel mail/127.0.0.2:81 already enabled\nchannel mail/[2001:db8::1]:80 already enabled"},
		{"enable web/w2", OK, "channel w2 enabled"},
		{"drain w1 w2", OK, "channel w1 disabled\nchannel w2 disabled"},
		{"reset w1 mail/w2", OK, "channel w1 counters reset\nchannel mail/w2 counters reset"},
		{"maxc w1 mail/w2 7", OK, "maxc of channel w1 changed to 7\nmaxc of channel mail/w2 changed to 7"},
		{"weight * 3", OK, "weight of channel w1 changed to 3\nweight of channel w2 changed to 3\nweight of channel 127.0.0.2:81 changed to 3\nweight of channel [2001:db8::1]:80 changed to 3"},
		{"check w1", Failed, "channel w1 has no check"},
		{"assign w1 127.0.0.9 90", OK, "channel reassigned"},
		{"disable w1", OK, "channel w1 already disabled"},
		{"assign w* 127.0.0.9 90", Misused, "syntax error"},
	})
	for _, l := range r.engine.Snapshot().Listeners {
		for i, ch := range l.Groups[0].Channels {
			limit, weight := 0, 1
			if l.Name == "web" {
				weight = 3
			}
			if l.Name == "web" && i == 0 || l.Name == "mail" && i == 1 {
				limit = 7
			}
			if ch.Limit != limit || ch.Weight != weight {
				t.Errorf("%s: maxc %d, weight %d, want %d and %d", ch.Key, ch.Limit, ch.Weight, limit, weight)
			}
		}
	}
}

// Nothing is done where one of the words stands for no channel, and the answer
// tells what may have been meant.
func TestWordsThatAreNoChannel(t *testing.T) {
	r := newRig(t, named(map[string][]string{"web": {"w1", "w2"}, "mail": {"", "x2"}}, "127.0.0.1:80", "127.0.0.2:80", "127.0.0.2:81"))
	const usage = "\nusage: disable CH..."
	r.expect(r.dial(), []exchange{
		{"disable w1 w9", Misused, "syntax error\n\"w9\" is no channel: did you mean \"w1\"?" + usage},
		{"disable 0 9", Failed, "no such channel 9"},
		{"disable 0 web/9", Failed, "no such channel 9"},
		{"maxc 0 9 5", Failed, "unknown channel"},
		{"weight w1 nothing 5", Misused, "syntax error\n\"nothing\" is no channel: known here are w1, 127.0.0.1, 127.0.0.1:80, w2, 127.0.0.2, 127.0.0.2:80, 127.0.0.2:81\nusage: weight CH... N"},
		{"disable 127.0.0.2", Failed, "\"127.0.0.2\" is ambiguous: it is the host of 127.0.0.2:80 (w2), 127.0.0.2:81"},
		{"disable x2", Misused, "syntax error\n\"x2\" is no channel of listener \"web\": did you mean \"mail/x2\"?" + usage},
		{"disable mali/x2", Misused, "syntax error\n\"mali\" is no listener: did you mean \"mail\"?" + usage},
		{"disable x*", Misused, "syntax error\n\"x*\" is no channel: none fits" + usage},
		{"disable web/", Misused, "syntax error\n\"web/\" is no channel: did you mean \"w1\"?" + usage},
		{"disabel w1", Misused, "syntax error\n\"disabel\" is no command: did you mean \"disable\"?"},
		{"frobnicate", Misused, "syntax error\n\"frobnicate\" is no command; help lists them"},
		{"disable", Misused, "syntax error\ndisable with 0 arguments makes no sense" + usage},
		{"maxc 5", Misused, "syntax error\nmaxc with 1 argument makes no sense\nusage: maxc CH... N"},
		{"w1 disable", Misused, "syntax error\n\"w1\" is no command: did you mean \"disable w1\"?"},
		{"w1", Misused, "syntax error\n\"w1\" is no command; help lists them"},
		{"maxc w1 many", Misused, "syntax error\n\"many\" is not a number\nusage: maxc CH... N"},
	})
	for _, l := range r.engine.Snapshot().Listeners {
		for _, ch := range l.Groups[0].Channels {
			if ch.State == balancer.StateDisabled || ch.Limit != 0 || ch.Weight != 1 {
				t.Errorf("%s %s has been changed: %+v", l.Name, ch.Key, ch)
			}
		}
	}
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"*", "", true}, {"*", "[::1]:80", true}, {"[::1]:*", "[::1]:80", true}, {"[::1]:*", ":80", false},
		{"w?", "w1", true}, {"w?", "w", false}, {"w?", "w12", false}, {"a.b*", "axb", false}, {"*a*", "web/a/b", true},
		{"(*", "(", true}, {"??", "éü", true}, {"w***1", "w1", true}, {"**", "", true},
	} {
		if got := pattern(c.pattern)(c.text); got != c.want {
			t.Errorf("%q fits %q: %t", c.text, c.pattern, got)
		}
	}
}

// A reader may ask for any pattern, as often as he likes.
func TestPatternOfStars(t *testing.T) {
	one := testing.AllocsPerRun(10, func() { pattern("*") })
	if many := testing.AllocsPerRun(10, func() { pattern(strings.Repeat("*", MaxRequest)) }); many > one+50 {
		t.Errorf("%d stars cost %.0f allocations, one %.0f", MaxRequest, many, one)
	}
}

// sessionsOn opens sessions to the first listener.
func (r *rig) sessionsOn(n int) (conns []net.Conn) {
	r.Helper()
	for range n {
		conn := r.connect()
		fmt.Fprint(conn, "x")
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			r.Fatal(err)
		}
		conns = append(conns, conn)
	}
	return conns
}

func TestCloseMany(t *testing.T) {
	r := newRig(t, named(map[string][]string{"web": {"w1", "w2"}, "mail": {}}, echo(t), echo(t)))
	client := r.dial()
	r.sessionsOn(4)
	r.expect(client, []exchange{
		{"close 1 2", OK, "session 1 closed\nsession 2 closed\n2 sessions closed"},
		{"close 3 99", Failed, "session 3 closed\nno such session 99\n1 session closed"},
		{"close client 10.0.0.0/8", OK, "client 10.0.0.0/8: 0 sessions closed"},
		{"close client 127.0.0.0/8 10.0.0.1", OK, "client 127.0.0.0/8: 1 session closed\nclient 10.0.0.1: 0 sessions closed"},
	})
	r.sessionsOn(4)
	r.expect(client, []exchange{
		{"close channel w1", OK, "channel w1: 2 sessions closed"},
		{"close channel *", OK, "channel w1: 0 sessions closed\nchannel w2: 2 sessions closed"},
	})
	r.sessionsOn(1)
	r.expect(client, []exchange{
		{"listener mail", OK, ""},
		{"close client 127.0.0.1", OK, "client 127.0.0.1: 0 sessions closed"},
		{"close client 127.0.0.1 all", OK, "client 127.0.0.1: 1 session closed"},
	})
	r.sessionsOn(1)
	r.expect(client, []exchange{
		{"close client ::/0 ::ffff:0.0.0.0/95 all", OK, "client ::/0: 0 sessions closed\nclient ::ffff:0.0.0.0/95: 0 sessions closed"},
		{"close client ::ffff:127.0.0.0/104 all", OK, "client ::ffff:127.0.0.0/104: 1 session closed"},
		{"close client me", Misused, "syntax error"},
		{"close client all", Misused, "syntax error"},
		{"close channel", Misused, "syntax error"},
		{"close client", Misused, "syntax error"},
		{"close", Misused, "syntax error"},
		{"close 1 me", Misused, "syntax error"},
		{"close channel nobody", Misused, "syntax error"},
	})
	if answer, _ := r.say(client, "events 3"); !strings.Contains(answer, "sessions of ::ffff:127.0.0.0/104 ended: 1 (by ") {
		t.Errorf("the events are\n%s", answer)
	}
}
