package client

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/term"

	"balance/cmd/balance/internal/exit"
	"balance/control"
)

// shell is -i: it reads commands until the end of input or quit. At a terminal
// it has line editing, history and completion; else it reads plain lines, and
// a command that failed shows in the exit code.
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
	group          int
	code           int // worst of all commands so far
}

func newDialogue(client *control.Client, stdin io.Reader, stdout, stderr io.Writer) *dialogue {
	s := &dialogue{client: client, stdout: stdout, stderr: stderr}
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

// onTerminal has the terminal raw while a line is edited, and as it was while
// commands run, so that Ctrl-C ends those as it ends any program.
func (s *dialogue) onTerminal() int {
	fd := int(s.keys.Fd())
	line := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{s.keys, s.stdout}, s.prompt())
	line.AutoCompleteCallback = func(text string, at int, key rune) (string, int, bool) {
		if key != '\t' {
			return "", 0, false
		}
		return s.complete(line, text, at)
	}
	io.WriteString(s.stdout, s.greeting())
	for {
		if width, height, err := term.GetSize(fd); err == nil && width > 0 && height > 0 {
			line.SetSize(width, height)
		}
		line.SetPrompt(s.prompt())
		text, err := readLine(fd, line)
		switch {
		case errors.Is(err, io.EOF):
			fmt.Fprintln(s.stdout)
			return exit.OK
		case err != nil && !errors.Is(err, term.ErrPasteIndicator):
			fmt.Fprintf(s.stderr, "balance: read the terminal: %v\n", err)
			return exit.System
		}
		if !s.do(text) {
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

func (s *dialogue) send(command string) (control.Status, error) {
	lines, status, err := s.client.Ask(command)
	for _, line := range lines {
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
