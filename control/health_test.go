package control

import (
	"slices"
	"strings"
	"testing"
	"time"

	"balance/engine"
	"balance/engine/balancer"
	"balance/engine/health"
)

// states is a listener with a channel in each state, in two groups.
func states() (l engine.ListenerStatus) {
	l.Name = "web"
	l.Groups = make([]engine.GroupStatus, 2)
	for state := balancer.StateUp; state <= balancer.StateRemoved; state++ {
		g := &l.Groups[state%2]
		g.Channels = append(g.Channels, engine.ChannelStatus{Key: balancer.Key{Host: "db", Port: uint16(state)}, State: state, Active: 1})
	}
	return l
}

func TestStatesInShow(t *testing.T) {
	want := map[string]string{
		"0": "ENA", "1": "ENA", "2": "ENA", "3": "ENA", "4": "ENA", "5": "hld", "6": "dwn", "7": "ENA",
		"8": "dis", "9": "dis", "10": "drn", "11": "dis",
	}
	lines := Table(states())[1:]
	if len(lines) != len(want) {
		t.Fatalf("%d lines", len(lines))
	}
	for _, line := range lines {
		if f := strings.Fields(line); f[3] != want[f[5]] {
			t.Errorf("%s: %q, want %q", line, f[3], want[f[5]])
		}
	}
}

func TestStandings(t *testing.T) {
	l := states()
	if got := standings([]engine.ListenerStatus{l, {}}); got != "1 up, 1 untested, 1 full, 1 slow, 1 failing, 1 held off, 1 down, 1 unresolved, 1 disabled, 1 autodisabled, 1 draining, 1 removed" {
		t.Error(got)
	}
	if got := standings([]engine.ListenerStatus{l, l})[:13]; got != "2 up, 2 untes" {
		t.Error(got)
	}
	up := 0
	for state := balancer.StateUp; state <= balancer.StateRemoved; state++ {
		if state.Up() {
			up++
		}
	}
	if row := listenerRow(&l); row[1] != "12" || row[2] != string(rune('0'+up)) || row[3] != "12" {
		t.Errorf("%q", row)
	}
}

func TestHealthTable(t *testing.T) {
	at := func(clock string) time.Time {
		when, err := time.ParseInLocation(time.DateTime, "2026-03-01 "+clock, time.Local)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	key := func(port uint16) balancer.Key { return balancer.Key{Host: "db", Port: port} }
	now := at("14:00:00")
	got := HealthTable([]engine.ListenerStatus{{Name: "web", Groups: []engine.GroupStatus{
		{Channels: []engine.ChannelStatus{
			{Key: key(1), State: balancer.StateUp, Since: at("13:58:30"), Check: &health.Status{
				Last: health.Result{Time: at("13:59:59"), Took: 1234567, Answer: "GET / answered 200"}, Next: now.Add(1234 * time.Millisecond),
			}},
			{Key: key(2), State: balancer.StateDown, Since: now.Add(-36 * time.Hour), Reason: "GET / answered 503, not 200", Check: &health.Status{
				Last: health.Result{Time: at("13:59:59"), Took: 2 * time.Second, Outcome: health.Answered, Answer: "GET / answered 503, not 200"}, Next: now.Add(-time.Second),
			}},
			{Key: key(3), State: balancer.StateUp, Check: &health.Status{}},
		}},
		{Channels: []engine.ChannelStatus{
			{Key: key(4), State: balancer.StateHeld, Since: at("13:59:55"), Until: now.Add(5500 * time.Millisecond), Reason: "refused"},
			{Key: key(5), State: balancer.StateFailing, Since: at("13:59:55"), Reason: "\x1b[2Jtimeout\n\u202e", Check: &health.Status{
				Last: health.Result{Time: at("13:59:59"), Took: 15 * time.Microsecond, Answer: "+PONG"},
			}},
		}},
	}}}, now)
	want := []string{
		"listener GRP # channel    state     for               since  checked  took    next  why",
		"     web   0 0    db:1       up   1m30s            13:58:30 13:59:59 1.2ms in 1.2s  GET / answered 200",
		"     web   0 1    db:2     down 36h0m0s 2026-02-28T02:00:00 13:59:59    2s   in 0s  GET / answered 503, not 200",
		"     web   0 2    db:3       up       -                   -  not yet     -       -",
		"     web   1 0    db:4 held off      5s            13:59:55 no check     -       -  for another 5.5s; refused",
		`     web   1 1    db:5  failing      5s            13:59:55 13:59:59  15µs       -  \u001b[2Jtimeout\u000a\u202e; +PONG`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestEventLine(t *testing.T) {
	when := time.Date(2026, 3, 1, 14, 0, 0, 5e8, time.Local)
	stamp := when.Format(time.RFC3339)
	for want, event := range map[string]engine.Event{
		stamp + " web db:1 down: refused": {Time: when, Listener: "web", Channel: "db:1", What: "down", Reason: "refused"},
		stamp + " web db:1 up":            {Time: when, Listener: "web", Channel: "db:1", What: "up"},
		stamp + " reload: 2 changes":      {Time: when, What: "reload", Reason: "2 changes"},
	} {
		if got := eventLine(event); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestHealthCommands(t *testing.T) {
	r := newRig(t, declare([]string{"web", "mail"}, []string{"127.0.0.1:80", "127.0.0.2:81"}))
	client := r.dial()
	for request, want := range map[string]string{"health": "no check", "listeners": " channels up c "} {
		if answer, status := r.say(client, request); status != OK || strings.Count(answer, "\n") != 2 || !strings.Contains(answer, want) {
			t.Errorf("%s: status %d, answer\n%s", request, status, answer)
		}
	}
	r.expect(client, []exchange{
		{"check 0", Failed, "channel 0 has no check"},
		{"check 2", Failed, "no such channel 2"},
		{"check me", Misused, "syntax error"},
		{"events 0", Failed, "value out of range"},
		{"events 1001", Failed, "value out of range"},
		{"events all", Misused, "syntax error"},
		{`complete "check "`, OK, "0\n1"},
		{`complete "ready "`, OK, "web\nmail"},
	})
}
