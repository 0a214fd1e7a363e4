package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"balance/config"
	"balance/control"
	"balance/engine/balancer"
	"balance/engine/health"
	"balance/engine/spec"
)

// TestGuard asks as browsers and programs do.
func TestGuard(t *testing.T) {
	r := newRig(t)
	r.apply(listener("x", group(r.echo())))
	handler := newHandler(&Daemon{r.daemon}, new(history), Settings{Address: "Status.example.net:8404"})
	for _, test := range []struct {
		name, method, path, host string
		header                   map[string]string
		want                     int
	}{
		{"a program", "GET", "/metrics", "127.0.0.1:8404", nil, 200},
		{"HEAD", "HEAD", "/metrics", "127.0.0.1:8404", nil, 200},
		{"IPv6", "GET", "/healthz", "[::1]:8404", nil, 200},
		{"IPv6 without a port", "GET", "/healthz", "[::1]", nil, 200},
		{"IPv4 without a port", "GET", "/healthz", "192.0.2.1", nil, 200},
		{"localhost", "GET", "/healthz", "LocalHost:8404", nil, 200},
		{"the configured host", "GET", "/healthz", "status.EXAMPLE.net:8404", nil, 200},
		{"a name that was bound to this machine", "GET", "/healthz", "evil.example:8404", nil, 421},
		{"a name that begins like an address", "GET", "/healthz", "127.0.0.1.evil.example:8404", nil, 421},
		{"a name that ends like localhost", "GET", "/healthz", "evil.localhost", nil, 421},
		{"no host", "GET", "/metrics", "", nil, 421},
		{"no host, for the page", "GET", "/", "", nil, 421},
		{"a probe of health without a host", "GET", "/healthz", "", nil, 200},
		{"a probe of readiness without a host", "HEAD", "/readyz", "", nil, 200},
		{"of one listener", "GET", "/readyz/x", "", nil, 200},
		{"of none", "GET", "/readyz/y", "", nil, 404},
		{"of a listener, by a name that was bound to this machine", "GET", "/readyz/x", "evil.example:8404", nil, 421},
		{"POST", "POST", "/api/v1/status", "127.0.0.1:8404", nil, 405},
		{"DELETE", "DELETE", "/", "127.0.0.1:8404", nil, 405},
		{"OPTIONS", "OPTIONS", "/", "127.0.0.1:8404", nil, 405},
		{"the page itself", "GET", "/api/v1/status", "127.0.0.1:8404", map[string]string{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200},
		{"typed in", "GET", "/", "127.0.0.1:8404", map[string]string{"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, 200},
		{"its own origin", "GET", "/metrics", "127.0.0.1:8404", map[string]string{"Origin": "http://127.0.0.1:8404"}, 200},
		{"a fetch of another site", "GET", "/api/v1/status", "127.0.0.1:8404", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403},
		{"another port of this host", "GET", "/metrics", "127.0.0.1:8404", map[string]string{"Sec-Fetch-Site": "same-site"}, 403},
		{"another origin", "GET", "/metrics", "127.0.0.1:8404", map[string]string{"Origin": "http://evil.example"}, 403},
		{"an origin with another port", "GET", "/metrics", "127.0.0.1:8404", map[string]string{"Origin": "http://127.0.0.1:80"}, 403},
		{"an opaque origin", "GET", "/metrics", "127.0.0.1:8404", map[string]string{"Origin": "null"}, 403},
		{"a link to the page", "GET", "/", "127.0.0.1:8404", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200},
		{"the page in a frame", "GET", "/", "127.0.0.1:8404", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403},
		{"a link to something else", "GET", "/debug/pprof/profile", "127.0.0.1:8404", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 403},
		{"no such thing", "GET", "/nothing", "127.0.0.1:8404", nil, 404},
		{"no profiles unless asked for", "GET", "/debug/pprof/", "127.0.0.1:8404", nil, 404},
	} {
		request := httptest.NewRequest(test.method, test.path, nil)
		request.Host = test.host
		for key, value := range test.header {
			request.Header.Set(key, value)
		}
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		if recorder.Code != test.want {
			t.Errorf("%s: status %d, want %d", test.name, recorder.Code, test.want)
		}
		header := recorder.Header()
		if policy := header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none';") || strings.Contains(policy, "unsafe") ||
			header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Cache-Control") != "no-store" && recorder.Code < 400 || header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: header %v", test.name, header)
		}
	}
}

func TestProfiles(t *testing.T) {
	r := newRig(t)
	if got := r.get(newHandler(&Daemon{r.daemon}, new(history), Settings{PProf: true}), "/debug/pprof/goroutine?debug=1"); got.Code != 200 || !strings.Contains(got.Body.String(), "goroutine profile:") {
		t.Errorf("status %d: %s", got.Code, got.Body)
	}
}

func TestReady(t *testing.T) {
	r := newRig(t)
	handler := r.handler()
	check := func(path string, code int, want string) {
		t.Helper()
		got := r.get(handler, path)
		if got.Code != code || strings.TrimSpace(got.Body.String()) != want {
			t.Errorf("%s: status %d: %s\nwant %d: %s", path, got.Code, got.Body, code, want)
		}
		if kind := got.Header().Get("Content-Type"); kind != "text/plain; charset=utf-8" {
			t.Errorf("%s is %s", path, kind)
		}
		if got := r.get(handler, "/healthz"); got.Code != 200 {
			t.Errorf("not healthy: %d", got.Code)
		}
	}
	check("/readyz", 503, "no configuration is in force yet")
	if got := r.get(handler, "/api/v1/config"); got.Code != 503 {
		t.Errorf("a configuration before the first: %d", got.Code)
	}
	off := r.echo()
	off.Disabled = true
	r.apply(listener("x", group(r.echo())), listener("a/b "+hostile, group(off)))
	other := "/readyz/" + url.PathEscape("a/b "+hostile)
	unusable := fmt.Sprintf("listener %q has no usable channel", "a/b "+hostile)
	check("/readyz", 503, unusable)
	check("/readyz/x", 200, "ready")
	check(other, 503, unusable)
	check("/readyz/y", 404, "there is no such listener")
	check("/readyz/X", 404, "there is no such listener")
	if _, err := r.engine.Enable("a/b "+hostile, balancer.Key{Host: off.Host, Port: off.Port}, true); err != nil {
		t.Fatal(err)
	}
	check("/readyz", 200, "ready")
	check(other, 200, "ready")

	// A bad file takes nobody out of service.
	r.reloaded(control.Reload{Time: time.Now(), Errs: []error{errors.New("f:1: a"), errors.New("f:2: b")}})
	check("/readyz", 200, "ready\nwarning: the last reload failed: f:1: a; f:2: b")
	check("/readyz/x", 200, "ready\nwarning: the last reload failed: f:1: a; f:2: b")
	r.stop()
	check("/readyz", 503, "the daemon is shutting down\nwarning: the last reload failed: f:1: a; f:2: b")
	check("/readyz/x", 503, "the daemon is shutting down\nwarning: the last reload failed: f:1: a; f:2: b")
	r.reloaded(control.Reload{Time: time.Now()})
	check("/readyz", 503, "the daemon is shutting down")
}

// metrics returns the samples of a scrape that begin with "balance_".
func (r *rig) metrics() map[string]string {
	r.Helper()
	samples := map[string]string{}
	for line := range strings.Lines(r.get(r.handler(), "/metrics").Body.String()) {
		if name, value, ok := cutLast(strings.TrimSpace(line), " "); ok && strings.HasPrefix(name, "balance_") {
			samples[name] = value
		}
	}
	return samples
}

func cutLast(text, separator string) (before, after string, found bool) {
	at := strings.LastIndex(text, separator)
	if at < 0 {
		return text, "", false
	}
	return text[:at], text[at+len(separator):], true
}

func TestMetrics(t *testing.T) {
	r := newRig(t)
	good, bad, off := r.echo(), r.refused(), r.echo()
	good.MaxConns, off.Disabled = 1, true
	r.apply(listener("web", group(good, bad), group(off)))
	client := r.dial(0)
	r.talk(client, 1000)
	other := r.dial(0) // finds one full, one that refuses, one disabled
	other.SetReadDeadline(time.Now().Add(patience))
	if n, err := other.Read(make([]byte, 1)); err == nil {
		t.Fatalf("served %d bytes", n)
	}
	eventually(t, "the one who was turned away is gone", func() bool { return r.engine.Snapshot().Listeners[0].Active == 1 })

	name := func(c spec.Channel) string { return fmt.Sprintf(`{listener="web",channel=%q,name=""`, c.String()) }
	labelled := regexp.MustCompile(`\{([^}]*)\}`)
	samples := map[string]string{}
	for key, value := range r.metrics() { // labels in the order of the program
		samples[labelled.ReplaceAllStringFunc(key, sortLabels)] = value
	}
	for key, want := range map[string]string{
		"balance_channel_connections_total" + name(good) + "}":                                "1",
		"balance_channel_connections_active" + name(good) + "}":                               "1",
		"balance_channel_bytes_total" + name(good) + `,direction="sent"}`:                     "1000",
		"balance_channel_bytes_total" + name(good) + `,direction="received"}`:                 "1000",
		"balance_channel_connect_duration_seconds_count" + name(good) + "}":                   "1",
		"balance_channel_connect_duration_seconds_bucket" + name(good) + `,le="+Inf"}`:        "1",
		"balance_channel_maxc" + name(good) + "}":                                             "1",
		"balance_channel_weight" + name(good) + "}":                                           "1",
		"balance_channel_up" + name(good) + "}":                                               "1",
		"balance_channel_group" + name(good) + "}":                                            "0",
		"balance_channel_up" + name(bad) + "}":                                                "0",
		"balance_channel_connect_errors_total" + name(bad) + `,reason="timeout"}`:             "0",
		"balance_channel_connect_duration_seconds_count" + name(bad) + "}":                    "0",
		"balance_channel_up" + name(off) + "}":                                                "0",
		"balance_channel_group" + name(off) + "}":                                             "1",
		`balance_listener_accepted_total{listener="web"}`:                                     "2",
		`balance_listener_sessions_ended_total{listener="web",by="balance",how="no channel"}`: "1",
		`balance_listener_sessions_ended_total{listener="web",by="balance",how="max age"}`:    "0",
		`balance_listener_active{listener="web"}`:                                             "1",
		`balance_listener_rejected_total{listener="web",reason="failed"}`:                     "1",
		`balance_listener_rejected_total{listener="web",reason="full"}`:                       "0",
		`balance_config_last_reload_successful`:                                               "1",
		`balance_log_messages_lost_total`:                                                     "12",
		`balance_buffered_bytes`:                                                              "0",
		`balance_config_generation`:                                                           "1",
	} {
		if samples[key] != want {
			t.Errorf("%s is %q, want %q", key, samples[key], want)
		}
	}
	held := 0
	for i, n := range r.engine.Snapshot().Loops {
		held += n
		if got := samples[fmt.Sprintf(`balance_loop_sessions{loop="%d"}`, i)]; got != strconv.Itoa(n) {
			t.Errorf("loop %d has %d sessions, the metrics say %q", i, n, got)
		}
	}
	if runtime.GOOS == "linux" && held != 1 {
		t.Errorf("the loops hold %d sessions", held)
	}
	if refused := samples["balance_channel_connect_errors_total"+name(bad)+`,reason="refused"}`]; refused == "0" || refused == "" {
		t.Errorf("%q connections refused", refused)
	}
	r.reloaded(control.Reload{Time: time.UnixMilli(1_700_000_000_500), Errs: []error{errors.New("x")}})
	samples = r.metrics()
	if samples["balance_config_last_reload_successful"] != "0" || samples["balance_config_last_reload_timestamp_seconds"] != "1.7000000005e+09" {
		t.Errorf("after a bad reload: %v", samples)
	}
	body := r.get(r.handler(), "/metrics").Body.String()
	for _, want := range []string{"\ngo_goroutines ", "\nprocess_open_fds ", `balance_build_info{goversion="go`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q", want)
		}
	}
}

