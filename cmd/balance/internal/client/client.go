// Package client is the side of balance that talks to a running daemon: it finds
// the daemon, and hands it commands, from the command line or from a shell.
package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"

	"balance/cmd/balance/internal/exit"
	"balance/control"
)

// Options say which daemon is meant, and what it is to be asked.
type Options struct {
	File        string   // that the daemon runs, as an absolute path; empty for any
	FileAsGiven string   // the same, as messages name it
	Address     *Address // that it listens on; nil for any
	Command     string   // commands with ; between them
	Interactive bool     // read commands instead
	Mapped      bool     // -M: a counters file may answer the command
	Debug       bool     // tell which daemon it is
}

// Address is what a daemon may be looked for by.
type Address struct {
	Host string // empty for every address
	Port int
}

// Run is -i and -c: it talks to a running daemon, and returns the exit code.
func Run(o Options, stdin io.Reader, stdout, stderr io.Writer) int {
	if o.Mapped && !o.Interactive {
		if code, handled := readSaved(o, stdout, stderr); handled {
			return code
		}
	}
	client, code := findDaemon(o, stdout, stderr)
	if client == nil {
		return code
	}
	defer client.Close()
	if o.Interactive {
		return shell(client, stdin, stdout, stderr)
	}
	commands := newDialogue(client, stdin, stdout, stderr)
	commands.do(o.Command)
	return commands.code
}

// Complete returns the words that a line of commands may end with, each with a tab
// and what it stands for behind it if there is anything to say. ok is false if it
// is not clear which daemon to ask.
func Complete(o Options, line string) (words []string, ok bool) {
	client, _ := findDaemon(o, io.Discard, io.Discard)
	if client == nil {
		return nil, false
	}
	defer client.Close()
	words, status, err := client.Ask("complete " + strconv.Quote(line))
	return words, err == nil && status == control.OK
}

// Ports returns the ports that the daemons of this user listen on, as Complete
// returns words.
func Ports() (words []string) {
	found := control.Search()
	for _, client := range found.Clients {
		defer client.Close()
		for _, l := range client.Identity.Listeners {
			for _, address := range l.Addresses {
				if _, port, err := net.SplitHostPort(address); err == nil {
					words = append(words, fmt.Sprintf("%s\t%s of process %d", port, l.Name, client.Identity.PID))
				}
			}
		}
	}
	slices.Sort(words)
	return words
}

// Diff prints what a reload of the file would change in the daemon that runs it,
// and returns the exit code.
func Diff(o Options, asJSON bool, stdout, stderr io.Writer) int {
	client, _ := findDaemon(o, stderr, stderr)
	if client == nil {
		return exit.DiffFailure
	}
	defer client.Close()
	request := "diff"
	if asJSON {
		request = "diff -json"
	}
	lines, status, err := client.Ask(request)
	text := []byte(strings.Join(append(lines, ""), "\n"))
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "balance: ask process %d: %v\n", client.Identity.PID, err)
		return exit.DiffFailure
	case status != control.OK && status != control.Differs:
		for _, line := range lines {
			fmt.Fprintf(stderr, "balance: %s\n", line)
		}
		return exit.DiffFailure
	case asJSON:
		var indented bytes.Buffer
		if err := json.Indent(&indented, text, "", "  "); err != nil {
			fmt.Fprintf(stderr, "balance: read the changes: %v\n", err)
			return exit.DiffFailure
		}
		text = indented.Bytes()
	}
	stdout.Write(text)
	return exitOf(status)
}

// exitOf is the exit code for the status of a command.
func exitOf(status control.Status) int {
	switch status {
	case control.OK:
		return exit.OK
	case control.Differs:
		return exit.Differ
	default:
		return exit.Failed
	}
}
