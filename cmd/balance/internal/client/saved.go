package client

import (
	"fmt"
	"io"
	"slices"
	"time"

	"balance/config"
	"balance/control"
)

// savedListener is a listener in a counters file.
type savedListener struct {
	*control.Saved
	name string
}

// readSaved is -M with -c: it answers the commands from the counters file if
// they need no more than that. handled is false if there is no such file, if a
// command is about something else, or if no daemon writes to the file any more
// and there is one that can be asked.
func readSaved(o Options, stdout, stderr io.Writer) (code int, handled bool) {
	chosen := chooseSaved(savedFiles(o, stderr), o.Address)
	if len(chosen) != 1 {
		return 0, false
	}
	file := chosen[0]
	type answer struct {
		lines  []string
		status control.Status
	}
	var answers []answer
	for _, command := range control.Split(o.Command) {
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
		if canBeAsked(o) {
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
func savedFiles(o Options, stderr io.Writer) []*control.Saved {
	var files []*control.Saved
	var errs []error
	if o.File == "" {
		files, errs = control.SearchCounters()
	} else if document, err := config.Load(o.File); err == nil {
		file, err := control.ReadCounters(control.CountersPath(control.CountersName(document.Config)))
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
func chooseSaved(files []*control.Saved, wanted *Address) (list []savedListener) {
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
func canBeAsked(o Options) bool {
	found := control.Search()
	for _, client := range found.Clients {
		defer client.Close()
	}
	return len(choose(found.Clients, o.File, o.Address)) > 0
}
