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

// sink takes lines, each with the severity of its level.
type sink interface {
	write(level slog.Level, line string) error
}

// syslogHandler gives each record the severity of its level. Time and level
// are those of syslog, or of the journal, so they are left out of the text; but
// its time is when it was told, so a record that had to wait brings its own.
type syslogHandler struct {
	slog.Handler // writes to buf
	sink         sink
	buf          *bytes.Buffer
}

func newSyslogHandler(sink sink, format spec.LogFormat, level slog.Leveler) slog.Handler {
	buf := new(bytes.Buffer)
	options := &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			own := a.Key == slog.LevelKey ||
				a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime && time.Since(a.Value.Time()) < time.Second
			if len(groups) == 0 && own {
				return slog.Attr{}
			}
			return a
		},
	}
	return &syslogHandler{newHandler(buf, format, options), sink, buf}
}

func (h *syslogHandler) Handle(ctx context.Context, record slog.Record) error {
	h.buf.Reset()
	if err := h.Handler.Handle(ctx, record); err != nil {
		return err
	}
	return h.sink.write(record.Level, h.buf.String())
}

func (h *syslogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &syslogHandler{h.Handler.WithAttrs(attrs), h.sink, h.buf}
}

func (h *syslogHandler) WithGroup(name string) slog.Handler {
	return &syslogHandler{h.Handler.WithGroup(name), h.sink, h.buf}
}
