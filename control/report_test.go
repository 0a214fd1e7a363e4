package control

import (
	"encoding/json"
	"iter"
	"regexp"
	"strings"
	"testing"
	"time"

	"balance/engine/plane"
)

func TestShowOtherListeners(t *testing.T) {
	r := newRig(t, named(map[string][]string{"web": {"w1"}, "mail": {}}, "127.0.0.1:80"))
	const row = "  0   RR  0 ENA        127.0.0.1    80    0           0    0           0           0"
	head := strings.TrimSuffix(header, "\n")
	r.expect(r.dial(), []exchange{
		{"show", OK, head + " name\n" + row + "   w1"},
		{"show mail", OK, head + "\n" + row},
		{"show mail -l", OK, head + " weight share\n" + row + "      1    0%"},
		{"show all", OK, "listener " + head + " name\n     web " + row + "   w1\n    mail " + row},
		{"show m* web", OK, "listener " + head + " name\n    mail " + row + "\n     web " + row + "   w1"},
		{"show al", Misused, "syntax error\n\"al\" is no listener: did you mean \"all\"?\nusage: show [all|LISTENER...] [-l] [-json]"},
		{"show mial", Misused, "syntax error\n\"mial\" is no listener: did you mean \"mail\"?\nusage: show [all|LISTENER...] [-l] [-json]"},
	})
}

// Each answer is one JSON value, with the members that the API of package web has.
func TestAnswersInJSON(t *testing.T) {
	r := newRig(t, named(map[string][]string{"web": {"w1", "w2"}, "mail": {}}, echo(t), echo(t)))
	client := r.dial()
	r.sessionsOn(3)
	r.expect(client, []exchange{{"disable w2", OK, "channel w2 disabled"}})
	for request, want := range map[string]string{
		"show -json":                    `^{"listeners":\[{"name":"web",.*"name":"w1","addresses"`,
		"show -json all":                `{"name":"web",.*{"name":"mail",`,
		"listeners -json":               `{"name":"web",.*"usable":true.*{"name":"mail",`,
		"sessions -json":                `(?s)^{"total":3,"sessions":\[\n{"id":1,.*"name":"w1",.*{"id":2,.*"name":"w2",.*{"id":3,`,
		"sessions -json by age limit 1": `^{"total":3,"sessions":\[\n{"id":1,[^{]*}\n\]}$`,
		"sessions w2 -json":             `^{"total":1,"sessions":\[\n{"id":2,[^{]*}\n\]}$`,
		"sessions mail/* -json":         `^{"total":0,"sessions":\[\n\]}$`,
		"health -json":                  `"listeners":\[{"name":"web",.*"name":"w2","state":"(draining|disabled)"`,
		"health all -json":              `{"name":"mail",`,
		"status -json":                  `^{"version":"9.9",.*"generation":1,`,
		"events 9 -json":                `^{"events":\[{"id":\d+,.*"name":"w2","what":"disable".*"by":`,
		"why 10.0.0.1 -json":            `^{"client":"10.0.0.1","listener":"web","verdicts":\[.*"name":"w1","reason":"chosen",.*"outcome":"chosen"}$`,
		"why 10.0.0.1 mail/1 -json":     `"listener":"mail"`,
	} {
		answer, status := r.say(client, request)
		if !json.Valid([]byte(answer)) || status != OK {
			t.Errorf("%s: status %d, no JSON: %s", request, status, answer)
		}
		if !regexp.MustCompile(want).MatchString(answer) {
			t.Errorf("%s: %q is not in\n%s", request, want, answer)
		}
	}
	for _, request := range []string{"show -jsn", "listeners json", "status json", "health -l", "events 1 2", "why", "why 10.0.0.1 w1 w2", "sessions by", "sessions by size", "sessions limit 0", "sessions limit", "sessions limit x"} {
		if answer, status := r.say(client, request); status != Misused || !strings.HasPrefix(answer, "syntax error\n") {
			t.Errorf("%s: status %d, %s", request, status, answer)
		}
	}
}

func TestWhyNotThatChannel(t *testing.T) {
	r := newRig(t, named(map[string][]string{"web": {"w1", "w2"}, "mail": {}}, "127.0.0.1:80", "127.0.0.2:80"))
	r.expect(r.dial(), []exchange{
		{"why 10.0.0.1 w1", OK, "group 0 channel 0 127.0.0.1:80 (w1): chosen"},
		{"why 10.0.0.1 w2", OK, "group 0 channel 1 127.0.0.2:80 (w2): comes later; group 0 channel 0 127.0.0.1:80 (w1): chosen"},
		{"why 10.0.0.1 mail/127.0.0.1", OK, "group 0 channel 0 127.0.0.1:80: chosen"},
		{"why 10.0.0.1 */0", Misused, "syntax error"},
	})
}

func TestSessionsInOrder(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	began := time.Now()
	played := func(n int) func(func(plane.Session) bool) {
		return func(yield func(plane.Session) bool) {
			for i := range n { // neither ascending nor descending
				k := (i*7919 + 5) % n
				s := plane.Session{ID: uint64(k + 1), Started: began.Add(-time.Duration(k) * time.Second), Active: began.Add(time.Duration(k%10-20) * time.Second), Sent: uint64(k * 2)}
				if !yield(s) {
					return
				}
			}
		}
	}
	for _, c := range []struct {
		by    string
		limit int
		first []uint64
	}{
		{"age", 3, []uint64{5000, 4999, 4998}},
		{"bytes", 2, []uint64{5000, 4999}},
		{"idle", 3, []uint64{1, 11, 21}},
		{"", 1, []uint64{1}},
		{"age", 4999, []uint64{5000, 4999}},
	} {
		order := orders[c.by]
		conversation := r.server.converse(credentials{})
		conversation.request("")
		conversation.list(played(5000), func(a, b *plane.Session) int {
			if order != nil {
				if n := order(a, b); n != 0 {
					return n
				}
			}
			return byID(a, b)
		}, c.limit, func(found []plane.Session, total int) iter.Seq[string] {
			if len(found) != c.limit || total != 5000 {
				t.Errorf("by %s: %d of %d", c.by, len(found), total)
			}
			for i, id := range c.first {
				if found[i].ID != id {
					t.Errorf("by %s: number %d is %d, want %d", c.by, i, found[i].ID, id)
				}
			}
			return func(func(string) bool) {}
		})
		conversation.reply.release()
	}
	client := r.dial()
	if answer, _ := r.say(client, "sessions all by idle limit 5"); !strings.HasPrefix(answer, "id client listener GRP") {
		t.Errorf("sessions of all answers\n%s", answer)
	}
}
