package daemon

import (
	"balance/engine/spec"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"
)

// journalSocket is where the journal of systemd takes records with fields
// (systemd.io/JOURNAL_NATIVE_PROTOCOL).
const journalSocket = "/run/systemd/journal/socket"

// fieldPrefix is in front of the names of all attributes, in lower case.
const fieldPrefix = "balance_"

// maxFieldName is how long the journal lets the name of a field be, in bytes.
const maxFieldName = 64

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

// journal takes records as datagrams, and as lines of its stream those that it
// does not take otherwise: since its socket is not there or nobody has it open,
// or since they are longer than a datagram may be. It belongs to the writer of
// the log, which a journal that does not read blocks.
type journal struct {
	path  string
	lines io.Writer
	conn  net.Conn // nil if it was not there
}

// write sends a record, or writes its line with the priority in front
// (sd-daemon(3)).
func (j *journal) write(priority int, record []byte, line string) error {
	if j.send(record) == nil {
		return nil
	}
	_, err := fmt.Fprintf(j.lines, "<%d>%s", priority, line)
	return err
}

// send connects again if whom it was connected to is gone. The socket is a
// connected one: only such a one wakes a sender that waits for room.
func (j *journal) send(record []byte) error {
	for again := j.conn != nil; ; again = false {
		if j.conn == nil {
			conn, err := net.Dial("unixgram", j.path)
			if err != nil {
				return err
			}
			j.conn = conn
		}
		_, err := j.conn.Write(record)
		if err == nil || errors.Is(err, syscall.EMSGSIZE) {
			return err
		}
		j.conn.Close()
		j.conn = nil
		if !again {
			return err
		}
	}
}

// journalHandler sends records to the journal: as MESSAGE the line that syslog
// gets, and each attribute as a field of its own.
type journalHandler struct {
	lineHandler
	journal *journal
	prefix  string // of the names of fields
	fields  []byte // those of every record
}

func newJournalHandler(j *journal, format spec.LogFormat, level slog.Leveler) slog.Handler {
	return &journalHandler{
		lineHandler: newLineHandler(format, level), journal: j, prefix: fieldPrefix,
		fields: appendField(nil, "SYSLOG_IDENTIFIER", syslogTag),
	}
}

func (h *journalHandler) Handle(ctx context.Context, record slog.Record) error {
	line, err := h.line(ctx, record)
	if err != nil {
		return err
	}
	priority := 7
	switch {
	case record.Level >= slog.LevelError:
		priority = 3
	case record.Level >= slog.LevelWarn:
		priority = 4
	case record.Level >= slog.LevelInfo:
		priority = 6
	}
	fields := appendField(bytes.Clone(h.fields), "PRIORITY", strconv.Itoa(priority))
	fields = appendField(fields, "MESSAGE", strings.TrimSuffix(line, "\n"))
	fields = appendAttr(fields, fieldPrefix, slog.String(slog.MessageKey, record.Message))
	record.Attrs(func(a slog.Attr) bool {
		fields = appendAttr(fields, h.prefix, a)
		return true
	})
	return h.journal.write(priority, fields, line)
}

func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.Handler = h.Handler.WithAttrs(attrs)
	with.fields = bytes.Clone(h.fields)
	for _, a := range attrs {
		with.fields = appendAttr(with.fields, h.prefix, a)
	}
	return &with
}

func (h *journalHandler) WithGroup(name string) slog.Handler {
	with := *h
	with.Handler = h.Handler.WithGroup(name)
	with.prefix = h.prefix + name + "_"
	return &with
}

// appendAttr appends an attribute, or each of a group.
func appendAttr(fields []byte, prefix string, a slog.Attr) []byte {
	value := a.Value.Resolve()
	if a.Equal(slog.Attr{}) {
		return fields
	}
	if value.Kind() != slog.KindGroup {
		return appendField(fields, fieldName(prefix+a.Key), fieldText(value.String()))
	}
	if a.Key != "" {
		prefix += a.Key + "_"
	}
	for _, member := range value.Group() {
		fields = appendAttr(fields, prefix, member)
	}
	return fields
}

// appendField appends a field in the form that takes any value: the name, its
// length, and the value.
func appendField(fields []byte, name, value string) []byte {
	fields = append(fields, name+"\n"...)
	fields = binary.LittleEndian.AppendUint64(fields, uint64(len(value)))
	return append(fields, value+"\n"...)
}

// fieldName returns a name as the journal wants it: upper case, digits and
// underscores.
func fieldName(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, name)
	return name[:min(len(name), maxFieldName)]
}

// fieldText returns a value, quoted if a terminal would obey something in it:
// some views of the journal show fields as they are.
func fieldText(value string) string {
	harmless := func(r rune) bool { return r == '\n' || unicode.IsPrint(r) }
	if utf8.ValidString(value) && !strings.ContainsFunc(value, func(r rune) bool { return !harmless(r) }) {
		return value
	}
	return strconv.Quote(value)
}
