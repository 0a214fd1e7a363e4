package client

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"balance/control"
)

// The bounds of the history: what is offered, and what the file may grow to
// before it is written anew with no more than that.
const (
	maxHistory      = 1000             // lines
	maxHistoryBytes = 256 << 10        // of the file
	historyName     = "shell_history"  // in the directory
	historyFresh    = ".shell_history" // the file that takes its place
)

// history is what was typed in shells of this user: a file in the directory for
// state, for its owner alone. Each line is appended when it has been carried out,
// so that shells side by side share the file.
type history struct {
	directory *os.Root // nil if nothing is kept
	lines     []string // that there were at the start, oldest first
}

// openHistory reads the history. Where there is no place for it, and on an error,
// the one that it returns keeps nothing. The caller closes it.
func openHistory() (*history, error) {
	h := &history{}
	path := stateDirectory(os.Geteuid(), os.Getenv)
	if path == "" {
		return h, nil
	}
	directory, err := openState(path)
	if err != nil {
		return h, fmt.Errorf("open %q for the history: %w", path, err)
	}
	h.directory = directory
	if err := h.read(); err != nil {
		h.close()
		return &history{}, fmt.Errorf("read the history in %q: %w", path, err)
	}
	return h, nil
}

// stateDirectory returns $XDG_STATE_HOME/balance, else ~/.local/state/balance
// (XDG Base Directory Specification), empty if there is no home, or if it is
// another's: sudo(8) may leave that of the caller, whose files are not to become
// root's.
func stateDirectory(uid int, getenv func(string) string) string {
	base, inside := getenv("XDG_STATE_HOME"), "balance"
	if !filepath.IsAbs(base) {
		base, inside = getenv("HOME"), ".local/state/balance"
	}
	if !filepath.IsAbs(base) {
		return ""
	}
	for existing := base; ; existing = filepath.Dir(existing) {
		info, err := os.Stat(existing)
		if errors.Is(err, fs.ErrNotExist) && existing != filepath.Dir(existing) {
			continue
		}
		if err != nil || int(info.Sys().(*syscall.Stat_t).Uid) != uid {
			return ""
		}
		return filepath.Join(base, inside)
	}
}

// openState opens the directory, which has to be this user's, and makes it if it is
// missing.
func openState(path string) (*os.Root, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	directory, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	info, err := directory.Stat(".")
	if err == nil {
		if uid := int(info.Sys().(*syscall.Stat_t).Uid); uid != os.Geteuid() {
			err = fmt.Errorf("it belongs to user %d", uid)
		}
	}
	if err != nil {
		directory.Close()
		return nil, err
	}
	return directory, nil
}

// read takes the last lines of the file. One that has grown long is written
// anew.
func (h *history) read() error {
	file, err := h.open(os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() > maxHistoryBytes {
		if _, err := file.Seek(-maxHistoryBytes, io.SeekEnd); err != nil {
			return err
		}
	}
	text, err := io.ReadAll(io.LimitReader(file, maxHistoryBytes))
	if err != nil {
		return err
	}
	if info.Size() > maxHistoryBytes { // it begins within a line
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxHistoryBytes+1)
	for lines.Scan() {
		if worthKeeping(lines.Text()) {
			h.lines = append(h.lines, lines.Text())
		}
	}
	h.lines = h.lines[max(0, len(h.lines)-maxHistory):]
	if info.Size() > maxHistoryBytes {
		return h.rewrite()
	}
	return nil
}

// open opens the file, which has to be one of this user alone.
func (h *history) open(flags int) (*os.File, error) {
	file, err := h.directory.OpenFile(historyName, flags|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	if err := control.OwnFile(file, historyName); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// rewrite puts a file with the lines into the place of the one that there is.
func (h *history) rewrite() error {
	if err := h.directory.Remove(historyFresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := h.directory.OpenFile(historyFresh, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(file, strings.Join(h.lines, "\n")+"\n")
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return h.directory.Rename(historyFresh, historyName)
}

// add appends a line.
func (h *history) add(line string) error {
	if h.directory == nil || !worthKeeping(line) {
		return nil
	}
	file, err := h.open(os.O_WRONLY | os.O_APPEND | os.O_CREATE)
	if err != nil {
		return fmt.Errorf("keep the history: %w", err)
	}
	_, err = io.WriteString(file, line+"\n")
	return errors.Join(err, file.Close())
}

// worthKeeping reports whether a line may be kept: it is a command, can be
// printed, and does not begin with a blank, which says in shells that it is to
// be forgotten.
func worthKeeping(line string) bool {
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	return line != "" && line[0] != ' ' && len(line) < control.MaxRequest && utf8.ValidString(line) && !strings.ContainsFunc(line, unprintable)
}

func (h *history) close() {
	if h.directory != nil {
		h.directory.Close()
	}
}
