package control

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"balance/engine"
	"balance/engine/spec"
)

func TestWhoAClientIs(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	named := func(int) (string, error) { return "ann\x1b[2J", nil }
	nobody := func(int) (string, error) { return "", errors.New("unknown userid") }
	for _, c := range []struct {
		client credentials
		name   func(int) (string, error)
		want   string
	}{
		{credentials{known: true, uid: 7}, named, `ann\u001b[2J (7), control`},
		{credentials{known: true, uid: 7}, nobody, "7, control"},
		{credentials{known: true, uid: os.Getuid()}, userName, me.Username + " (" + me.Uid + "), control"},
		{credentials{}, named, "control"},
	} {
		if got := actorOf(c.client, c.name).String(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.client, got, c.want)
		}
	}
}

func TestUserDatabaseThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan struct{})
		got := actorOf(credentials{known: true, uid: 7}, func(int) (string, error) {
			<-answer
			return "ann", nil
		})
		if got.String() != "7, control" {
			t.Errorf("%q", got)
		}
		close(answer)
		synctest.Wait()
	})
}

// newAuditRig is a rig whose log, without times, is kept.
func newAuditRig(t *testing.T, config *spec.Config) (*rig, func() []string) {
	r := newRig(t, config)
	var mu sync.Mutex
	var log bytes.Buffer
	e, err := engine.New(engine.Options{Resolver: noNames{}, Log: slog.New(slog.NewTextHandler(writer(func(data []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return log.Write(data)
	}), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Shutdown(t.Context()) })
	if _, err := e.Apply(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	r.server.daemon.Engine = e
	r.engine = e
	return r, func() []string {
		mu.Lock()
		defer mu.Unlock()
		var acts []string
		for line := range strings.Lines(log.String()) {
			if _, act, found := strings.Cut(strings.TrimSuffix(line, "\n"), "msg=operator "); found {
				acts = append(acts, act)
			}
		}
		log.Reset()
		return acts
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(data []byte) (int, error) { return w(data) }

func TestActsAreTold(t *testing.T) {
	config := declare([]string{"web"}, []string{"127.0.0.1:80", "127.0.0.2:80"})
	config.Listeners[0].Groups[0].Channels[0].Weight = spec.WeightOf(3)
	r, acts := newAuditRig(t, config)
	c := r.server.converse(credentials{known: true, uid: os.Geteuid()})
	by := c.actor().String()
	for _, step := range []struct{ request, want, event string }{
		{"weight 0 1", `what=weight listener=web channel=127.0.0.1:80 change="weight 3 → 1"`, "web 127.0.0.1:80 weight: weight 3 → 1"},
		{"weight 0 1", `what=weight listener=web change=nothing`, "web weight: nothing"},
		{"maxc 1 7", `what=maxc listener=web channel=127.0.0.2:80 change="maxc 0 → 7"`, "web 127.0.0.2:80 maxc: maxc 0 → 7"},
		{"mode hash", `what=mode listener=web change="group 0 mode rr → hash"`, "web mode: group 0 mode rr → hash"},
		{"rr", `what=rr listener=web change="group 0 mode hash → rr"`, "web rr: group 0 mode hash → rr"},
		{"disable 1", `what=disable listener=web channel=127.0.0.2:80 change="untested → disabled"`, "web 127.0.0.2:80 disable: untested → disabled"},
		{"disable 1", `what=disable listener=web channel=127.0.0.2:80 change="already disabled"`, "web 127.0.0.2:80 disable: already disabled"},
		{"assign 1 127.0.0.3 81", `what=assign listener=web change="- group 0 channel 127.0.0.2:80; + group 0 channel 127.0.0.3:81 maxc 7 disabled true"`, "web assign: - group 0 channel 127.0.0.2:80; + group 0 channel 127.0.0.3:81 maxc 7 disabled true"},
		{"create 127.0.0.4 81", `what=create listener=web channel=127.0.0.4:81 change="+ disabled true"`, "web 127.0.0.4:81 create: + disabled true"},
		{"enable 1", `what=enable listener=web channel=127.0.0.3:81 change="disabled → enabled"`, "web 127.0.0.3:81 enable: disabled → enabled"},
		{"drain 0", `what=drain listener=web channel=127.0.0.1:80 change="untested → draining, sessions left: 0"`, "web 127.0.0.1:80 drain: untested → draining, sessions left: 0"},
		{"reset 0", `what=reset listener=web channel=127.0.0.1:80 change="sessions 0 → 0, sent 0 → 0, received 0 → 0"`, "web 127.0.0.1:80 reset: sessions 0 → 0, sent 0 → 0, received 0 → 0"},
		{"rebalance", `what=rebalance listener=web change="sessions to end: 0"`, "web rebalance: sessions to end: 0"},
		{"rebalance dry", "", ""},
		{"enable 9", `what=enable listener=web error="no such channel 9" request="enable 9"`, ""},
		{"maxc 1 -7", `what=maxc listener=web error="value out of range" request="maxc 1 -7"`, ""},
		{"weight 9 1", `what=weight listener=web error="unknown channel" request="weight 9 1"`, ""},
		{`mode "` + "\x1b[2J\xff" + `"`, `what=mode listener=web error="\"\\x1b[2J?\" is none of \"rr\", \"hash\", \"leastconn\", \"random\", \"first\"" request="mode \"?[2J?\""`, ""},
		{"close 77", `what=close listener=web error="no such session 77" request="close 77"`, ""},
		{"show", "", ""}, {"config", "", ""}, {"diff", "", ""}, {"sessions 9", "", ""}, {"weight x", "", ""},
		{"reload", "", ""}, // the daemon tells
	} {
		before := lastEvent(r.engine)
		ask(c, step.request)
		want := ""
		if step.want != "" {
			want = `by="` + by + `" ` + step.want
		}
		if got := strings.Join(acts(), "\n"); got != want {
			t.Errorf("%s: log\n%s\nwant\n%s", step.request, got, want)
		}
		events := slices.DeleteFunc(r.engine.Events(engine.MaxEvents), func(e engine.Event) bool { return e.ID <= before || e.By == "" })
		switch {
		case step.event == "" && len(events) > 0 || step.event != "" && len(events) != 1:
			t.Errorf("%s: events %+v", step.request, events)
		case step.event != "":
			if _, got, _ := strings.Cut(eventLine(events[0]), " "); got != step.event+" (by "+by+")" {
				t.Errorf("%s: event %q, want %q", step.request, got, step.event)
			}
		}
	}
}

func lastEvent(e *engine.Engine) uint64 {
	if events := e.Events(1); len(events) > 0 {
		return events[0].ID
	}
	return 0
}

// Who may change nothing is told of, but cannot fill the log.
func TestDeniedActsAreTold(t *testing.T) {
	r, acts := newAuditRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	r.server.access.Store(&Access{0o600, 7, 8})
	c := r.server.converse(credentials{true, os.Geteuid() + 54321, []int{8}})
	ask(c, "drain 0 "+strings.Repeat("x", 3000))
	want := fmt.Sprintf(`by="%d, control" what=drain listener=web error="permission denied" request="drain 0 xxx`, os.Geteuid()+54321)
	if got := acts(); len(got) != 1 || !strings.HasPrefix(got[0], want) || len(got[0]) > 1000 {
		t.Errorf("%q", got)
	}
	began := time.Now()
	for range 2000 {
		ask(c, "kill")
	}
	most := missesPerSecond * (int(time.Since(began).Seconds()) + 2)
	if got := len(acts()); got == 0 || got > most {
		t.Errorf("%d lines, at most %d are right", got, most)
	}
	for {
		ask(c, "kill")
		if got := acts(); len(got) > 0 {
			if !strings.Contains(got[0], " untold=") {
				t.Errorf("%q", got)
			}
			return
		}
	}
}
