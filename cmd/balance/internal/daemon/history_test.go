package daemon

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"balance/config/history"
	"balance/engine"
	"balance/engine/spec"
)

// What a command changes at the very moment when something else comes into force
// is an entry of its own, and nobody else's.
func TestEditWhileApplied(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	e, err := engine.New(engine.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Shutdown(t.Context()) })
	r := &reloader{engine: e, log: log, life: t.Context(), logging: newLogging(io.Discard)}
	r.history.Store(history.New(log))
	document := func(port int) string {
		return fmt.Sprintf("[[listener]]\nname = \"web\"\nlisten = \"127.0.0.1:0\"\ngroup = [{ channels = [{ host = \"127.0.0.1\", port = %d }] }]\n", port)
	}
	first, err := r.decode("first", []byte(document(1)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Apply(t.Context(), first.Config); err != nil {
		t.Fatal(err)
	}
	r.begin(first, false)
	r.prepare = func(spec.Control) (func(bool), error) {
		return func(bool) {
			ch := e.Snapshot().Listeners[0].Groups[0].Channels[0]
			_, err := e.EditChannel(t.Context(), "web", ch.Key, func(c *spec.Channel) error { c.MaxConns = 7; return nil })
			if err != nil {
				t.Error(err)
			}
			r.edited(engine.Actor{UID: 7, Door: "control"}, "maxc")
		}, nil
	}
	if _, err := r.applyText(itself, "second", []byte(document(2)), time.Hour); err != nil {
		t.Fatal(err)
	}
	r.settle()
	r.prepare = func(spec.Control) (func(bool), error) { return func(bool) {}, nil }
	if _, err := r.applyText(itself, "third", []byte(document(3)), 0); err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, entry := range r.entries() {
		told = append(told, entry.Why)
	}
	if got, want := strings.Join(told, "; "), "start; apply second; edit of maxc; apply third"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if text := string(r.entries()[2].Data); !strings.Contains(text, ":2:7") {
		t.Errorf("after the edit: %s", text)
	}
}
