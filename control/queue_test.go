package control

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
)

// queue tells who waits, since when and for what, and sessions that they do.
func TestQueue(t *testing.T) {
	server := echo(t)
	config := declare([]string{"web"}, []string{server})
	config.Listeners[0].Queue = 5
	config.Listeners[0].Groups[0].Channels[0].MaxConns = 1
	r := newRig(t, config)
	client := r.dial()
	r.expect(client, []exchange{{"queue", OK, "0 of at most 5"}, {"queue now", Misused, "syntax error"}})
	first := r.connect()
	fmt.Fprint(first, "x")
	if _, err := io.ReadFull(first, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	inLine := func(n int) (answer string) {
		for !strings.HasPrefix(answer, fmt.Sprint(n, " of")) {
			answer, _ = r.say(client, "queue")
		}
		return answer
	}
	r.expect(client, []exchange{{"why 10.0.0.1", OK, fmt.Sprintf("group 0 channel 0 %s: full, 1 of 1\nno channel: the client would wait, as number 1", server)}})
	second := r.connect()
	inLine(1)
	third := r.connect()
	answer := inLine(2)
	for i, want := range []string{`^2 of at most 5$`, `^# +client +for +since +channel$`,
		`^1 +` + regexp.QuoteMeta(second.LocalAddr().String()) + ` +\d+s \S+ ` + regexp.QuoteMeta(server) + `$`,
		`^2 +` + regexp.QuoteMeta(third.LocalAddr().String()) + ` +\d+s \S+ ` + regexp.QuoteMeta(server) + `$`} {
		if lines := strings.Split(answer, "\n"); len(lines) != 4 || !regexp.MustCompile(want).MatchString(strings.TrimSpace(lines[i])) {
			t.Errorf("line %d is not %s:\n%s", i, want, answer)
		}
	}
	if answer, _ := r.say(client, "sessions"); strings.Count(answer, "queued") != 2 {
		t.Errorf("sessions:\n%s", answer)
	}
	first.Close()
	r.await(client, "mrtg-conns 0 0", "2\nUNKNOWN\nUNKNOWN\ngroup 0 channel 0")
	if answer, _ := r.say(client, "queue"); !strings.HasPrefix(answer, "1 of") {
		t.Errorf("queue:\n%s", answer)
	}
}
