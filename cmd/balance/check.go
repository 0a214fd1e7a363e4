package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"balance/cmd/balance/internal/daemon"
	"balance/cmd/balance/internal/exit"
	"balance/config"
	"balance/engine"
	"balance/engine/spec"
)

// check tells what a valid file declares, what it warns of (which names do not
// resolve at the moment, and who could ask), and what is better set. A token
// or a file of a check or of networks that cannot be read is a fault of the file.
func check(ctx context.Context, document config.Document, stdout, stderr io.Writer) int {
	c := document.Config
	if _, err := daemon.Token(ctx, c.Control); err != nil {
		return exit.Because(document.Locate(err), exit.Config, stderr)
	}
	if err := errors.Join(engine.LoadChecks(c, nil), engine.LoadLists(c)); err != nil {
		return exit.Because(document.Locate(err), exit.Config, stderr)
	}
	if warning := daemon.Exposure(ctx, c.Control); warning != "" {
		fmt.Fprintf(stderr, "balance: warning: %s\n", warning)
	}
	groups, channels := 0, 0
	for _, l := range c.Listeners {
		groups += len(l.Groups)
		for _, g := range l.Groups {
			channels += len(g.Channels)
		}
	}
	for _, err := range engine.CheckNames(ctx, nil, c) {
		fmt.Fprintf(stderr, "balance: warning: %v\n", err)
	}
	fmt.Fprintf(stdout, "%s: ok, %s, %s, %s\n", document.Name,
		count(len(c.Listeners), "listener"), count(groups, "group"), count(channels, "channel"))
	forgotten := 0
	for _, l := range c.Listeners {
		if l.IdleTimeout == 0 {
			forgotten++
		}
	}
	if forgotten > 0 {
		fmt.Fprintf(stdout, "note: idle_timeout is \"0s\" for %s: a session that its peers forget stays for ever; \"1h\", say, would end it\n", count(forgotten, "listener"))
	}
	return exit.OK
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// diff prints what changes from one file to another.
func diff(o *options, stdout, stderr io.Writer) int {
	var configs [2]*spec.Config
	code := exit.OK
	for i, path := range o.classic.Args {
		document, err := config.Load(path)
		if err != nil {
			code = exit.Because(err, exit.DiffFailure, stderr)
		}
		configs[i] = document.Config
	}
	if code != exit.OK {
		return code
	}
	changes := spec.Diff(configs[0], configs[1])
	if err := printChanges(stdout, changes, o.json); err != nil {
		return exit.Because(err, exit.DiffFailure, stderr)
	}
	if len(changes) > 0 {
		return exit.Differ
	}
	return exit.OK
}

// printChanges prints one line a change, or one JSON array.
func printChanges(w io.Writer, changes spec.Changes, asJSON bool) error {
	if !asJSON {
		_, err := io.WriteString(w, changes.String())
		return err
	}
	if changes == nil {
		changes = spec.Changes{}
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(changes)
}
