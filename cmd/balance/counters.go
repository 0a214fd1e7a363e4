package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"

	"balance/config"
	"balance/control"
	"balance/engine"
	"balance/engine/balancer"
)

// countersPath returns where the counters of a configuration are kept, or ""
// for memory. With -M a daemon takes a file that is named after its first
// listener.
func (o *options) countersPath(c *engine.Config) string {
	switch {
	case c.Control.StatsFile != "":
		return control.CountersPath(c.Control.StatsFile)
	case o.mapped:
		return control.CountersPath(url.PathEscape(c.Listeners[0].Listen[0]))
	}
	return ""
}

// openCounters reports whether the counters are kept in a file. If that cannot
// be had, the daemon runs without it: it says so once.
func (d *daemon) openCounters(c *engine.Config) bool {
	path := d.options.countersPath(c)
	if path == "" {
		return false
	}
	warn := func(err error) { d.log.Warn("counters file", "error", err) }
	counters, err := control.OpenCounters(path, warn)
	if err != nil {
		warn(err)
		return false
	}
	d.counters = counters
	return true
}

func (d *daemon) claimCounters(listener string, key balancer.Key) *balancer.Counters {
	counters, err := d.counters.Claim(listener, key)
	if err != nil {
		d.log.Warn("a channel counts in memory", "channel", key, "error", err)
	}
	return counters
}

// readSaved is -M with -c: it answers the commands from the counters file if
// they need no more than that. handled is false if there is no such file, or
// if a command is about something else.
func readSaved(o *options, wanted *address, stdout, stderr io.Writer) (code int, handled bool) {
	var saved []*control.Saved
	if o.config != "" {
		c, err := config.Load(o.config)
		if err != nil {
			return 0, false
		}
		one, err := control.ReadCounters(o.countersPath(c))
		if err != nil {
			fmt.Fprintf(stderr, "balance: %v\n", err)
			return 0, false
		}
		saved = append(saved, one)
	} else {
		var errs []error
		saved, errs = control.SearchCounters()
		for _, err := range errs {
			fmt.Fprintf(stderr, "balance: %v\n", err)
		}
	}
	file, listener, err := chooseSaved(saved, wanted)
	if err != nil {
		if o.classic.Debug {
			fmt.Fprintf(stderr, "balance: %v\n", err)
		}
		return 0, false
	}
	type answer struct {
		lines  []string
		status control.Status
	}
	var answers []answer
	for _, command := range control.Split(o.command) {
		if command == "" {
			continue
		}
		lines, status, ok := file.Answer(listener, command)
		if !ok {
			return 0, false
		}
		answers = append(answers, answer{lines, status})
	}
	for _, a := range answers {
		for _, line := range a.lines {
			fmt.Fprintln(stdout, line)
		}
		code = max(code, exitOf(a.status))
	}
	return code, true
}

// chooseSaved returns the file that was written to last of those that fit the
// address, and the first listener in it that does.
func chooseSaved(files []*control.Saved, wanted *address) (file *control.Saved, listener string, err error) {
	for _, f := range files {
		var names []string
		if wanted != nil {
			names = wanted.match(f.Identity)
		} else if len(f.Identity.Listeners) > 0 {
			names = []string{f.Identity.Listeners[0].Name}
		}
		if len(names) > 0 && (file == nil || f.Updated.After(file.Updated)) {
			file, listener = f, names[0]
		}
	}
	if file == nil {
		return nil, "", errors.New("no counters file fits")
	}
	return file, listener, nil
}
