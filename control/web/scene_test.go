package web

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"balance/control"
	"balance/engine"
	"balance/engine/balancer"
	"balance/engine/health"
	"balance/engine/spec"
)

// scene is a daemon that is made up: the same at each look, whatever the time.
type scene struct {
	listeners, channels int // of each listener
	trouble             bool
	write               bool
	unconfirmed         bool      // the last change is undone in a while
	calls               *[]string // what was asked to be done; nil for none
}

// names are what listeners are called on an ordinary night.
var names = []string{"web", "api", "imap", "smtp", "pg-main", "pg-read", "redis", "auth", "search", "metrics",
	"ldap", "mqtt", "git", "proxy", "files", "chat", "video", "queue", "admin", "legacy"}

func (s scene) name(i int) string {
	if i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("listener %d", i)
}

// sick says how it stands with the few that are not well.
func (s scene) sick(l, c int, now time.Time) (control.Standing, map[string]uint64) {
	well := control.Standing{State: balancer.StateUp, Since: now.Add(-time.Duration(3+l+c) * time.Hour)}
	if !s.trouble {
		return well, nil
	}
	switch {
	case l == 4 && c == 1:
		return control.Standing{State: balancer.StateDown, Since: now.Add(-12 * time.Minute), Reason: "GET http://10.4.0.11:8008/primary answered 503, not 200",
			Check: &control.CheckReport{Type: spec.CheckHTTP, Target: "10.4.0.11:8008", Health: "down", InARow: 144, Next: now.Add(3 * time.Second),
				Last: &control.CheckResult{Time: now.Add(-2 * time.Second), Took: 0.0019, Outcome: health.Answered.String(), Answer: "GET http://10.4.0.11:8008/primary answered 503, not 200"}}}, nil
	case l == 0 && c == 2:
		return control.Standing{State: balancer.StateHeld, Since: now.Add(-7 * time.Minute), Until: now.Add(21 * time.Second), Reason: "refused, 50 times in a row"},
			map[string]uint64{"refused": 50, "timeout": 0}
	case l == 2 && c == 0 && s.channels > 5:
		return control.Standing{State: balancer.StateFull, Since: now.Add(-30 * time.Second), Reason: "40 of 40"}, nil
	case l == 9 && c == 3:
		return control.Standing{State: balancer.StateDisabled, Since: now.Add(-26 * time.Hour), Reason: "by the operator"}, nil
	}
	return well, nil
}

// status is what such a daemon says so many seconds after the first look.
func (s scene) status(now time.Time, turn int) status {
	answer := status{Version: "4.0.0", PID: 812, Started: now.Add(-53 * time.Hour), Now: now, Generation: 12, File: "/etc/balance.toml",
		Problems: []string{}, Warnings: []string{}, Loops: []int{}, Write: s.write, Listeners: []listenerStatus{},
		LastReload: &control.ReloadReport{Time: now.Add(-47 * time.Minute), OK: true, Errors: []string{}, Hash: "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"}}
	if s.unconfirmed {
		answer.Confirm = &control.Unconfirmed{Number: 12, Back: 11, By: "ann (1000), control", Why: "apply new.toml", Since: now.Add(-13 * time.Second), Until: now.Add(47 * time.Second)}
	}
	for i := range s.listeners {
		l := listenerStatus{Name: s.name(i), Addresses: []string{fmt.Sprintf("10.0.0.1:%d", 8000+i)}, Usable: true, Rejected: map[string]uint64{}, Groups: []control.GroupReport{}}
		if i == 0 && s.trouble {
			l.Rejected["full"] = 17
		}
		groups := []control.GroupReport{{Mode: balancer.Mode(i % int(balancer.Modes))}}
		spare := 0
		if s.channels > 3 && i%3 == 0 {
			spare = 1
			groups = append(groups, control.GroupReport{})
		}
		for c := range s.channels {
			g := 0
			if c >= s.channels-spare {
				g = 1
			}
			stand, failures := s.sick(i, c, now)
			one := control.ChannelReport{Channel: balancer.Key{Host: fmt.Sprintf("10.%d.0.%d", i, 10+c), Port: 8080}, Standing: stand,
				Addresses: []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, byte(10 + c)}), 8080)},
				Weight:    1 + c%3/2, Failures: failures, Connect: control.ConnectTimes{Count: 1000, Seconds: 0.4 + 0.1*float64((i*7+c*3)%9)}}
			if g == 0 && stand.State != balancer.StateDown && stand.State != balancer.StateHeld && stand.State != balancer.StateDisabled {
				one.Active = 3 + (i*5+c*7)%23
				if c%4 == 0 {
					one.MaxConns = 40
				}
				pace := uint64(1 + (i+2*c)%5)
				one.Sessions = 1000*pace + uint64(turn)*pace
				one.Sent = 1<<30*pace + uint64(turn)*pace*9_700
				one.Received = 1<<31*pace + uint64(turn)*pace*41_300
			}
			if stand.State == balancer.StateFull {
				one.Active, one.MaxConns = 40, 40
			}
			if i == 4 && g == 0 && s.trouble && c == 0 {
				one.Active = 61
			}
			l.Active += one.Active
			l.Accepted += one.Sessions
			groups[g].Channels = append(groups[g].Channels, one)
		}
		for g := range groups {
			all := 0
			for _, c := range groups[g].Channels {
				all += c.Active
			}
			for k := range groups[g].Channels {
				groups[g].Channels[k].Share = 100 * float64(groups[g].Channels[k].Active) / float64(max(all, 1))
			}
		}
		l.Groups = groups
		answer.Listeners = append(answer.Listeners, l)
	}
	return answer
}

