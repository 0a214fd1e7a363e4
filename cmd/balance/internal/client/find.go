package client

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"balance/cmd/balance/internal/exit"
	"balance/control"
)

// candidate is a daemon that may be the one that is looked for, and the
// listener of it that the commands are to be about.
type candidate struct {
	*control.Client
	listener string
}

// findDaemon connects to the daemon that the options mean and aims at the
// listener. Without one it says why, and returns the exit code.
func findDaemon(o Options, stdout, stderr io.Writer) (*control.Client, int) {
	found := control.Search()
	chosen := choose(found.Clients, o.File, o.Address)
	var others control.Found
	if len(chosen) == 0 { // those of this user go before, so that nobody can get in their way
		others = control.SearchOthers()
		chosen = choose(others.Clients, o.File, o.Address)
		for _, client := range others.Clients {
			if len(chosen) != 1 || client != chosen[0].Client {
				defer client.Close()
			}
		}
	}
	for _, client := range found.Clients {
		if len(chosen) != 1 || client != chosen[0].Client {
			defer client.Close()
		}
	}
	for _, err := range found.Errs {
		if o.Debug || len(chosen) == 0 {
			fmt.Fprintf(stderr, "balance: %v\n", err)
		}
	}
	for _, err := range others.Errs {
		if o.Debug {
			fmt.Fprintf(stderr, "balance: %v\n", err)
		}
	}
	if n := len(others.Errs); n > 0 && len(chosen) == 0 && !o.Debug {
		fmt.Fprintf(stderr, "balance: of the sockets of other users %d could not be asked; -d tells why\n", n)
	}
	what := looksFor(o)
	switch {
	case len(chosen) == 0 && len(found.Errs) > 0:
		fmt.Fprintf(stdout, "balance: no master process%s: not all could be asked\n", what)
		if len(found.Clients) == 0 {
			return nil, exit.NoRendezvous
		}
		return nil, exit.NoMaster
	case len(chosen) == 0:
		fmt.Fprintf(stdout, "balance: no master process%s\n", what)
		return nil, exit.NoMaster
	case len(chosen) > 1:
		fmt.Fprintf(stdout, "balance: more than one master process or listener%s:\n", what)
		for _, c := range chosen {
			printCandidate(stdout, c)
		}
		fmt.Fprintln(stdout, "Name one by its port, with -b by its address, or with -config by its file.")
		return nil, exit.Usage
	}
	client := chosen[0].Client
	if len(others.Clients) > 0 {
		fmt.Fprintf(stderr, "balance: process %d belongs to %s\n", client.Identity.PID, userOf(client))
		if o.File == "" && o.Address == nil && slices.ContainsFunc(control.Split(o.Command), control.Changes) {
			printCandidate(stdout, chosen[0])
			fmt.Fprintln(stdout, "balance: to change anything there, name it by its port or by its file")
			client.Close()
			return nil, exit.Usage
		}
	}
	if o.Debug {
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
			return nil, exit.NoMaster
		}
	}
	return client, exit.OK
}

// choose returns the daemons, or the listeners that take clients for the
// address: all, or those of the file.
func choose(clients []*control.Client, file string, wanted *Address) []candidate {
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
func (a *Address) match(identity control.Identity) []string {
	for _, host := range a.hosts() {
		if names := identity.Match(host, a.Port); len(names) > 0 {
			return names
		}
	}
	return nil
}

// hosts returns the host as it was given, and the addresses that it stands
// for.
func (a *Address) hosts() []string {
	hosts := []string{a.Host}
	if a.Host != "" && net.ParseIP(a.Host) == nil {
		if addrs, err := net.LookupHost(a.Host); err == nil {
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
func looksFor(o Options) string {
	does := ""
	if o.File != "" {
		does = fmt.Sprintf(" runs %s", o.FileAsGiven)
	}
	if o.Address == nil {
		return does
	}
	if does != "" {
		does += " and"
	}
	if o.Address.Host != "" {
		return does + fmt.Sprintf(" listens on %s", net.JoinHostPort(o.Address.Host, fmt.Sprint(o.Address.Port)))
	}
	return does + fmt.Sprintf(" listens on port %d", o.Address.Port)
}

func printCandidate(stdout io.Writer, c candidate) {
	var listeners []string
	for _, l := range c.Identity.Listeners {
		if c.listener == "" || c.listener == l.Name {
			listeners = append(listeners, fmt.Sprintf("%s (%s)", l.Name, strings.Join(l.Addresses, " ")))
		}
	}
	whose := ""
	if c.UID != os.Geteuid() {
		whose = " of " + userOf(c.Client)
	}
	fmt.Fprintf(stdout, "  process %d%s: %s\n", c.Identity.PID, whose, strings.Join(listeners, ", "))
}

// userOf names the user of a daemon.
func userOf(c *control.Client) string {
	if c.UID < 0 {
		return "an unknown user"
	}
	number := strconv.Itoa(c.UID)
	if found, err := user.LookupId(number); err == nil {
		return fmt.Sprintf("user %s (%s)", found.Username, number)
	}
	return "user " + number
}
