package main

import (
	"bufio"
	"fmt"
	"io"
	"strconv"

	"balance/control"
)

// prompt is the classic one: it names the current group.
func prompt(group int) string { return fmt.Sprintf("balance[%d] ", group) }

// shell is -i: it reads commands until the end of input or quit.
func shell(client *control.Client, stdin io.Reader, stdout, stderr io.Writer) int {
	fmt.Fprintf(stdout, "balance %s interactive command shell\nPID of master process is %d\n\n",
		client.Identity.Version, client.Identity.PID)
	s := &shellSession{client: client, stdout: stdout, stderr: stderr}
	lines := bufio.NewScanner(stdin)
	for {
		fmt.Fprint(stdout, prompt(s.group))
		if !lines.Scan() {
			break
		}
		if !s.do(lines.Text()) {
			return s.code
		}
	}
	fmt.Fprintln(stdout)
	return s.code
}

// shellSession is what the shell knows.
type shellSession struct {
	client         *control.Client
	stdout, stderr io.Writer
	group          int
	code           int
}

// do runs one line of commands and reports whether the shell goes on.
func (s *shellSession) do(line string) bool {
	for _, command := range control.Split(line) {
		if command == "" {
			continue
		}
		status, err := send(s.client, command, s.stdout)
		if err != nil {
			fmt.Fprintf(s.stderr, "balance: the master process is gone: %v\n", err)
			s.code = exitNoMaster
			return false
		}
		s.code = max(s.code, exitOf(status))
		if status != control.OK {
			continue
		}
		switch name, args := control.Resolve(command); name {
		case "quit", "kill":
			return false
		case "group":
			s.group, _ = strconv.Atoi(args[0])
		case "listener":
			s.group = 0
		}
	}
	return true
}
