package client

import (
	"os"

	"github.com/peterh/liner"
	"golang.org/x/term"
)

// editor reads lines at the terminal that is the standard input and output. While
// it reads none, the terminal is as it was, so that Ctrl-C ends a command as it
// ends any program.
type editor struct {
	lines   *liner.State
	fd      int
	editing liner.ModeApplier // the terminal while a line is edited
	history *history
}

// newEditor returns an editor that completes words with complete, as
// liner.SetWordCompleter has it. Where the terminal cannot be edited on, as one
// without a width or with TERM=dumb, it reads plain lines.
func newEditor(terminal *os.File, kept *history, complete liner.WordCompleter) (*editor, error) {
	e := &editor{fd: int(terminal.Fd()), history: kept}
	restore, err := keepMode(e.fd)
	if err != nil {
		return nil, err
	}
	defer restore()
	e.lines = liner.NewLiner()
	if e.editing, err = liner.TerminalMode(); err != nil {
		return nil, err
	}
	e.lines.SetBeep(false)
	e.lines.SetWordCompleter(complete)
	for _, line := range kept.lines {
		e.lines.AppendHistory(line)
	}
	return e, nil
}

// line returns the next line. Its error is io.EOF if there comes none.
func (e *editor) line(prompt string) (string, error) {
	restore, err := keepMode(e.fd)
	if err != nil {
		return "", err
	}
	defer restore()
	if err := e.editing.ApplyMode(); err != nil {
		return "", err
	}
	return e.lines.Prompt(prompt)
}

// remember puts a line into the history, for good if it may be kept.
func (e *editor) remember(line string, keep bool) error {
	e.lines.AppendHistory(line)
	if !keep {
		return nil
	}
	return e.history.add(line)
}

// size returns how many columns and rows the terminal has, 0 if it does not
// say.
func (e *editor) size() (columns, rows int) {
	columns, rows, err := term.GetSize(e.fd)
	if err != nil {
		return 0, 0
	}
	return columns, rows
}
