package main

import (
	"fmt"
	"io"
	"net/url"
	"slices"
	"time"

	"balance/config"
	"balance/control"
	"balance/engine/spec"
)

// countersName returns the stats_file of a configuration, or "" for memory. With
// -M a daemon takes a file that is named after its first listener.
func (o *options) countersName(c *spec.Config) string {
	if c.Control.StatsFile == "" && o.mapped {
		return url.PathEscape(c.Listeners[0].Listen[0])
	}
	return c.Control.StatsFile
}

// countersPath returns where the counters of a configuration are kept, or "".
func (o *options) countersPath(c *spec.Config) string {
	if name := o.countersName(c); name != "" {
		return control.CountersPath(name)
	}
	return ""
}

// openCounters opens the file that the counters are kept in, if there is to be
// one. If it cannot be had, the daemon runs without it: it says so once.
func (d *daemon) openCounters(c *spec.Config) {
	path := d.options.countersPath(c)
	if path == "" {
		return
	}
	file, err := control.OpenCounters(path, d.log)
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

// savedListener is a listener in a counters file.
type savedListener struct {
	*control.Saved
	name string
}

// readSaved is -M with -c: it answers the commands from the counters file if
// they need no more than that. handled is false if there is no such file, if a
// command is about something else, or if no daemon writes to the file any more
// and there is one that can be asked.
func readSaved(o *options, wanted *address, stdout, stderr io.Writer) (code int, handled bool) {
	chosen := chooseSaved(savedFiles(o, stderr), wanted)
	if len(chosen) != 1 {
		return 0, false
	}
	file := chosen[0]
	type answer struct {
		lines  []string
		status control.Status
	}
	var answers []answer
	for _, command := range control.Split(o.command) {
		if command == "" {
			continue
		}
		lines, status, ok := file.Answer(file.name, command)
		if !ok {
			return 0, false
		}
		answers = append(answers, answer{lines, status})
	}
	if file.Stale() {
		if canBeAsked(o, wanted) {
			return 0, false
		}
		fmt.Fprintf(stderr, "balance: no daemon answers; %q was last written to %s ago\n", file.Path, time.Since(file.Updated).Round(time.Second))
	}
	for _, a := range answers {
		for _, line := range a.lines {
			fmt.Fprintln(stdout, line)
		}
		code = max(code, exitOf(a.status))
	}
	return code, true
}

// savedFiles reads the counters file of the configuration, or all.
func savedFiles(o *options, stderr io.Writer) []*control.Saved {
	var files []*control.Saved
	var errs []error
	if o.config == "" {
		files, errs = control.SearchCounters()
	} else if c, err := config.Load(o.config); err == nil {
		file, err := control.ReadCounters(o.countersPath(c))
		if err != nil {
			errs = append(errs, err)
		} else {
			files = append(files, file)
		}
	}
	for _, err := range errs {
		fmt.Fprintf(stderr, "balance: %v\n", err)
	}
	return files
}

// chooseSaved returns the listeners that take clients for the address, or
// without one the first of each file: of the files that are written to, or else
// of the one that was written to last.
func chooseSaved(files []*control.Saved, wanted *address) (list []savedListener) {
	for _, f := range files {
		if wanted != nil {
			for _, name := range wanted.match(f.Identity) {
				list = append(list, savedListener{f, name})
			}
		} else if len(f.Identity.Listeners) > 0 {
			list = append(list, savedListener{f, f.Identity.Listeners[0].Name})
		}
	}
	var last *control.Saved
	for _, l := range list {
		if last == nil || l.Updated.After(last.Updated) {
			last = l.Saved
		}
	}
	return slices.DeleteFunc(list, func(l savedListener) bool { return l.Saved != last && l.Stale() })
}

// canBeAsked reports whether there is a daemon that the options may mean.
func canBeAsked(o *options, wanted *address) bool {
	found := control.Search()
	for _, client := range found.Clients {
		defer client.Close()
	}
	return len(choose(found.Clients, o.config, wanted)) > 0
}
