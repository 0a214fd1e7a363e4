package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"

	"balance/config"
	"balance/control"
	"balance/engine/spec"
)

// openControl opens the control socket. Without it, or with one that only its
// owners may use, the daemon runs all the same: it says so once.
func (d *daemon) openControl(settings spec.Control, stderr io.Writer) {
	warn := func(what string, err error) {
		d.log.Warn(what, "error", err)
		if isBackgroundChild() {
			fmt.Fprintf(stderr, "balance: warning: %s: %v\n", what, err)
		}
	}
	server, err := control.Listen(control.Directory(), d.controls(), d.log)
	if err != nil {
		warn("there is no control socket", err)
		return
	}
	d.control = server
	access, err := accessOf(settings)
	if err == nil {
		err = server.SetAccess(access)
	}
	if err != nil {
		warn("the control socket is for its owner and root alone", err)
	}
}

// accessOf returns who may use the control socket.
func accessOf(settings spec.Control) (control.Access, error) {
	group, err := control.LookupGroup(settings.Group)
	if err != nil {
		return control.Access{}, fault("control.group", err)
	}
	readers, err := control.LookupGroup(settings.ReadGroup)
	if err != nil {
		return control.Access{}, fault("control.read_group", err)
	}
	access, err := control.NewAccess(fs.FileMode(settings.Mode), group, readers)
	if err != nil {
		return control.Access{}, fault("control.read_group", err)
	}
	return access, nil
}

// fault says what of the file an error is about.
func fault(path string, err error) error {
	return spec.Fault{Path: path, Problem: err.Error(), Cause: err}
}

func (d *daemon) checkControl(settings spec.Control) error {
	if _, err := d.prepareControl(settings); err != nil {
		return err
	}
	_, err := tokenOf(d.life, settings)
	return err
}

// prepareControl checks what the control socket needs of a new configuration.
// The function that it returns puts that in force.
func (d *daemon) prepareControl(settings spec.Control) (commit func(), err error) {
	if now := d.engine.Config().Control.StatsFile; settings.StatsFile != now {
		return nil, fault("control.stats_file", fmt.Errorf("control: stats_file changes from %q to %q: that needs a restart", now, settings.StatsFile))
	}
	access, err := accessOf(settings)
	if err != nil {
		return nil, err
	}
	return func() {
		if d.control == nil {
			return
		}
		if err := d.control.SetAccess(access); err != nil {
			d.log.Error("cannot change who may use the control socket", "error", err)
		}
	}, nil
}

// tellHolders names the daemons that listen on addresses of the configuration.
func tellHolders(c *spec.Config, stderr io.Writer) {
	found := control.Search()
	for _, client := range found.Clients {
		defer client.Close()
		for _, l := range c.Listeners {
			for _, listen := range l.Listen {
				host, port, err := spec.SplitListen(listen)
				if err != nil {
					continue
				}
				for _, name := range client.Identity.Match(host, int(port)) {
					fmt.Fprintf(stderr, "balance: %s is taken by listener %q of balance, process %d\n", listen, name, client.Identity.PID)
				}
			}
		}
	}
}

// controls is what control clients can do to the daemon.
func (d *daemon) controls() control.Daemon {
	c := control.Daemon{
		Engine:  d.engine,
		Version: version(),
		Started: d.started,
		File:    d.options.config,
		Marshal: config.Marshal,
		Stop:    d.stop,

		MessagesLost: d.logging.lost,
	}
	if d.reloader != nil {
		c.Reload = func() (spec.Changes, error) {
			changes, err := d.reloader.reload(d.life)
			return changes, oneALine(err)
		}
		c.Preview = func() (spec.Changes, error) {
			changes, err := d.reloader.preview(d.life)
			return changes, oneALine(err)
		}
		c.LastReload = func() control.Reload {
			last := d.reloader.status()
			return control.Reload{Time: last.Time, Err: oneALine(last.Err), Hash: last.Hash}
		}
	}
	return c
}

// oneALine makes an error print one of those that were joined in it a line.
func oneALine(err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(flatten(err)...)
}

// address is what a client looks for a daemon by.
type address struct {
	host string // empty for every address
	port int
}

// drive is -i and -c: it talks to a running daemon.
func drive(o *options, stdin io.Reader, stdout, stderr io.Writer) int {
	var wanted *address
	if len(o.classic.Args) > 0 {
		port, err := spec.ParsePort(o.classic.Args[0], 0)
		if err != nil {
			fmt.Fprintf(stderr, "balance: %v\n", err)
			return exitUsage
		}
		host := strings.TrimSuffix(strings.TrimPrefix(o.classic.Bind, "["), "]")
		wanted = &address{host: host, port: int(port)}
	}
	if o.mapped && !o.interactive {
		if code, handled := readSaved(o, wanted, stdout, stderr); handled {
			return code
		}
	}
	client, code := findDaemon(o, wanted, stdout, stderr)
	if client == nil {
		return code
	}
	defer client.Close()
	if o.interactive {
		return shell(client, stdin, stdout, stderr)
	}
	commands := newDialogue(client, stdin, stdout, stderr)
	commands.do(o.command)
	return commands.code
}

