package client

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"balance/cmd/balance/internal/exit"
	"balance/control"
)

// shell is -i: it reads commands until the end of input or quit. At a terminal
// it has line editing, history and completion; else it reads plain lines, and a
// command that failed shows in the exit code.
func shell(client *control.Client, stdin io.Reader, stdout, stderr io.Writer) int {
	s := newDialogue(client, stdin, stdout, stderr)
	if s.keys != nil {
		return s.onTerminal()
	}
	return s.onPipe(stdin)
}

// dialogue is one use of -i or -c.
type dialogue struct {
	client         *control.Client
	stdout, stderr io.Writer
	keys           *os.File // the terminal, nil if not both stdin and stdout are one
	palette        palette
	editor         *editor // of the shell on a terminal, else nil
	understood     bool    // whether every command of the current line was one
	group          int
	code           int // worst of all commands so far
}

func newDialogue(client *control.Client, stdin io.Reader, stdout, stderr io.Writer) *dialogue {
	s := &dialogue{client: client, stdout: stdout, stderr: stderr, palette: paletteOf(stdout, os.Getenv)}
	if terminal(stdout) != nil {
		s.keys = terminal(stdin)
	}
	return s
}

func (s *dialogue) greeting() string {
	return fmt.Sprintf("balance %s interactive command shell\nPID of master process is %d\n\n",
		s.client.Identity.Version, s.client.Identity.PID)
}

// prompt is the classic one: it names the current group.
func (s *dialogue) prompt() string { return fmt.Sprintf("balance[%d] ", s.group) }

func (s *dialogue) onPipe(stdin io.Reader) int {
	fmt.Fprint(s.stdout, s.greeting())
	lines := bufio.NewScanner(stdin)
	for {
		fmt.Fprint(s.stdout, s.prompt())
		if !lines.Scan() {
			fmt.Fprintln(s.stdout)
			if err := lines.Err(); err != nil {
				fmt.Fprintf(s.stderr, "balance: read a command: %v\n", err)
				return exit.Failed
			}
			return s.code
		}
		if !s.do(lines.Text()) {
			return s.code
		}
	}
}

// onTerminal reads from a line editor.
func (s *dialogue) onTerminal() int {
	kept, err := openHistory()
	if err != nil {
		fmt.Fprintf(s.stderr, "balance: %v\n", err)
	}
	defer kept.close()
	if s.editor, err = newEditor(s.keys, kept, s.complete); err != nil {
		fmt.Fprintf(s.stderr, "balance: edit on the terminal: %v\n", err)
		return exit.System
	}
	io.WriteString(s.stdout, s.greeting())
	for {
		text, err := s.editor.line(s.prompt())
		switch {
		case errors.Is(err, io.EOF):
			fmt.Fprintln(s.stdout)
			return exit.OK
		case err != nil:
			fmt.Fprintf(s.stderr, "balance: read the terminal: %v\n", err)
			return exit.System
		}
		s.understood = true
		goesOn := s.do(text)
		if err := s.editor.remember(text, s.understood); err != nil {
			fmt.Fprintf(s.stderr, "balance: %v\n", err)
		}
		if !goesOn {
			if s.code == exit.NoMaster {
				return s.code
			}
			return exit.OK
		}
	}
}

// do runs one line of commands and reports whether to go on. A command that
// fails does not keep the next from being tried.
func (s *dialogue) do(line string) bool {
	for _, command := range control.Split(line) {
		if command == "" {
			continue
		}
		name, args := control.Resolve(command)
		if name == "kill" && s.editor != nil && !s.confirms() {
			continue
		}
		var status control.Status
		var err error
		if interval, ok := control.Interval(args); name == "watch" && ok && s.keys != nil {
			status, err = s.watch(interval)
		} else {
			status, err = s.send(command)
		}
		if err != nil {
			fmt.Fprintf(s.stderr, "balance: %s: %v\n", command, err)
			s.code = exit.NoMaster
			return false
		}
		s.understood = s.understood && status != control.Misused
		s.code = worse(s.code, exitOf(status))
		if status != control.OK {
			continue
		}
		switch name {
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

// confirms asks whether the daemon is to end, which nothing takes back.
func (s *dialogue) confirms() bool {
	answer, err := s.editor.line(fmt.Sprintf("end process %d and all of its sessions? [y/N] ", s.client.Identity.PID))
	return err == nil && (answer == "y" || answer == "yes")
}

func (s *dialogue) send(command string) (control.Status, error) {
	lines, status, err := s.client.Ask(command)
	for _, line := range s.palette.table(lines) {
		fmt.Fprintln(s.stdout, line)
	}
	return status, err
}

const clearScreen = "\x1b[H\x1b[2J"

// watch shows the channels again and again until a key is pressed.
func (s *dialogue) watch(interval time.Duration) (control.Status, error) {
	for {
		io.WriteString(s.stdout, clearScreen)
		if status, err := s.send("show"); status != control.OK || err != nil {
			return status, err
		}
		if pressed, err := awaitKey(s.keys, interval); pressed || err != nil {
			return control.OK, err
		}
	}
}

// worse returns the exit code that says more: what failed beats what differs.
func worse(a, b int) int {
	if min(a, b) == exit.Failed && max(a, b) == exit.Differ {
		return exit.Failed
	}
	return max(a, b)
}
