package web

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"balance/control"
	"balance/engine"
	"balance/engine/plane"
)

// ordered asks a handler for an act as the page does.
func (r *rig) ordered(handler http.Handler, act, body string, change func(*http.Request)) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodPost, "/api/v1/"+act, strings.NewReader(body))
	request.Host = "127.0.0.1:8404"
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+testToken)
	request.Header.Set("Sec-Fetch-Site", "same-origin")
	if change != nil {
		change(request)
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder
}

// TestActs does what can be done, and looks for it in the audit.
func TestActs(t *testing.T) {
	r := newRig(t)
	one, two := r.echo(), r.echo()
	web := listener("web", group(one, two))
	web.Groups[0].Channels[0].Name = "w1"
	r.apply(web)
	handler := newHandler(&Daemon{r.daemon}, new(history), Settings{Token: testToken, Write: true})
	r.talk(r.dial(0), 10)
	var id uint64
	r.engine.Sessions(func(s plane.Session) bool { id = s.ID; return false })
	about := fmt.Sprintf(`{"listener": "web", "channel": %q}`, one.String())
	for _, test := range []struct {
		act, body string
		code      int
		want      string // of the answer
		event     string
	}{
		{"disable", about, 200, "up → disabled", "disable"},
		{"disable", about, 200, "already disabled", "disable"},
		{"enable", `{"listener": "web", "channel": "w1"}`, 200, "disabled → enabled", "enable"},
		{"drain", about, 200, "up → draining, sessions left: 1", "drain"},
		{"close", fmt.Sprintf(`{"id": %d}`, id), 200, fmt.Sprintf("session %d ended", id), "close"},
		{"close", `{"id": 987654}`, 404, "there is no session 987654", ""},
		{"drain", `{"listener": "web", "channel": "192.0.2.1:1"}`, 404, `there is no channel "192.0.2.1:1" of listener "web"`, ""},
		{"drain", `{"listener": "nobody"}`, 404, `there is no listener "nobody"`, ""},
	} {
		before := r.engine.Events(1)
		got := r.ordered(handler, test.act, test.body, nil)
		if got.Code != test.code || !strings.Contains(got.Body.String(), test.want) {
			t.Errorf("%s %s: status %d, %s", test.act, test.body, got.Code, got.Body)
		}
		told := ""
		for _, event := range r.engine.Events(10) {
			if event.By == "page from 192.0.2.1" && (event.Channel == "" || event.Name == "w1") && (len(before) == 0 || event.ID > before[0].ID) {
				told += event.What
			}
		}
		if told != test.event {
			t.Errorf("%s %s: the events tell of %q", test.act, test.body, told)
		}
		if event := r.engine.Events(1)[0]; test.event != "" && test.act != "close" && (event.Channel != one.String() || event.Name != "w1") {
			t.Errorf("%s %s: the event tells of channel %q, named %q", test.act, test.body, event.Channel, event.Name)
		}
		if log := r.log.String(); !strings.Contains(log, "msg=operator by=\"page from 192.0.2.1\" what="+test.act) {
			t.Errorf("%s is not in the log: %s", test.act, log)
		}
	}
	eventually(t, "the session has ended", func() bool { return r.engine.Snapshot().Listeners[0].Active == 0 })
}

// TestUndoing goes back, and confirms, as far as the daemon can.
func TestUndoing(t *testing.T) {
	r := newRig(t)
	r.apply(listener("web", group(r.echo())))
	settings := Settings{Token: testToken, Write: true}
	for _, act := range []string{"rollback", "confirm"} {
		if got := r.ordered(newHandler(&Daemon{r.daemon}, new(history), settings), act, "{}", nil); got.Code != 409 {
			t.Errorf("%s, where nothing is kept: status %d", act, got.Code)
		}
	}
	var asked string
	r.daemon.Rollback = func(by engine.Actor, number int, write bool) (control.Rollback, error) {
		asked = fmt.Sprintf("rollback by %s to %d, write %t", by, number, write)
		return control.Rollback{To: 5, Number: 8}, nil
	}
	r.daemon.Confirm = func(by engine.Actor) (int, error) {
		asked = fmt.Sprintf("confirm by %s", by)
		return 0, errors.New("nothing waits to be confirmed")
	}
	handler := newHandler(&Daemon{r.daemon}, new(history), settings)
	for _, test := range []struct {
		act, body, asked, want string
		code                   int
	}{
		{"rollback", `{"number": 5}`, "rollback by page from 192.0.2.1 to 5, write false", "back to configuration 5", 200},
		{"rollback", `{}`, "rollback by page from 192.0.2.1 to 0, write false", "back to configuration 5", 200},
		{"confirm", `{}`, "confirm by page from 192.0.2.1", "nothing waits", 409},
	} {
		asked = ""
		if got := r.ordered(handler, test.act, test.body, nil); got.Code != test.code || !strings.Contains(got.Body.String(), test.want) || asked != test.asked {
			t.Errorf("%s: asked %q, status %d: %s", test.act, asked, got.Code, got.Body)
		}
	}
}