// diffRunning prints what a reload of the file would change in the daemon that
// runs it.
func diffRunning(o *options, stdout, stderr io.Writer) int {
	client, _ := findDaemon(o, nil, stderr, stderr)
	if client == nil {
		return exitDiffFailure
	}
	defer client.Close()
	request := "diff"
	if o.json {
		request = "diff json"
	}
	lines, status, err := client.Ask(request)
	text := []byte(strings.Join(append(lines, ""), "\n"))
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "balance: ask process %d: %v\n", client.Identity.PID, err)
		return exitDiffFailure
	case status != control.OK && status != control.Differs:
		for _, line := range lines {
			fmt.Fprintf(stderr, "balance: %s\n", line)
		}
		return exitDiffFailure
	case o.json:
		var indented bytes.Buffer
		if err := json.Indent(&indented, text, "", "  "); err != nil {
			fmt.Fprintf(stderr, "balance: read the changes: %v\n", err)
			return exitDiffFailure
		}
		text = indented.Bytes()
	}
	stdout.Write(text)
	return exitOf(status)
}

// candidate is a daemon that may be the one that is looked for, and the
// listener of it that the commands are to be about.
type candidate struct {
	*control.Client
	listener string
}

// findDaemon connects to the daemon that the options mean and aims at the
// listener. Without one it says why, and returns the exit code.
func findDaemon(o *options, wanted *address, stdout, stderr io.Writer) (*control.Client, int) {
	found := control.Search()
	chosen := choose(found.Clients, o.config, wanted)
	for _, client := range found.Clients {
		if len(chosen) != 1 || client != chosen[0].Client {
			defer client.Close()
		}
	}
	for _, err := range found.Errs {
		if o.classic.Debug || len(chosen) == 0 {
			fmt.Fprintf(stderr, "balance: %v\n", err)
		}
	}
	what := looksFor(o, wanted)
	switch {
	case len(chosen) == 0 && len(found.Errs) > 0:
		fmt.Fprintf(stdout, "balance: no master process%s: not all could be asked\n", what)
		if len(found.Clients) == 0 {
			return nil, exitNoRendezvous
		}
		return nil, exitNoMaster
	case len(chosen) == 0:
		fmt.Fprintf(stdout, "balance: no master process%s\n", what)
		return nil, exitNoMaster
	case len(chosen) > 1:
		fmt.Fprintf(stdout, "balance: more than one master process or listener%s:\n", what)
		for _, c := range chosen {
			printCandidate(stdout, c)
		}
		return nil, exitUsage
	}
	client := chosen[0].Client
	if o.classic.Debug {
		fmt.Fprintf(stderr, "balance: process %d, listener %q\n", client.Identity.PID, chosen[0].listener)
	}
	if chosen[0].listener != "" {
		lines, status, err := client.Ask(fmt.Sprintf("listener %q", chosen[0].listener))
		if err == nil && status != control.OK {
			err = errors.New(strings.Join(lines, " "))
		}
		if err != nil {
			fmt.Fprintf(stderr, "balance: listener %q: %v\n", chosen[0].listener, err)
			client.Close()
			return nil, exitNoMaster
		}
	}
	return client, exitOK
}

// choose returns the daemons, or the listeners that take clients for the
// address: all, or those of the file.
func choose(clients []*control.Client, file string, wanted *address) []candidate {
	var list []candidate
	for _, client := range clients {
		switch {
		case file != "" && !sameFile(file, client.Identity.File):
		case wanted == nil:
			list = append(list, candidate{Client: client})
		default:
			for _, name := range wanted.match(client.Identity) {
				list = append(list, candidate{client, name})
			}
		}
	}
	slices.SortFunc(list, func(a, b candidate) int { return cmp.Compare(a.Identity.PID, b.Identity.PID) })
	return list
}

// match returns the listeners that take clients for the address, or for one of
// those that its name stands for.
func (a *address) match(identity control.Identity) []string {
	for _, host := range a.hosts() {
		if names := identity.Match(host, a.port); len(names) > 0 {
			return names
		}
	}
	return nil
}

// hosts returns the host as it was given, and the addresses that it stands
// for.
func (a *address) hosts() []string {
	hosts := []string{a.host}
	if a.host != "" && net.ParseIP(a.host) == nil {
		if addrs, err := net.LookupHost(a.host); err == nil {
			hosts = append(hosts, addrs...)
		}
	}
	return hosts
}

func sameFile(a, b string) bool {
	if a == b {
		return true
	}
	first, err1 := os.Stat(a)
	second, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(first, second)
}

// looksFor says what the daemons that the options may mean do.
func looksFor(o *options, wanted *address) string {
	does := ""
	if o.config != "" {
		does = fmt.Sprintf(" runs %s", o.configAsGiven)
	}
	if wanted == nil {
		return does
	}
	if does != "" {
		does += " and"
	}
	if wanted.host != "" {
		return does + fmt.Sprintf(" listens on %s", net.JoinHostPort(wanted.host, fmt.Sprint(wanted.port)))
	}
	return does + fmt.Sprintf(" listens on port %d", wanted.port)
}

func printCandidate(stdout io.Writer, c candidate) {
	var listeners []string
	for _, l := range c.Identity.Listeners {
		if c.listener == "" || c.listener == l.Name {
			listeners = append(listeners, fmt.Sprintf("%s (%s)", l.Name, strings.Join(l.Addresses, " ")))
		}
	}
	fmt.Fprintf(stdout, "  process %d: %s\n", c.Identity.PID, strings.Join(listeners, ", "))
}
