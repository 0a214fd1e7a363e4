package web

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"balance/engine"
	"balance/engine/balancer"
)

// TestCurves plays a quarter of an hour of two channels, one of which comes
// later and goes.
func TestCurves(t *testing.T) {
	var h history
	start := time.UnixMilli(1_700_000_000_000)
	keys := []balancer.Key{{Host: "a", Port: 1}, {Host: "b", Port: 2}}
	for second := range 900 {
		channels := []engine.ChannelStatus{{Key: keys[0], Active: second / 10, Sessions: uint64(3 * second), Sent: uint64(10 * second), Received: uint64(20 * second)}}
		if second >= 850 && second < 880 {
			channels = append(channels, engine.ChannelStatus{Key: keys[1], Active: 1})
		}
		h.add(engine.Snapshot{Listeners: []engine.ListenerStatus{{Name: "x", Active: second, Accepted: uint64(4 * second), Groups: []engine.GroupStatus{{Channels: channels}}}}},
			start.Add(time.Duration(second)*time.Second))
	}
	if n := len(h.curves); n != 2 {
		t.Errorf("%d curves, with that of a channel that is gone", n)
	}
	ask := func(values url.Values) (int, []sample) {
		recorder := httptest.NewRecorder()
		h.serve(recorder, httptest.NewRequest(http.MethodGet, "/?"+values.Encode(), nil))
		var answer struct{ Samples []sample }
		json.Unmarshal(recorder.Body.Bytes(), &answer)
		return recorder.Code, answer.Samples
	}
	_, got := ask(url.Values{"listener": {"x"}, "channel": {"a:1"}})
	last := sample{Time: start.Add(890 * time.Second).UnixMilli(), Active: 89, Connections: 3, Sent: 10, Received: 20}
	if len(got) != maxPoints || got[maxPoints-1] != last || got[0].Time != start.Add(300*time.Second).UnixMilli() {
		t.Errorf("%d points from %+v to %+v", len(got), got[0], got[len(got)-1])
	}
	last.Active, last.Connections = 890, 4
	if _, got := ask(url.Values{"listener": {"x"}}); len(got) != maxPoints || got[maxPoints-1] != last {
		t.Errorf("%d points of the listener to %+v", len(got), got[len(got)-1])
	}
	if _, got := ask(url.Values{"listener": {"x"}, "after": {"1700000870000"}}); len(got) != 2 {
		t.Errorf("%d points are younger", len(got))
	}
	for _, values := range []url.Values{{"listener": {"y"}}, {"listener": {"x"}, "channel": {"b:2"}}, {"channel": {"a:1"}}} {
		if code, _ := ask(values); code != 404 {
			t.Errorf("%v: status %d", values, code)
		}
	}
	recorder := httptest.NewRecorder()
	h.serveCurves(recorder, httptest.NewRequest(http.MethodGet, "/", nil))
	var answer curves
	if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil || answer.Every != 10 || len(answer.Listeners) != 1 ||
		len(answer.Listeners[0].Active) != maxPoints || answer.Listeners[0].Active[maxPoints-1] != 890 {
		t.Errorf("%v %+v", err, answer)
	}
}
