package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"balance/engine"
	"balance/engine/balancer"
)

// counted is a snapshot of one listener with a channel for each name.
func counted(active int, sessions map[string]uint64) engine.Snapshot {
	var g engine.GroupStatus
	for name, n := range sessions {
		g.Channels = append(g.Channels, engine.ChannelStatus{
			Key: balancer.Key{Host: name, Port: 1}, Sessions: n, Sent: 10 * n, Received: 100 * n,
		})
	}
	return engine.Snapshot{Listeners: []engine.ListenerStatus{{Name: "x", Active: active, Groups: []engine.GroupStatus{g}}}}
}

func TestHistory(t *testing.T) {
	var h history
	start := time.UnixMilli(1_700_000_000_000)
	steps := []struct {
		after    time.Duration
		sessions map[string]uint64
		want     uint64 // connections a second
	}{
		{0, map[string]uint64{"a": 1000, "b": 5}, 0},
		{time.Second, map[string]uint64{"a": 1010, "b": 7}, 12},
		{3 * time.Second, map[string]uint64{"a": 1030, "b": 7}, 10},                // in two seconds
		{4 * time.Second, map[string]uint64{"a": 1030, "b": 8, "c": 1_000_000}, 1}, // a new channel with a past
		{5 * time.Second, map[string]uint64{"a": 2, "b": 9, "c": 1_000_004}, 5},    // a was reset
		{6 * time.Second, map[string]uint64{"a": 5}, 3},                            // the others were removed
	}
	for i, step := range steps {
		h.add(counted(i, step.sessions), start.Add(step.after))
		if i == 0 {
			if len(h.samples) != 0 {
				t.Fatal("a sample before anything could move")
			}
			continue
		}
		want := sample{Time: start.Add(step.after).UnixMilli(), Active: i, Connections: step.want, Sent: 10 * step.want, Received: 100 * step.want}
		if got := h.samples[len(h.samples)-1]; got != want {
			t.Errorf("step %d: got %+v, want %+v", i, got, want)
		}
	}
}

func TestHistoryIsBounded(t *testing.T) {
	var h history
	start := time.UnixMilli(1_700_000_000_000)
	for i := range 3 * maxSamples {
		h.add(counted(i, nil), start.Add(time.Duration(i)*time.Second))
	}
	if len(h.samples) != maxSamples || cap(h.samples) > 2*maxSamples || h.samples[0].Active != 2*maxSamples || h.samples[maxSamples-1].Active != 3*maxSamples-1 {
		t.Errorf("%d samples from %d to %d", len(h.samples), h.samples[0].Active, h.samples[len(h.samples)-1].Active)
	}
	ask := func(parameters string) (int, []sample) {
		recorder := httptest.NewRecorder()
		h.serve(recorder, httptest.NewRequest(http.MethodGet, "/"+parameters, nil))
		var answer struct{ Samples []sample }
		json.Unmarshal(recorder.Body.Bytes(), &answer)
		return recorder.Code, answer.Samples
	}
	if _, got := ask(""); len(got) != maxSamples {
		t.Errorf("%d samples", len(got))
	}
	last := h.samples[maxSamples-3].Time
	if _, got := ask(fmt.Sprintf("?after=%d", last)); len(got) != 2 || got[0].Time <= last {
		t.Errorf("after %d: %v", last, got)
	}
	if code, _ := ask("?after=now"); code != 400 {
		t.Errorf("status %d", code)
	}
}