// Metrics and JSON tell of the queue.
func TestQueueIsTold(t *testing.T) {
	r := newRig(t)
	full := r.echo()
	full.MaxConns = 1
	web := listener("web", group(full))
	web.Queue, web.MaxSessions = 1, 7
	r.apply(web)
	first := r.dial(0)
	r.talk(first, 10)
	r.dial(0)
	eventually(t, "a client waits", func() bool { return r.engine.Snapshot().Listeners[0].Waiting == 1 })
	r.dial(0)
	eventually(t, "a client was turned away", func() bool { return r.engine.Snapshot().Listeners[0].Rejected == 1 })
	told := func(want map[string]string) {
		t.Helper()
		samples := r.metrics()
		for key, want := range want {
			if samples[key] != want {
				t.Errorf("%s is %q, want %q", key, samples[key], want)
			}
		}
	}
	told(map[string]string{
		`balance_listener_waiting{listener="web"}`:                            "1",
		`balance_listener_wait_seconds_count{listener="web"}`:                 "0",
		`balance_listener_rejected_total{listener="web",reason="queue full"}`: "1",
	})
	var status struct {
		Listeners []struct {
			Waiting, Queue int
			MaxSessions    int `json:"max_sessions"`
			Ended          []struct {
				By, How  string
				Sessions uint64
			}
		}
	}
	if err := json.Unmarshal(r.get(r.handler(), "/api/v1/status").Body.Bytes(), &status); err != nil {
		t.Fatal(err)
	}
	if l := status.Listeners[0]; l.Waiting != 1 || l.Queue != 1 {
		t.Errorf("%d of %d wait", l.Waiting, l.Queue)
	} else if fmt.Sprint(l.Ended) != "[{balance queue full 1}]" || l.MaxSessions != 7 {
		t.Errorf("ended %v, at most %d sessions", l.Ended, l.MaxSessions)
	}
	first.Close()
	eventually(t, "nobody waits", func() bool { return r.engine.Snapshot().Listeners[0].Waiting == 0 })
	told(map[string]string{
		`balance_listener_waiting{listener="web"}`:            "0",
		`balance_listener_wait_seconds_count{listener="web"}`: "1",
	})
}

