package engine

import (
	"log/slog"
	"testing"

	"balance/engine/spec"
)

// The limit follows each configuration.
func TestMaxBufferedIsApplied(t *testing.T) {
	e, err := New(Options{Log: slog.New(slog.DiscardHandler), DataPlane: spec.Portable})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Shutdown(t.Context())
	for _, limit := range []spec.Size{256 << 20, spec.MinBuffered, 0, 3 << 20} {
		l := spec.Defaults()
		l.Name, l.Listen = "x", []string{"127.0.0.1:0"}
		l.Groups = []spec.Group{{Channels: []spec.Channel{{Host: "127.0.0.1", Port: 1}}}}
		c := spec.DefaultConfig()
		c.DataPlane = spec.Portable
		c.Listeners = []spec.Listener{l}
		c.Process.MaxBuffered = limit
		if _, err := e.Apply(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		e.budget.Keep(int64(limit) + 1)
		if excess := e.budget.Excess(); (excess == 1) != (limit > 0) {
			t.Errorf("one byte more than %s is an excess of %d", limit, excess)
		}
		if buffered := e.Snapshot().Buffered; buffered != int64(limit)+1 {
			t.Errorf("the snapshot says that %d bytes are kept", buffered)
		}
		e.budget.Keep(-int64(limit) - 1)
	}
}
