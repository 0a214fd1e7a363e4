package web

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"balance/control"
	"balance/engine/spec"
)

// A change that waits to be confirmed, and a file that says something else, are in
// the status.
func TestStatusTellsOfUndoing(t *testing.T) {
	r := newRig(t)
	if text := r.get(r.handler(), "/api/v1/status").Body.String(); strings.Contains(text, `"confirm"`) || !strings.Contains(text, `"file_differs":false`) {
		t.Errorf("%s", text)
	}
	until := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r.daemon.FileDiffers = func() bool { return true }
	r.daemon.Unconfirmed = func() *control.Unconfirmed {
		return &control.Unconfirmed{Number: 7, Back: 5, By: "ann (7), control", Why: "apply x", Since: until.Add(-time.Minute), Until: until}
	}
	var got struct {
		Differs bool                 `json:"file_differs"`
		Confirm *control.Unconfirmed `json:"confirm"`
	}
	answer := r.get(r.handler(), "/api/v1/status").Body.Bytes()
	if err := json.Unmarshal(answer, &got); err != nil {
		t.Fatal(err)
	}
	if !got.Differs || got.Confirm == nil || got.Confirm.Number != 7 || got.Confirm.Back != 5 || !got.Confirm.Until.Equal(until) {
		t.Errorf("%s", answer)
	}
}

func TestConfigurations(t *testing.T) {
	r := newRig(t)
	if got := r.get(r.handler(), "/api/v1/configurations").Body.String(); got != "[]\n" {
		t.Errorf("without a history: %q", got)
	}
	r.daemon.History = func() []control.Configuration {
		return []control.Configuration{{Number: 6, Why: "start"}, {Number: 7, By: "file", Why: "reload", InForce: true}}
	}
	r.daemon.Compare = func(number int) (control.Comparison, error) {
		if number != 7 {
			return control.Comparison{}, errors.New("there is none")
		}
		return control.Comparison{Before: 6, Changed: spec.Changes{{Sign: spec.Added, Listener: "web"}}, Rollback: spec.Changes{}}, nil
	}
	var list []control.Configuration
	answer := r.get(r.handler(), "/api/v1/configurations")
	if err := json.Unmarshal(answer.Body.Bytes(), &list); err != nil || len(list) != 2 || !list[1].InForce || list[1].By != "file" {
		t.Errorf("%s, %v", answer.Body, err)
	}
	answer = r.get(r.handler(), "/api/v1/configurations/7")
	if text := answer.Body.String(); !strings.Contains(text, `"changed":[{"sign":"+","listener":"web"}],"rollback":[]`) {
		t.Errorf("%s", text)
	}
	for _, path := range []string{"8", "x", "-1", "7/x"} {
		if got := r.get(r.handler(), "/api/v1/configurations/"+path); got.Code != 404 {
			t.Errorf("%s: %d %s", path, got.Code, got.Body)
		}
	}
}