// sortLabels puts the labels of a sample in the order listener, channel, rest.
func sortLabels(labels string) string {
	var first, second, rest string
	for _, label := range regexp.MustCompile(`\w+="(\\.|[^"\\])*"`).FindAllString(labels, -1) {
		switch {
		case strings.HasPrefix(label, "listener="):
			first = label
		case strings.HasPrefix(label, "channel="):
			second = "," + label
		case strings.HasPrefix(label, "name="):
			second += "," + label // behind channel, which comes before it by the alphabet
		default:
			rest += "," + label
		}
	}
	return "{" + strings.TrimPrefix(first+second+rest, ",") + "}"
}

func TestMetricsAreWellFormed(t *testing.T) {
	r := newRig(t)
	twice := r.echo()
	r.apply(listener(hostile, group(twice, twice)), listener("b", group(r.echo())))
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(&collector{&Daemon{r.daemon}})
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
	all, err := promlint.New(strings.NewReader(r.get(r.handler(), "/metrics").Body.String())).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range all {
		if strings.HasPrefix(problem.Metric, "balance_") {
			t.Errorf("%s: %s", problem.Metric, problem.Text)
		}
	}
}

// TestMetricsAreDescribed looks for every metric of balance's own, and for what
// their labels say.
func TestMetricsAreDescribed(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	words := described()
	for outcome := range health.Outcomes {
		words[outcome.String()] = true
	}
	for reason := range balancer.Rejections {
		words[balancer.Rejection(reason).String()] = true
	}
	for word := range words {
		if !strings.Contains(string(text), "`"+word+"`") {
			t.Errorf("%s is missing", word)
		}
	}
}

