package web

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"balance/control"
	"balance/engine"
	"balance/engine/balancer"
	"balance/engine/health"
	"balance/engine/spec"
)

// sick is a listener as it may be, with words that servers might have said.
func sick(now time.Time) engine.ListenerStatus {
	passed := new(balancer.Histogram)
	passed.Observe(20 * time.Millisecond)
	check := spec.DefaultCheck()
	check.Type = spec.CheckHTTP
	return engine.ListenerStatus{Name: "web", Waits: new(balancer.Histogram), Groups: []engine.GroupStatus{{Channels: []engine.ChannelStatus{
		{
			Key: balancer.Key{Host: "db1", Port: 80}, Name: "w1", State: balancer.StateDown, Since: now.Add(-12 * time.Second),
			Reason: hostile, Dials: new(balancer.DialStats),
			Check: &health.Status{
				Target: health.Target{Host: "db1", Port: 8008, Check: check},
				Health: balancer.Unhealthy, Since: now.Add(-12 * time.Second),
				Last:   health.Result{Time: now.Add(-2 * time.Second), Took: 1500 * time.Microsecond, Outcome: health.Answered, Answer: "said " + hostile},
				InARow: 7, Next: now.Add(3 * time.Second),
				Results:   [health.Outcomes]uint64{health.Passed: 1, health.Answered: 7},
				Durations: passed,
			},
		},
		{Key: balancer.Key{Host: "db2", Port: 80}, State: balancer.StateHeld, Since: now, Until: now.Add(4 * time.Second), Reason: "refused", Dials: new(balancer.DialStats)},
		{Key: balancer.Key{Host: "db3", Port: 80}, State: balancer.StateUntested, Dials: new(balancer.DialStats)},
		{Key: balancer.Key{Host: "db4", Port: 80}, State: balancer.StateSlow, Since: now.Add(-time.Minute), Dials: new(balancer.DialStats)},
	}}}}
}

// plain is what JSON makes of a value.
func plain(t *testing.T, value any) (got any) {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "<script>") {
		t.Errorf("what a server said stands there as markup: %s", text)
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestHealthAsJSON(t *testing.T) {
	now := time.Date(2026, 3, 1, 14, 0, 0, 0, time.UTC)
	answer := control.ReportHealth([]engine.ListenerStatus{sick(now)})
	answer.Now = now
	answer.Listeners[0].Channels = answer.Listeners[0].Channels[:3]
	got := plain(t, answer)
	var want any
	quoted, _ := json.Marshal(hostile)
	kind, _ := json.Marshal(spec.CheckHTTP)
	text := strings.NewReplacer("HOSTILE", string(quoted[1:len(quoted)-1]), `"TYPE"`, string(kind)).Replace(`{"now": "2026-03-01T14:00:00Z", "listeners": [{"name": "web", "usable": false, "channels": [
		{"group": 0, "channel": "db1:80", "name": "w1", "state": "down", "since": "2026-03-01T13:59:48Z", "reason": "HOSTILE", "check": {
			"type": "TYPE", "target": "db1:8008", "health": "down", "since": "2026-03-01T13:59:48Z", "in_a_row": 7, "next": "2026-03-01T14:00:03Z",
			"last": {"time": "2026-03-01T13:59:58Z", "took_seconds": 0.0015, "outcome": "answer", "answer": "said HOSTILE"},
			"results": {"passed": 1, "refused": 0, "timeout": 0, "unreachable": 0, "reset": 0, "answer": 7, "tls": 0, "local": 0}
		}},
		{"group": 0, "channel": "db2:80", "name": "", "state": "held off", "since": "2026-03-01T14:00:00Z", "until": "2026-03-01T14:00:04Z", "reason": "refused"},
		{"group": 0, "channel": "db3:80", "name": "", "state": "untested", "reason": ""}
	]}]}`)
	if err := json.Unmarshal([]byte(text), &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}

	// The status tells the same.
	l := sick(now)
	status := plain(t, control.ReportListener(&l)).(map[string]any)
	first := status["groups"].([]any)[0].(map[string]any)["channels"].([]any)[0].(map[string]any)
	wanted := want.(map[string]any)["listeners"].([]any)[0].(map[string]any)["channels"].([]any)[0].(map[string]any)
	for _, key := range []string{"state", "since", "reason", "check"} {
		if !reflect.DeepEqual(first[key], wanted[key]) {
			t.Errorf("status has %s %v", key, first[key])
		}
	}
	if status["usable"] != false {
		t.Errorf("status %v", status)
	}
}

func TestHealthAndEventsAreServed(t *testing.T) {
	r := newRig(t)
	r.apply(listener(hostile, group(r.echo()), group(r.echo())))
	for path, want := range map[string]int{
		"/api/v1/health": 200, "/api/v1/events": 200, "/api/v1/events?n=1000": 200,
		"/api/v1/events?n=0": 400, "/api/v1/events?n=1001": 400, "/api/v1/events?n=x": 400,
	} {
		got := r.get(r.handler(), path)
		if got.Code != want || want == 200 && got.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: status %d, %s", path, got.Code, got.Body)
		}
	}
	var health struct {
		Listeners []struct {
			Name     string
			Usable   bool
			Channels []struct{ Group int }
		}
	}
	if err := json.Unmarshal(r.get(r.handler(), "/api/v1/health").Body.Bytes(), &health); err != nil {
		t.Fatal(err)
	}
	if l := health.Listeners[0]; l.Name != hostile || !l.Usable || len(l.Channels) != 2 || l.Channels[1].Group != 1 {
		t.Errorf("%+v", l)
	}
	var events struct{ Events []engine.Event }
	if err := json.Unmarshal(r.get(r.handler(), "/api/v1/events").Body.Bytes(), &events); err != nil || events.Events == nil {
		t.Errorf("%+v, %v", events, err)
	}
	// With a token, only for those who bear it.
	guarded := newHandler(&Daemon{r.daemon}, new(history), Settings{Token: testToken})
	for path, want := range map[string]int{"/api/v1/health": 401, "/api/v1/events": 401, "/readyz": 200, "/readyz/nobody": 404} {
		if got := r.get(guarded, path); got.Code != want {
			t.Errorf("with a token, %s: status %d, want %d", path, got.Code, want)
		}
	}
}