func (s scene) events(now time.Time) []engine.Event {
	at := func(minutes float64) time.Time { return now.Add(-time.Duration(minutes * float64(time.Minute))) }
	list := []engine.Event{
		{Time: at(47), What: "reload", Reason: "changes: 3, generation 12", By: "file"},
		{Time: at(31), Listener: s.name(0), Channel: "10.0.0.11:8080", What: "drain", Reason: "up → draining, sessions left: 14", By: "ann (1000), control"},
		{Time: at(31), Listener: s.name(0), Channel: "10.0.0.11:8080", What: "draining"},
		{Time: at(26), Listener: s.name(0), Channel: "10.0.0.11:8080", What: "disabled", Reason: "by the operator"},
		{Time: at(8.4), Listener: s.name(0), Channel: "10.0.0.11:8080", What: "enable", Reason: "disabled → enabled", By: "page"},
		{Time: at(8.3), Listener: s.name(0), Channel: "10.0.0.11:8080", What: "up"},
	}
	if s.trouble {
		list = append(list,
			engine.Event{Time: at(12), Listener: s.name(4), Channel: "10.4.0.11:8080", What: "down", Reason: "GET http://10.4.0.11:8008/primary answered 503, not 200"},
			engine.Event{Time: at(7), Listener: s.name(0), Channel: "10.0.0.12:8080", What: "failing", Reason: "refused"},
			engine.Event{Time: at(6.9), Listener: s.name(0), Channel: "10.0.0.12:8080", What: "held off", Reason: "refused, 3 times in a row"},
			engine.Event{Time: at(3), What: "reload failed", Reason: `balance.toml:41: listener "web": unknown key "chanels": did you mean "channels"?`, By: "file"},
			engine.Event{Time: at(2.2), What: "reload", Reason: "changes: 0, generation 12", By: "file"})
	}
	for i := range list {
		list[i].ID = uint64(i + 1)
	}
	return list
}

// wave is a gentle up and down.
func wave(i float64) float64 {
	return math.Sin(i/90) + 0.35*math.Sin(i/17) + 0.12*math.Sin(i*1.7)
}

// past is how it went, in steps of so many seconds.
func past(now time.Time, step, samples, active int) []sample {
	list := []sample{}
	for i := range samples {
		x := float64(i * step)
		list = append(list, sample{
			Time:        now.Add(time.Duration((i-samples)*step) * time.Second).UnixMilli(),
			Active:      int(float64(active) * (1 + 0.12*wave(x))),
			Connections: uint64(max(0, float64(active)/5*(1+0.3*wave(x)+0.2*math.Sin(x*2.3)))),
			Sent:        uint64(float64(active) * (10_000 + 1700*wave(x) + 300*math.Sin(x*2.9))),
			Received:    uint64(float64(active) * (19_000 + 3000*wave(x) + 660*math.Sin(x*2.1))),
		})
	}
	return list
}