func TestStatus(t *testing.T) {
	r := newRig(t)
	good, off := r.echo(), r.echo()
	good.MaxConns, off.Disabled = 3, true
	unresolved := spec.Channel{Host: "nowhere.invalid", Port: 1}
	declared := listener(hostile, group(good, r.refused()), group(off, unresolved))
	declared.HoldOff = 0
	r.apply(declared)
	r.talk(r.dial(0), 10)
	r.talk(r.dial(0), 10)
	r.reloaded(control.Reload{Time: time.Now(), Errs: []error{errors.New("f:1: a"), errors.New("f:2: b")}, Hash: "abc"})

	answer := r.get(r.handler(), "/api/v1/status")
	if kind := answer.Header().Get("Content-Type"); answer.Code != 200 || kind != "application/json" {
		t.Errorf("status %d, %s", answer.Code, kind)
	}
	if strings.Contains(answer.Body.String(), "<script>") {
		t.Error("a name stands in the answer as markup")
	}
	var got struct {
		Version, File string
		PID           int
		Generation    int
		Problems      []string
		Warnings      []string
		LastReload    struct {
			OK     bool
			Errors []string
		} `json:"last_reload"`
		Listeners []struct {
			Name     string
			Accepted int
			Active   int
			Groups   []struct {
				Mode     string
				Channels []struct {
					Channel, State    string
					Active, Maxc      int
					Weight            int
					Share             float64
					Connections, Sent int
					ConnectErrors     map[string]int       `json:"connect_errors"`
					ConnectDuration   control.ConnectTimes `json:"connect_duration"`
				}
			}
		}
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Version != "4.0.0-test" || got.PID != os.Getpid() || got.Generation != 1 || len(got.Problems) != 0 || len(got.Warnings) != 1 || got.LastReload.OK || len(got.LastReload.Errors) != 2 {
		t.Errorf("%+v", got)
	}
	l := got.Listeners[0]
	if l.Name != hostile || l.Accepted != 2 || l.Active != 2 {
		t.Errorf("%+v", l)
	}
	var states []string
	for _, g := range l.Groups {
		for _, c := range g.Channels {
			states = append(states, c.State)
		}
	}
	if want := []string{"up", "failing", "disabled", "unresolved"}; !reflect.DeepEqual(states, want) {
		t.Errorf("states %v, want %v", states, want)
	}
	first := l.Groups[0].Channels[0]
	if first.Weight != 1 || first.Share != 100 || l.Groups[0].Channels[1].Share != 0 {
		t.Errorf("weight and share: %+v", l.Groups[0])
	}
	if first.Channel != good.String() || first.Active != 2 || first.Maxc != 3 || first.Connections != 2 || first.Sent != 20 ||
		first.ConnectDuration.Count != 2 || l.Groups[0].Channels[1].ConnectErrors["refused"] == 0 || l.Groups[0].Mode != "rr" {
		t.Errorf("%+v", l.Groups[0])
	}
}

// The page has a look and a meaning for every word that status says.
func TestPageKnowsEveryState(t *testing.T) {
	script, err := embedded.ReadFile("page/words.js")
	if err != nil {
		t.Fatal(err)
	}
	for state := balancer.StateUp; state <= balancer.StateRemoved; state++ {
		name := state.String()
		if strings.Contains(name, " ") {
			name = strconv.Quote(name)
		}
		if !strings.Contains(string(script), fmt.Sprintf("\n  %s: { look:", name)) {
			t.Errorf("it does not know %q", state)
		}
	}
}

// It has words for every mode, too.
func TestPageKnowsEveryMode(t *testing.T) {
	script, err := embedded.ReadFile("page/words.js")
	if err != nil {
		t.Fatal(err)
	}
	_, modes, _ := strings.Cut(string(script), "\nexport const modes = {")
	modes, _, _ = strings.Cut(modes, "\n};")
	for mode := range balancer.Modes {
		if !strings.Contains(modes, fmt.Sprintf("\n  %s: \"", mode)) {
			t.Errorf("it does not know %q", mode)
		}
	}
}

func TestSessions(t *testing.T) {
	r := newRig(t)
	one, two := r.echo(), r.echo()
	r.apply(listener("a", group(one)), listener("b&c", group(two)))
	for i := range 7 {
		r.talk(r.dial(i%2), 100) // 4 and 3
	}
	ask := func(parameters string) (answer sessions) {
		t.Helper()
		got := r.get(r.handler(), "/api/v1/sessions"+parameters)
		if err := json.Unmarshal(got.Body.Bytes(), &answer); err != nil {
			t.Fatalf("%s: %d %v", parameters, got.Code, err)
		}
		return answer
	}
	all := ask("")
	if all.Total != 7 || len(all.Sessions) != 7 || all.Next != 0 {
		t.Fatalf("%+v", all)
	}
	s := all.Sessions[0]
	if s.Listener != "a" || s.Channel != one.String() || s.State != "relaying" || s.Sent != 100 || s.Received != 100 || !strings.HasPrefix(s.Client, "127.0.0.1:") || s.Age < 0 {
		t.Errorf("%+v", s)
	}
	for parameters, want := range map[string]int{
		"?listener=a":                                          4,
		"?listener=" + url.QueryEscape("b&c"):                  3,
		"?channel=" + url.QueryEscape(two.String()):            3,
		"?channel=nothing":                                     0,
		"?client=127.0.0.1":                                    7,
		"?client=127.0.0.0/8":                                  7,
		"?client=::ffff:127.0.0.1":                             7,
		"?client=192.0.2.0/24":                                 0,
		"?listener=a&channel=" + url.QueryEscape(two.String()): 0,
	} {
		if got := ask(parameters); got.Total != want || len(got.Sessions) != want {
			t.Errorf("%s: %d of %d, want %d", parameters, len(got.Sessions), got.Total, want)
		}
	}
	var ids []uint64
	for next, pages := uint64(0), 0; ; pages++ {
		page := ask(fmt.Sprintf("?limit=3&after=%d", next))
		if page.Total != 7 || pages > 3 {
			t.Fatalf("page %d of %d sessions", pages, page.Total)
		}
		for _, s := range page.Sessions {
			ids = append(ids, s.ID)
		}
		if next = page.Next; next == 0 {
			break
		}
	}
	for i, s := range all.Sessions {
		if len(ids) != 7 || ids[i] != s.ID {
			t.Fatalf("pages hold %v", ids)
		}
	}
	for _, parameters := range []string{"?limit=0", "?limit=10001", "?limit=x", "?after=-1", "?client=x", "?client=1.2.3.4/33"} {
		if got := r.get(r.handler(), "/api/v1/sessions"+parameters); got.Code != 400 {
			t.Errorf("%s: status %d", parameters, got.Code)
		}
	}
}

// TestConfigIsTheFile turns what is answered back into the file that it has
// the shape of.
func TestConfigIsTheFile(t *testing.T) {
	want, err := config.Decode("f", []byte(`
[defaults]
shutdown_timeout = "1m30s"
[log]
level = "warn"
format = "json"
sessions = true
[control]
watch = false
mode = "0660"
group = "adm"
read_group = "staff"
stats_file = "/x"
http = "[::1]:8404"
http_token_file = "/t"
http_write = true
pprof = true
[process]
max_buffered = "1GiB"
[[listener]]
name = "pop3"
listen = ["0.0.0.0:110", "[::1]:110"]
source = "192.0.2.1"
connect_timeout = "2s"
connect_deadline = "9s"
queue = 5
queue_timeout = "4s"
idle_timeout = "3s"
half_close_timeout = "0s"
keepalive = "1h"
user_timeout = "1m"
auto_disable = true
hash_failover = true
on_remove = "drain"
drain_timeout = "1s"
hold_off = "2s"
hold_off_max = "3s"
on_down = "close"
on_return = "close"
close_spread = "5s"
panic = 50
when_unusable = "refuse"
stall_after = "0s"
max_age = "1h"
max_age_jitter = 20
max_sessions = 7
rebalance = "5%"
  [listener.check]
  interval = "3s"
  tls = true
  ca_file = "/ca"
  [[listener.group]]
  mode = "hash"
  hash_ipv4_bits = 24
  hash_ipv6_bits = 64
  hash_load = 150
  slow_start = "30s"
  channels = ["[2001:db8::2]:80:3", {name = "w1", host = "h", port = 26, maxc = 4, weight = 0, disabled = true, check_host = "c", check_port = 27}]
  check = {type = "http", headers = {Authorization = "Bearer secret", Accept = ""}, status = [204, "300-302"]}
  [[listener.group]]
  channels = ["h:1"]
  [[listener.group]]
  channels = ["h:2"]
  check = {type = "exec", command = ["/bin/x", "{host}"]}
  [[listener.group]]
  channels = ["h:3"]
  check = {type = "tcp", send = "PING\r\n"}
  [[listener.group]]
  channels = ["h:4"]
  check = {type = "redis", role = "master"}
`))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := json.Marshal(configurationOf(want))
	if err != nil {
		t.Fatal(err)
	}
	// Headers may be secrets: their names alone are there.
	const hidden, headers = `"headers":{"Accept":null,"Authorization":null}`, `"headers":{"Accept":"","Authorization":"Bearer secret"}`
	if !strings.Contains(string(answer), hidden) || strings.Contains(string(answer), "secret") {
		t.Errorf("%s is not in %s", hidden, answer)
	}
	answer = []byte(strings.Replace(string(answer), hidden, headers, 1))
	if !strings.Contains(string(answer), `"check":{"type":"none"},"channels":[{"name":"","host":"h","port":1,`) {
		t.Errorf("a group without a check has one: %s", answer)
	}
	values := map[string]any{}
	decoder := json.NewDecoder(strings.NewReader(string(answer)))
	decoder.UseNumber()
	if err := decoder.Decode(&values); err != nil {
		t.Fatal(err)
	}
	var document strings.Builder
	if err := toml.NewEncoder(&document).Encode(values); err != nil {
		t.Fatal(err)
	}
	got, err := config.Decode("f", []byte(document.String()))
	if err != nil {
		t.Fatalf("%v\n%s", err, document.String())
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}

	example, err := os.ReadFile("../../balance.toml.example")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range regexp.MustCompile(`(?m)^(?:# )?([a-z0-9_]+) = `).FindAllStringSubmatch(string(example), -1) {
		if !strings.Contains(string(answer), `"`+key[1]+`":`) {
			t.Errorf("the key %s is missing", key[1])
		}
	}
}

func TestConfigInForce(t *testing.T) {
	r := newRig(t)
	r.apply(listener(hostile, group(r.echo())))
	got := r.get(r.handler(), "/api/v1/config")
	var c struct {
		Control  struct{ Mode string }
		Listener []struct{ Name, KeepAlive string }
	}
	if err := json.Unmarshal(got.Body.Bytes(), &c); err != nil || got.Code != http.StatusOK {
		t.Fatalf("status %d: %v", got.Code, err)
	}
	if c.Listener[0].Name != hostile || c.Listener[0].KeepAlive != "15s" || c.Control.Mode != "0600" {
		t.Errorf("%+v", c)
	}
}