// TestActsAreRefused asks for what nobody may have, and sees that it is not
// done.
func TestActsAreRefused(t *testing.T) {
	r := newRig(t)
	one := r.echo()
	r.apply(listener("web", group(one)))
	write := Settings{Address: "127.0.0.1:8404", Token: testToken, Write: true}
	about := fmt.Sprintf(`{"listener": "web", "channel": %q}`, one.String())
	header := func(key, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(key, value) }
	}
	for name, test := range map[string]struct {
		settings  Settings
		act, body string
		change    func(*http.Request)
		code      int
	}{
		"it is off":                    {Settings{Token: testToken}, "disable", about, nil, 405},
		"on, but without a token":      {Settings{Write: true}, "disable", about, nil, 405},
		"no token is borne":            {write, "disable", about, header("Authorization", ""), 401},
		"a wrong one":                  {write, "disable", about, header("Authorization", "Bearer "+testToken+"x"), 401},
		"a token in the address":       {write, "disable", about, func(r *http.Request) { r.Header.Del("Authorization"); r.URL.RawQuery = "token=" + testToken }, 401},
		"another site":                 {write, "disable", about, header("Sec-Fetch-Site", "cross-site"), 403},
		"another port of this host":    {write, "disable", about, header("Sec-Fetch-Site", "same-site"), 403},
		"another origin":               {write, "disable", about, func(r *http.Request) { r.Header.Del("Sec-Fetch-Site"); r.Header.Set("Origin", "http://evil.example") }, 403},
		"a name bound to this machine": {write, "disable", about, func(r *http.Request) { r.Host = "evil.example:8404" }, 421},
		"a form":                       {write, "disable", about, header("Content-Type", "application/x-www-form-urlencoded"), 415},
		"text":                         {write, "disable", about, header("Content-Type", "text/plain"), 415},
		"no type":                      {write, "disable", about, header("Content-Type", ""), 415},
		"nothing":                      {write, "disable", "", nil, 400},
		"no JSON":                      {write, "disable", "web", nil, 400},
		"two values":                   {write, "disable", about + about, nil, 400},
		"an unknown member":            {write, "disable", strings.Replace(about, "listener", "lstener", 1), nil, 400},
		"too long":                     {write, "disable", about + strings.Repeat(" ", maxOrder), nil, 413},
		"too long, unannounced": {write, "disable", `{"listener": "` + strings.Repeat("x", maxOrder) + `"}`,
			func(r *http.Request) { r.ContentLength = -1 }, 413},
		"an unknown act":        {write, "kill", about, nil, 405},
		"what can only be read": {write, "status", about, nil, 405},
		"GET":                   {write, "disable", "", func(r *http.Request) { r.Method = http.MethodGet }, 405},
		"PUT":                   {write, "disable", about, func(r *http.Request) { r.Method = http.MethodPut }, 405},
		"DELETE":                {write, "disable", about, func(r *http.Request) { r.Method = http.MethodDelete }, 405},
	} {
		handler := newHandler(&Daemon{r.daemon}, new(history), test.settings)
		if got := r.ordered(handler, test.act, test.body, test.change); got.Code != test.code {
			t.Errorf("%s: status %d, want %d: %s", name, got.Code, test.code, got.Body)
		}
		if state := r.engine.Snapshot().Listeners[0].Groups[0].Channels[0].State.String(); state != "untested" {
			t.Fatalf("%s: the channel is %s", name, state)
		}
	}
	for _, settings := range []Settings{write, {Token: testToken}} {
		request := httptest.NewRequest(http.MethodGet, "/api/v1/status", nil)
		request.Host = "127.0.0.1:8404"
		request.Header.Set("Authorization", "Bearer "+testToken)
		recorder := httptest.NewRecorder()
		newHandler(&Daemon{r.daemon}, new(history), settings).ServeHTTP(recorder, request)
		if want := fmt.Sprintf(`"http_write":%t`, settings.Write); !strings.Contains(recorder.Body.String(), want) {
			t.Errorf("status does not say %s", want)
		}
	}
}

// TestBodiesOfStrangersAreNotWaitedFor sends an act whose body never comes: who
// bears the token is waited for a second, nobody else.
func TestBodiesOfStrangersAreNotWaitedFor(t *testing.T) {
	r := newRig(t)
	one := r.echo()
	r.apply(listener("web", group(one)))
	s := NewServer(r.daemon, r.logger())
	t.Cleanup(s.Close)
	r.put(s, Settings{Address: "127.0.0.1:0", Token: testToken, Write: true})
	for token, want := range map[string]int{"wrong": 401, testToken: 400} {
		answer := speak(t, s, "POST /api/v1/disable HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 10\r\nAuthorization: Bearer "+token+"\r\n\r\n{")
		if answer.StatusCode != want || !answer.Close {
			t.Errorf("token %q: status %d, closed %t", token, answer.StatusCode, answer.Close)
		}
	}
	// A body that comes is read, over a connection as browsers have it.
	body := fmt.Sprintf(`{"listener": "web", "channel": %q}`, one.String())
	conn, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(s.URL(), "http://"), "/"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "POST /api/v1/disable HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\nAuthorization: Bearer %s\r\n\r\n", len(body), testToken)
	time.Sleep(50 * time.Millisecond) // the body comes in a segment of its own
	fmt.Fprint(conn, body)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || answer.StatusCode != 200 {
		t.Fatalf("%v, %v", answer, err)
	}
}
