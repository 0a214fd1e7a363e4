package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"log/syslog"
	"sync"
	"sync/atomic"

	"balance/engine"
)

// logging is the daemon's log, whose level and format follow the
// configuration.
type logging struct {
	level   slog.LevelVar
	handler atomic.Pointer[slog.Handler]
	open    func(engine.LogFormat, slog.Leveler) slog.Handler
}

// newLogging logs to stderr.
func newLogging(stderr io.Writer) *logging {
	return logTo(func(format engine.LogFormat, level slog.Leveler) slog.Handler {
		return newHandler(stderr, format, &slog.HandlerOptions{Level: level})
	})
}

// newSyslogging logs to syslog, or nowhere if there is none.
func newSyslogging() (*logging, error) {
	writer, err := syslog.New(syslog.LOG_DAEMON|syslog.LOG_INFO, "balance")
	if err != nil {
		return newLogging(io.Discard), err
	}
	return logTo(func(format engine.LogFormat, level slog.Leveler) slog.Handler {
		return newSyslogHandler(writer, format, level)
	}), nil
}

func logTo(open func(engine.LogFormat, slog.Leveler) slog.Handler) *logging {
	l := &logging{open: open}
	l.set(engine.Log{})
	return l
}

func newHandler(w io.Writer, format engine.LogFormat, options *slog.HandlerOptions) slog.Handler {
	if format == engine.LogJSON {
		return slog.NewJSONHandler(w, options)
	}
	return slog.NewTextHandler(w, options)
}

var severities = map[engine.LogLevel]slog.Level{
	engine.LogDebug: slog.LevelDebug,
	engine.LogInfo:  slog.LevelInfo,
	engine.LogWarn:  slog.LevelWarn,
	engine.LogError: slog.LevelError,
}

// admit also logs what the next settings would, until set, so that the change
// to them is logged if either wants that.
func (l *logging) admit(next engine.Log) {
	l.level.Set(min(l.level.Level(), severities[next.Level]))
}

// set puts the settings in force.
func (l *logging) set(settings engine.Log) {
	l.level.Set(severities[settings.Level])
	handler := l.open(settings.Format, &l.level)
	l.handler.Store(&handler)
}

func (l *logging) logger() *slog.Logger { return slog.New(switchHandler{l}) }

// switchHandler passes records on to the handler that is in force when they
// are made.
type switchHandler struct{ *logging }

func (h switchHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

func (h switchHandler) Handle(ctx context.Context, record slog.Record) error {
	return (*h.handler.Load()).Handle(ctx, record)
}

func (h switchHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return (*h.handler.Load()).WithAttrs(attrs)
}

func (h switchHandler) WithGroup(name string) slog.Handler {
	return (*h.handler.Load()).WithGroup(name)
}

// syslogHandler gives each record the severity of its level. Time and level
// are syslog's own, so they are left out of the text.
type syslogHandler struct {
	slog.Handler
	writer *syslog.Writer

	mu  *sync.Mutex
	buf *bytes.Buffer // guarded by mu; the embedded handler writes to it
}

func newSyslogHandler(writer *syslog.Writer, format engine.LogFormat, level slog.Leveler) slog.Handler {
	h := &syslogHandler{writer: writer, mu: new(sync.Mutex), buf: new(bytes.Buffer)}
	h.Handler = newHandler(h.buf, format, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
				return slog.Attr{}
			}
			return a
		},
	})
	return h
}

func (h *syslogHandler) Handle(ctx context.Context, record slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.buf.Reset()
	if err := h.Handler.Handle(ctx, record); err != nil {
		return err
	}
	line := h.buf.String()
	switch {
	case record.Level >= slog.LevelError:
		return h.writer.Err(line)
	case record.Level >= slog.LevelWarn:
		return h.writer.Warning(line)
	case record.Level >= slog.LevelInfo:
		return h.writer.Info(line)
	default:
		return h.writer.Debug(line)
	}
}
