package web

import (
	"fmt"
	"net/http"
	"strconv"

	"balance/control"
	"balance/engine"
)

func (d *Daemon) serveHealth(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, control.ReportHealth(d.Engine.Snapshot().Listeners))
}

// defaultEvents is how many events are listed without ?n=.
const defaultEvents = 100

func (d *Daemon) serveEvents(w http.ResponseWriter, r *http.Request) {
	n := defaultEvents
	if text := r.URL.Query().Get("n"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 || n > engine.MaxEvents {
			http.Error(w, fmt.Sprintf("n %.60q is not one of 1 to %d", text, engine.MaxEvents), http.StatusBadRequest)
			return
		}
	}
	writeJSON(w, eventList{Events: append([]engine.Event{}, d.Engine.Events(n)...)})
}
