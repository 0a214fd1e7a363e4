package engine_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"balance/engine"
)

// What somebody else wrote is kept and logged in characters that can be printed,
// and no more of it than is bounded.
func TestNotesArePrintable(t *testing.T) {
	r := newRig(t)
	hostile := "\x1b[2J\xff\n" + strings.Repeat("ä", 5000)
	by := engine.Actor{UID: 7, Name: "ann\a", Door: "page"}
	r.Note(engine.Act{By: by, What: "weight", Listener: "web", Channel: "h:80", Change: hostile})
	r.Note(engine.Act{By: by, What: "weight", Err: hostile, Request: hostile, Untold: 3})
	r.Record(engine.Event{What: "reload failed", Reason: hostile, By: by.String()})
	events := r.Events(engine.MaxEvents)
	if len(events) != 2 { // what failed is none
		t.Fatalf("%+v", events)
	}
	for _, e := range events {
		if !strings.HasPrefix(e.Reason, "?[2J??ää") || len(e.Reason) > 600 || e.By != "ann? (7), page" || e.Time.IsZero() || e.ID == 0 {
			t.Errorf("%+v", e)
		}
	}
	eventually(t, "both are logged", func() bool { return strings.Count(r.log.String(), "msg=operator") == 2 })
	log := r.log.String()
	if strings.ContainsAny(log, "\x1b\a") || !utf8.ValidString(log) || len(log) > 5000 || !strings.Contains(log, "untold=3") || !strings.Contains(log, `by="ann? (7), page" what=weight listener=web channel=h:80 change=`) {
		t.Errorf("%q", log)
	}
}
