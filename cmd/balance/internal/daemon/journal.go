package daemon

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"syscall"
)

// journalSink writes lines for the journal, each with its priority in front
// (sd-daemon(3)).
type journalSink struct{ io.Writer }

// isJournal reports whether a file is the stream to the journal that the
// environment names, by its device and inode (JOURNAL_STREAM in systemd.exec(5)).
func isJournal(w io.Writer) bool {
	stream := os.Getenv("JOURNAL_STREAM")
	file, ok := w.(*os.File)
	if !ok || stream == "" {
		return false
	}
	info, err := file.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stream == fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}

func (s journalSink) write(level slog.Level, line string) error {
	priority := 7
	switch {
	case level >= slog.LevelError:
		priority = 3
	case level >= slog.LevelWarn:
		priority = 4
	case level >= slog.LevelInfo:
		priority = 6
	}
	_, err := fmt.Fprintf(s.Writer, "<%d>%s", priority, line)
	return err
}