// serve serves the page, and the scene as what the daemon says.
func (s scene) serve(t *testing.T) *httptest.Server {
	server := httptest.NewServer(s.handler(t))
	t.Cleanup(server.Close)
	return server
}

func (s scene) handler(t *testing.T) http.Handler {
	began := time.Now()
	mux := http.NewServeMux()
	mux.Handle("GET /", newHandler(&Daemon{newRig(t).daemon}, new(history), Settings{}))
	answer := func(path string, value func(r *http.Request) any) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) { writeJSON(w, value(r)) })
	}
	answer("/api/v1/status", func(*http.Request) any {
		now := time.Now()
		return s.status(now, int(now.Sub(began).Seconds()))
	})
	answer("/api/v1/events", func(*http.Request) any { return eventList{Events: s.events(began)} })
	answer("/api/v1/history", func(r *http.Request) any {
		samples := past(began, 1, maxSamples, 12*min(s.channels*s.listeners, 300))
		switch {
		case r.URL.Query().Get("channel") != "":
			samples = past(began, 10, maxPoints, 12)
		case r.URL.Query().Get("after") != "0":
			samples = []sample{}
		}
		return map[string]any{"samples": samples}
	})
	answer("/api/v1/curves", func(*http.Request) any {
		answer := curves{Every: pointEvery.Seconds()}
		for i := range s.listeners {
			one := listenerCurve{Name: s.name(i)}
			for p := range maxPoints {
				one.Active = append(one.Active, int(float64(10*s.channels)*(1+0.2*wave(float64(p*10+i*37)))))
			}
			answer.Listeners = append(answer.Listeners, one)
		}
		return answer
	})
	answer("/api/v1/sessions", func(*http.Request) any {
		list := sessions{Total: 2345}
		for i := range 40 {
			list.Sessions = append(list.Sessions, session{ID: uint64(i*3 + 1), Client: fmt.Sprintf("192.0.2.%d:%d", i, 40000+i*17),
				Listener: s.name(i % s.listeners), Channel: fmt.Sprintf("10.%d.0.%d:8080", i%s.listeners, 10+i%s.channels), State: "relaying",
				Age: float64(4000 - i*97), Idle: float64(i * 7 % 60), Sent: uint64(i * i * 1000), Received: uint64(i*i*5000 + 200)})
		}
		return list
	})
	answer("/api/v1/config", func(*http.Request) any {
		c := spec.DefaultConfig()
		c.Control.HTTP = "127.0.0.1:8404"
		for i := range min(s.listeners, 50) {
			l := listener(s.name(i), group())
			l.Listen = []string{fmt.Sprintf("10.0.0.1:%d", 8000+i)}
			for k := range s.channels {
				l.Groups[0].Channels = append(l.Groups[0].Channels, spec.Channel{Host: fmt.Sprintf("10.%d.0.%d", i, 10+k), Port: 8080})
			}
			c.Listeners = append(c.Listeners, l)
		}
		return configurationOf(c)
	})
	answer("/api/v1/configurations", func(*http.Request) any {
		return []control.Configuration{{Number: 11, Time: began.Add(-26 * time.Hour), By: "file", Why: "reload", Changes: 3},
			{Number: 12, Time: began.Add(-47 * time.Minute), By: "ann (1000), control", Why: "weight 0 3", Changes: 1, InForce: true}}
	})
	answer("/api/v1/configurations/{number}", func(*http.Request) any {
		return control.Comparison{Before: 10, Changed: spec.Changes{{Sign: spec.Added, Listener: "web", Channel: "10.0.0.19:8080"}}, Rollback: spec.Changes{{Sign: spec.Changed, Listener: "web", Channel: "10.0.0.10:8080", Key: "weight", Old: "3", New: "1"}}}
	})
	mux.HandleFunc("POST /api/v1/{act}", func(w http.ResponseWriter, r *http.Request) {
		var o order
		json.NewDecoder(r.Body).Decode(&o)
		if s.calls != nil {
			*s.calls = append(*s.calls, fmt.Sprintf("%s %s %s %d", r.PathValue("act"), o.Listener, o.Channel, o.ID))
		}
		writeJSON(w, map[string]string{"change": "done"})
	})
	return mux
}