// still is a collector of one listener as it is.
type still struct {
	*collector
	engine.ListenerStatus
}

func (s still) Collect(metrics chan<- prometheus.Metric) { collectListener(metrics, &s.ListenerStatus) }

func TestHealthAsMetrics(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_500)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(still{ListenerStatus: sick(now)})
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
	const want = `
# HELP balance_channel_checks_total Checks of the channel, by what came of them.
# TYPE balance_channel_checks_total counter
balance_channel_checks_total{channel="db1:80",listener="web",name="w1",outcome="answer"} 7
balance_channel_checks_total{channel="db1:80",listener="web",name="w1",outcome="local"} 0
balance_channel_checks_total{channel="db1:80",listener="web",name="w1",outcome="passed"} 1
balance_channel_checks_total{channel="db1:80",listener="web",name="w1",outcome="refused"} 0
balance_channel_checks_total{channel="db1:80",listener="web",name="w1",outcome="reset"} 0
balance_channel_checks_total{channel="db1:80",listener="web",name="w1",outcome="timeout"} 0
balance_channel_checks_total{channel="db1:80",listener="web",name="w1",outcome="tls"} 0
balance_channel_checks_total{channel="db1:80",listener="web",name="w1",outcome="unreachable"} 0
# HELP balance_channel_state 1 for the state that the channel is in. There is no series for the others.
# TYPE balance_channel_state gauge
balance_channel_state{channel="db1:80",listener="web",name="w1",state="down"} 1
balance_channel_state{channel="db2:80",listener="web",name="",state="held off"} 1
balance_channel_state{channel="db3:80",listener="web",name="",state="untested"} 1
balance_channel_state{channel="db4:80",listener="web",name="",state="slow"} 1
# HELP balance_channel_state_changed_timestamp_seconds When the channel came into its state, if that is known.
# TYPE balance_channel_state_changed_timestamp_seconds gauge
balance_channel_state_changed_timestamp_seconds{channel="db1:80",listener="web",name="w1"} 1.6999999885e+09
balance_channel_state_changed_timestamp_seconds{channel="db2:80",listener="web",name=""} 1.7000000005e+09
balance_channel_state_changed_timestamp_seconds{channel="db4:80",listener="web",name=""} 1.6999999405e+09
# HELP balance_listener_usable 1 if there is a channel that a client could be given, at once or when a slot is free.
# TYPE balance_listener_usable gauge
balance_listener_usable{listener="web"} 0
`
	err = testutil.GatherAndCompare(registry, strings.NewReader(want), "balance_channel_checks_total", "balance_channel_state",
		"balance_channel_state_changed_timestamp_seconds", "balance_listener_usable")
	if err != nil {
		t.Error(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		switch metrics := family.GetMetric(); family.GetName() {
		case "balance_channel_check_duration_seconds":
			if h := metrics[0].GetHistogram(); len(metrics) != 1 || h.GetSampleCount() != 1 || h.GetSampleSum() != 0.02 {
				t.Errorf("%v", metrics)
			}
		case "balance_channel_up":
			if metrics[0].GetGauge().GetValue() != 0 || metrics[1].GetGauge().GetValue() != 0 {
				t.Errorf("down or held off, and up: %v", metrics)
			}
		}
	}
}

