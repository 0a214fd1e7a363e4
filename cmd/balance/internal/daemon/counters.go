package daemon

import "balance/control"

// openCounters opens the file that the counters are kept in, if there is to be
// one. If it cannot be had, the daemon runs without it: it says so once.
func (d *daemon) openCounters() {
	c := d.options.Document.Config
	name := c.Control.StatsFile
	if d.options.Mapped {
		name = control.CountersName(c)
	}
	if name == "" {
		return
	}
	file, err := control.OpenCounters(control.CountersPath(name), d.log)
	if err != nil {
		d.log.Warn("counters file", "error", err)
		return
	}
	d.counters = file
}

func (d *daemon) closeCounters() {
	if d.counters == nil {
		return
	}
	if err := d.counters.Close(); err != nil {
		d.log.Warn("counters file", "error", err)
	}
}
