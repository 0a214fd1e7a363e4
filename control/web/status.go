package web

import (
	"encoding/json"
	"net/http"

	"balance/control"
)

// What is answered is written in package control, whose commands answer it with
// -json too.
type (
	status         = control.StatusReport
	listenerStatus = control.ListenerReport
	eventList      = control.EventReport
	sessions       = control.SessionsReport
	session        = control.SessionReport
)

func (d *Daemon) serveStatus(w http.ResponseWriter, write bool) {
	report := d.Report()
	report.Write = write
	writeJSON(w, report)
}

// writeJSON answers with a value that can always be encoded. An error is that
// of the connection, which ends with it.
func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(value)
}
