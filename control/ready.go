package control

import (
	"fmt"
	"strings"

	"balance/engine"
)

// Readiness tells whether clients should be sent to the daemon, or to one of its
// listeners.
type Readiness struct {
	Problems []string // why not; none if it is ready
	Warnings []string // what somebody has to see to, while clients are served all the same
}

// Readiness returns that of the daemon, or of the listener that is named; false
// if there is none of this name.
//
// A file that cannot be applied is a warning: what was in force before serves,
// and one bad file must not take every daemon that reads it out of service.
func (d *Daemon) Readiness(listener string) (r Readiness, known bool) {
	snapshot := d.Engine.Snapshot()
	if d.Stopping() {
		r.Problems = append(r.Problems, "the daemon is shutting down")
	}
	if snapshot.Generation == 0 {
		r.Problems = append(r.Problems, "no configuration is in force yet")
	}
	known = listener == ""
	for _, l := range snapshot.Listeners {
		if listener != "" && l.Name != listener {
			continue
		}
		known = true
		if problem := obstacle(&l); problem != "" {
			r.Problems = append(r.Problems, fmt.Sprintf("listener %q %s", l.Name, problem))
		}
	}
	if d.LastReload != nil {
		if last := d.LastReload(); !last.OK() {
			r.Warnings = append(r.Warnings, fmt.Sprintf("the last reload failed: %s", strings.Join(last.Errors(), "; ")))
		}
	}
	return r, known
}

// obstacle tells why no client can be served by a listener; empty if one can.
func obstacle(l *engine.ListenerStatus) string {
	switch {
	case len(l.Addresses) == 0:
		return "listens on no address"
	case !l.Usable:
		return "has no usable channel"
	}
	return ""
}

// Lines are the words of it: "ready" or each problem, and each warning.
func (r Readiness) Lines() []string {
	lines := append([]string(nil), r.Problems...)
	if len(lines) == 0 {
		lines = []string{"ready"}
	}
	for _, warning := range r.Warnings {
		lines = append(lines, "warning: "+warning)
	}
	return lines
}

func (c *conversation) ready(args []string) Status {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	readiness, known := c.daemon.Readiness(name)
	if !known {
		return c.fail("%s", noListener(c.daemon.Engine.Snapshot().Listeners, name))
	}
	c.reply.add(readiness.Lines()...)
	if len(readiness.Problems) > 0 {
		return Failed
	}
	return OK
}
