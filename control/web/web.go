// Package web shows a running daemon over HTTP: metrics for Prometheus, health
// and readiness, its state as JSON, and a status page for people.
//
//	/                 the status page
//	/metrics          Prometheus
//	/healthz          200 while the process answers
//	/readyz           200, or 503 and a line for each reason; warnings too
//	/readyz/NAME      the same of one listener; 404 if there is none
//	/api/v1/status    listeners, groups, channels, the last reload
//	/api/v1/health    how it stands with each channel, since when and why, and its check
//	/api/v1/events    the last changes of channels; ?n=
//	/api/v1/sessions  ?listener= ?channel= ?client= ?limit= ?after=
//	/api/v1/config    the configuration in force, shaped as its file
//	/api/v1/configurations         the last that were in force
//	/api/v1/configurations/NUMBER  how one compares with the one before, and with now
//	/api/v1/history   totals of the last minutes, one sample a second; ?listener= and
//	                  ?channel= ask for one of them, one in ten seconds
//	/api/v1/curves    the sessions of each listener in the last minutes
//	/api/v1/ACT       POST, if that is allowed: drain, enable, disable, close,
//	                  rollback, confirm
//	/debug/pprof/     if it is allowed
//
// With a token only the page without its data, /healthz and /readyz answer
// those who do not bear it.
//
// Nothing can be changed here unless Settings.Write allows it. Reading takes no lock that a session needs:
// counters are atomics, read when they are asked for.
package web

import "balance/control"

// Daemon answers what is asked about the daemon that is shown.
type Daemon struct{ control.Daemon }

// lastReload returns what is to be said of the last reload. The start counts
// as one, since a daemon with a bad configuration does not start.
func (d *Daemon) lastReload() control.Reload {
	if d.LastReload != nil {
		if last := d.LastReload(); !last.Time.IsZero() {
			return last
		}
	}
	return control.Reload{Time: d.Started}
}
