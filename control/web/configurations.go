package web

import (
	"net/http"
	"strconv"

	"balance/control"
)

// serveConfigurations answers the last configurations that were in force, the
// oldest first.
func (d *Daemon) serveConfigurations(w http.ResponseWriter, _ *http.Request) {
	list := []control.Configuration{}
	if d.History != nil {
		list = append(list, d.History()...)
	}
	writeJSON(w, list)
}

// serveConfiguration answers how one of them compares with the one before it, and
// with what is in force.
func (d *Daemon) serveConfiguration(w http.ResponseWriter, r *http.Request) {
	number, err := strconv.Atoi(r.PathValue("number"))
	if err != nil || number < 1 || d.Compare == nil {
		http.Error(w, "there is no such configuration", http.StatusNotFound)
		return
	}
	found, err := d.Compare(number)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	writeJSON(w, found)
}
