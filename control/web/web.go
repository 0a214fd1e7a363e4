// Package web shows a running daemon over HTTP: metrics for Prometheus, health
// and readiness, its state as JSON, and a status page for people.
//
//	/                 the status page
//	/metrics          Prometheus
//	/healthz          200 while the process answers
//	/readyz           200, or 503 and a line for each reason
//	/api/v1/status    listeners, groups, channels, the last reload
//	/api/v1/sessions  ?listener= ?channel= ?client= ?limit= ?after=
//	/api/v1/config    the configuration in force, shaped as its file
//	/api/v1/history   totals of the last minutes, one sample a second
//	/debug/pprof/     if it is allowed
//
// With a token only the page without its data, /healthz and /readyz answer those
// who do not bear it.
//
// Nothing can be changed here. Reading takes no lock that a session needs:
// counters are atomics, read when they are asked for.
package web

import (
	"strings"
	"time"

	"balance/engine"
)

// Daemon is what is shown.
type Daemon struct {
	Engine  *engine.Engine
	Version string
	Started time.Time
	File    string // path of the configuration file; empty without one
	// LastReload tells what came of the last reload; nil without a file.
	LastReload func() Reload
	// Stopping reports whether the daemon is on its way to its end.
	Stopping func() bool
	// MessagesLost returns how many log messages nobody took, since the
	// start.
	MessagesLost func() uint64
}

// Reload is what came of a reload; the zero value if there was none yet.
type Reload struct {
	Time time.Time
	Err  error  // nil if it succeeded; prints one error a line
	Hash string // SHA-256 of the file, in hexadecimal; empty if it could not be read
}

// errors returns the lines of the error.
func (r Reload) errors() []string {
	if r.Err == nil {
		return []string{}
	}
	return strings.Split(strings.TrimSpace(r.Err.Error()), "\n")
}

// lastReload returns what is to be said of the last reload. The start counts
// as one, since a daemon with a bad configuration does not start.
func (d *Daemon) lastReload() Reload {
	if d.LastReload != nil {
		if last := d.LastReload(); !last.Time.IsZero() {
			return last
		}
	}
	return Reload{Time: d.Started}
}