// described returns the names of all metrics of balance's own.
func described() map[string]bool {
	descs := make(chan *prometheus.Desc, 1000)
	new(collector).Describe(descs)
	close(descs)
	names := map[string]bool{}
	for desc := range descs {
		names[regexp.MustCompile(`fqName: "(\w+)"`).FindStringSubmatch(desc.String())[1]] = true
	}
	return names
}

// TestDownIsToldEverywhere has real checks, of a server that is there and of one
// that is not.
func TestDownIsToldEverywhere(t *testing.T) {
	r := newRig(t)
	good, bad := r.echo(), r.refused()
	listeners := []spec.Listener{listener("web", group(good, bad)), listener("mail", group(bad))}
	for i := range listeners {
		check := spec.DefaultCheck()
		check.Type, check.Rise, check.Fall, check.Timeout = spec.CheckTCP, 1, 1, patience
		check.Interval, check.FastInterval, check.DownInterval = time.Hour, time.Hour, time.Hour
		listeners[i].Groups[0].Check = check
	}
	r.apply(listeners...)
	states := func(path string) (list []string) {
		var answer struct {
			Listeners []struct {
				Channels []channelSeen
				Groups   []struct{ Channels []channelSeen }
			}
		}
		if err := json.Unmarshal(r.get(r.handler(), path).Body.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
		for _, l := range answer.Listeners {
			for _, g := range l.Groups {
				l.Channels = append(l.Channels, g.Channels...)
			}
			for _, c := range l.Channels {
				list = append(list, c.State)
				if c.Check == nil || c.Check.Last == nil {
					continue
				}
				if refused := c.Check.Last.Outcome == "refused"; refused != (c.State == "down") || refused != strings.Contains(c.Reason, "refused") || c.Since.IsZero() {
					t.Errorf("%s: %+v", path, c)
				}
			}
		}
		return list
	}
	want := []string{"up", "down", "down"}
	eventually(t, "all are checked", func() bool { return reflect.DeepEqual(states("/api/v1/health"), want) })
	if got := states("/api/v1/status"); !reflect.DeepEqual(got, want) {
		t.Errorf("the status says %q", got)
	}
	for path, code := range map[string]int{"/readyz": 503, "/readyz/web": 200, "/readyz/mail": 503} {
		if got := r.get(r.handler(), path); got.Code != code {
			t.Errorf("%s: status %d, %s", path, got.Code, got.Body)
		}
	}
	samples := r.metrics()
	for name, want := range map[string]string{
		`balance_listener_usable{listener="web"}`:                                                               "1",
		`balance_listener_usable{listener="mail"}`:                                                              "0",
		`balance_channel_up{channel="` + good.String() + `",listener="web",name=""}`:                            "1",
		`balance_channel_up{channel="` + bad.String() + `",listener="web",name=""}`:                             "0",
		`balance_channel_state{channel="` + bad.String() + `",listener="mail",name="",state="down"}`:            "1",
		`balance_channel_state{channel="` + bad.String() + `",listener="mail",name="",state="up"}`:              "",
		`balance_channel_checks_total{channel="` + good.String() + `",listener="web",name="",outcome="passed"}`: "1",
		`balance_channel_checks_total{channel="` + bad.String() + `",listener="web",name="",outcome="refused"}`: "1",
		`balance_channel_check_duration_seconds_count{channel="` + good.String() + `",listener="web",name=""}`:  "1",
		`balance_channel_check_duration_seconds_count{channel="` + bad.String() + `",listener="mail",name=""}`:  "0",
	} {
		if samples[name] != want {
			t.Errorf("%s is %q, want %q", name, samples[name], want)
		}
	}
	if _, ok := samples[`balance_channel_state_changed_timestamp_seconds{channel="`+bad.String()+`",listener="mail",name=""}`]; !ok {
		t.Error("nothing tells when it went down")
	}
	eventually(t, "the events tell", func() bool {
		var answer struct{ Events []engine.Event }
		if err := json.Unmarshal(r.get(r.handler(), "/api/v1/events").Body.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
		down := 0
		for _, e := range answer.Events {
			if e.Channel == bad.String() && e.What == "down" && strings.Contains(e.Reason, "refused") {
				down++
			}
		}
		return down == 2
	})

	// Clients that find nobody else are turned away for that.
	conn := r.dial(1)
	conn.SetReadDeadline(time.Now().Add(patience))
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Fatalf("served %d bytes", n)
	}
	eventually(t, "it is counted", func() bool {
		return r.metrics()[`balance_listener_rejected_total{listener="mail",reason="down"}`] == "1"
	})
}

type channelSeen struct {
	State  string
	Reason string
	Since  time.Time
	Check  *struct{ Last *struct{ Outcome string } }
}
