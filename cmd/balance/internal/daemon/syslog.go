package daemon

import (
	"balance/engine/spec"
	"bytes"
	"context"
	"log/slog"
	"log/syslog"
	"time"
)

const (
	syslogTag     = "balance"
	syslogTimeout = time.Second // for syslog to be there when the daemon starts
	syslogPause   = time.Second // before it is looked for again
)

func dialSyslog() (*syslog.Writer, error) {
	return syslog.New(syslog.LOG_DAEMON|syslog.LOG_INFO, syslogTag)
}

// syslogSink is the connection to syslog. It belongs to the writer of the log,
// since a syslog that does not read blocks it, on a datagram socket, too.
type syslogSink struct {
	dial   func() (*syslog.Writer, error)
	writer *syslog.Writer // nil until syslog was there
	err    error          // why it could not be had when it was tried last
	retry  time.Time      // not before
}

func (s *syslogSink) connect() error {
	if s.writer != nil {
		return nil
	}
	var err error
	s.writer, err = s.dial()
	return s.done(err)
}

func (s *syslogSink) done(err error) error {
	if s.err = err; err != nil {
		s.retry = time.Now().Add(syslogPause)
	}
	return err
}

// write sends a line with the severity of the level. The writer connects again
// by itself.
func (s *syslogSink) write(level slog.Level, line string) error {
	if s.err != nil && time.Now().Before(s.retry) {
		return s.err
	}
	if err := s.connect(); err != nil {
		return err
	}
	send := s.writer.Debug
	switch {
	case level >= slog.LevelError:
		send = s.writer.Err
	case level >= slog.LevelWarn:
		send = s.writer.Warning
	case level >= slog.LevelInfo:
		send = s.writer.Info
	}
	return s.done(send(line))
}

// lineHandler writes lines without level and time, which are those of syslog, or
// of the journal; but its time is when it was told, so a record that had to wait
// brings its own.
type lineHandler struct {
	slog.Handler // writes to buf
	buf          *bytes.Buffer
}

func newLineHandler(format spec.LogFormat, level slog.Leveler) lineHandler {
	buf := new(bytes.Buffer)
	return lineHandler{newHandler(buf, format, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			own := a.Key == slog.LevelKey ||
				a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime && time.Since(a.Value.Time()) < time.Second
			if len(groups) == 0 && own {
				return slog.Attr{}
			}
			return a
		},
	}), buf}
}

// line returns the line of a record.
func (h lineHandler) line(ctx context.Context, record slog.Record) (string, error) {
	h.buf.Reset()
	err := h.Handler.Handle(ctx, record)
	return h.buf.String(), err
}

// syslogHandler gives each record the severity of its level.
type syslogHandler struct {
	lineHandler
	sink *syslogSink
}

func (h *syslogHandler) Handle(ctx context.Context, record slog.Record) error {
	line, err := h.line(ctx, record)
	if err != nil {
		return err
	}
	return h.sink.write(record.Level, line)
}

func (h *syslogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &syslogHandler{lineHandler{h.Handler.WithAttrs(attrs), h.buf}, h.sink}
}

func (h *syslogHandler) WithGroup(name string) slog.Handler {
	return &syslogHandler{lineHandler{h.Handler.WithGroup(name), h.buf}, h.sink}
}
