package control

import (
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"balance/engine"
	"balance/engine/balancer"
	"balance/engine/health"
	"balance/engine/spec"
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
		"0": "ENA", "1": "ENA", "2": "ENA", "3": "ENA", "4": "ENA", "5": "ENA", "6": "hld", "7": "dwn", "8": "ENA",
		"9": "dis", "10": "dis", "11": "drn", "12": "dis",
	}
	lines := Table(states(), false)[1:]
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
	if got := standings([]engine.ListenerStatus{l, {}}); got != "1 up, 1 untested, 1 full, 1 weight 0, 1 slow, 1 failing, 1 held off, 1 down, 1 unresolved, 1 disabled, 1 autodisabled, 1 draining, 1 removed" {
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
	if row := listenerRow(&l); row[1] != "13" || row[2] != string(rune('0'+up)) || row[3] != "13" {
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

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 999: "999ns", 92345: "92.3µs", 1234567: "1.2ms", 2 * time.Second: "2s", 59940 * time.Millisecond: "59.9s",
		77*time.Minute + 43600*time.Millisecond: "1h17m44s",
	} {
		if got := short(d); got != want {
			t.Errorf("%d: %q, want %q", d, got, want)
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
		{`complete "check "`, OK, "0\tuntested, 127.0.0.1:80\n1\tuntested, 127.0.0.2:81"},
		{`complete "ready "`, OK, "web\t2 untested\nmail\t2 untested"},
	})
}

// checkedServers declares listeners with a check of two servers, one that is there and
// one that is not; the second listener has the latter alone. After the first
// result the next one is an hour away.
func checkedServers(good, bad string) *spec.Config {
	config := declare([]string{"web"}, []string{good, bad})
	other := declare([]string{"my mail"}, []string{bad}).Listeners[0]
	config.Listeners = append(config.Listeners, other)
	for i := range config.Listeners {
		check := &config.Listeners[i].Groups[0].Check
		*check = spec.DefaultCheck()
		check.Type, check.Rise, check.Fall, check.Timeout = spec.CheckTCP, 1, 1, testPatience
		check.Interval, check.FastInterval, check.DownInterval = time.Hour, time.Hour, time.Hour
	}
	return config
}

func TestChecksInTheShell(t *testing.T) {
	good, gone := echo(t), closedPort(t)
	r := newRig(t, checkedServers(good, gone))
	client := r.dial()
	matches := func(request string, status Status, patterns ...string) {
		t.Helper()
		var answer string
		for end := time.Now().Add(testPatience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			var got Status
			answer, got = r.say(client, request)
			lines := strings.Split(answer, "\n")
			if got == status && len(lines) == len(patterns) && !slices.ContainsFunc(patterns, func(pattern string) bool {
				return !slices.ContainsFunc(lines, regexp.MustCompile(pattern).MatchString)
			}) {
				return
			}
		}
		t.Errorf("%s answers\n%s\nwant status %d, %q", request, answer, status, patterns)
	}
	const clock = ` +[0-9-T:]+`
	matches("show", OK, "^GRP", "^  0   RR  0 ENA ", "^  0   RR  1 dwn ")
	matches("health", OK, "^listener GRP # ",
		"^ +web +0 0 +"+good+" +up +[0-9hms]+"+clock+clock+" .+ in [0-9hms.]+  .",
		"^ +web +0 1 +"+gone+" +down +[0-9hms]+"+clock+clock+" .+ in [0-9hms.]+  .*refused")
	matches("listeners", OK, "^  +name channels up ", `^\* +web +2 +1 `, "^ +my mail +1 +0 ")
	matches("ready", Failed, `^listener "my mail" has no usable channel$`)
	matches("ready web", OK, "^ready$")
	matches("events 1000", OK, "web "+gone+" down: .*refused", "my mail "+gone+" down: .*refused")
	matches("events 1", OK, " (web|my mail) .* (up|down)")
	if answer, _ := r.say(client, "status"); !strings.Contains(answer, "\nchannels     1 up, 2 down\nnot ready    my mail: has no usable channel\n") {
		t.Errorf("status answers\n%s", answer)
	}

	answer, status := r.say(client, "check 0")
	if lines := strings.Split(answer, "\n"); status != OK || len(lines) < 2 ||
		!regexp.MustCompile(`^connect `+good+` +[0-9.]+.?s  `).MatchString(answer) ||
		!regexp.MustCompile(`^passed after [0-9.]+.?s: .`).MatchString(lines[len(lines)-1]) {
		t.Errorf("check 0: status %d, answer\n%s", status, answer)
	}
	answer, status = r.say(client, "check 1")
	if lines := strings.Split(answer, "\n"); status != Failed || !regexp.MustCompile(`^refused after [0-9.]+.?s: .`).MatchString(lines[len(lines)-1]) {
		t.Errorf("check 1: status %d, answer\n%s", status, answer)
	}
	matches("health", OK, "^listener GRP # ", " 0 0 .* up ", " 0 1 .* down ")
}

// closedPort returns an address that nobody listens on.
func closedPort(t *testing.T) string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A group that is created is checked as the one before it is.
func TestCreatedGroupIsChecked(t *testing.T) {
	config := declare([]string{"web"}, []string{"127.0.0.1:80"})
	check := spec.DefaultCheck()
	check.Type, check.Interval = spec.CheckTCP, time.Hour
	config.Listeners[0].Groups[0].Check = check
	r := newRig(t, config)
	client := r.dial()
	r.expect(client, []exchange{
		{"group 1", OK, ""},
		{"create 127.0.0.2 81", OK, "channel created"},
	})
	if groups := r.engine.Config().Listeners[0].Groups; len(groups) != 2 || !groups[1].Check.Equal(&check) {
		t.Errorf("the groups are %+v", groups)
	}
}
