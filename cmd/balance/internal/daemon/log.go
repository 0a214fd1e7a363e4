package daemon

import (
	"balance/engine/spec"
	"context"
	"errors"
	"io"
	"log/slog"
	"log/syslog"
	"sync/atomic"
	"time"
)

// logging is the daemon's log, whose level and format follow the
// configuration. Whoever logs never waits.
type logging struct {
	level   slog.LevelVar
	handler atomic.Pointer[slog.Handler]
	open    func(spec.LogFormat, slog.Leveler) slog.Handler
	queue   *logQueue
}

// newLogging logs to stderr, until close, or to the journal if that is it.
func newLogging(stderr io.Writer) *logging {
	if isJournal(stderr) {
		return newJournaling(&journal{path: journalSocket, lines: stderr})
	}
	return logTo(func(format spec.LogFormat, level slog.Leveler) slog.Handler {
		return newHandler(stderr, format, &slog.HandlerOptions{Level: level})
	}, func() {})
}

func newJournaling(j *journal) *logging {
	return logTo(func(format spec.LogFormat, level slog.Leveler) slog.Handler {
		return newJournalHandler(j, format, level)
	}, func() {})
}

// newSyslogging logs to syslog, until close. The error says why there is none
// yet: it is looked for again as long as there is something to say.
func newSyslogging(dial func() (*syslog.Writer, error)) (*logging, error) {
	s := &syslogSink{dial: dial}
	connected := make(chan error, 1)
	l := logTo(func(format spec.LogFormat, level slog.Leveler) slog.Handler {
		return &syslogHandler{newLineHandler(format, level), s}
	}, func() { connected <- s.connect() })
	select {
	case err := <-connected:
		return l, err
	case <-time.After(syslogTimeout):
		return l, errors.New("it does not answer")
	}
}

// logTo logs with handlers that open returns. They are used by one goroutine
// alone, which calls begin first, and may block.
func logTo(open func(spec.LogFormat, slog.Leveler) slog.Handler, begin func()) *logging {
	l := &logging{open: open, queue: newLogQueue(begin)}
	l.set(spec.Log{})
	return l
}

// close writes what was logged, for a second at most. What is logged later is
// lost.
func (l *logging) close() { l.queue.close() }

// lost returns how many messages nobody took, since the start.
func (l *logging) lost() uint64 { return l.queue.lost.Load() }

// newHandler writes durations in both formats as Go does, such as 1.5s: a JSON
// handler by itself would write a number of nanoseconds.
func newHandler(w io.Writer, format spec.LogFormat, options *slog.HandlerOptions) slog.Handler {
	if format == spec.LogJSON {
		replace := options.ReplaceAttr
		options.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if a.Value.Kind() == slog.KindDuration {
				a.Value = slog.StringValue(a.Value.Duration().String())
			}
			if replace != nil {
				return replace(groups, a)
			}
			return a
		}
		return slog.NewJSONHandler(w, options)
	}
	return slog.NewTextHandler(w, options)
}

var severities = map[spec.LogLevel]slog.Level{
	spec.LogDebug: slog.LevelDebug,
	spec.LogInfo:  slog.LevelInfo,
	spec.LogWarn:  slog.LevelWarn,
	spec.LogError: slog.LevelError,
}

// admit also logs what the next settings would, until set, so that the change
// to them is logged if either wants that.
func (l *logging) admit(next spec.Log) {
	l.level.Set(min(l.level.Level(), severities[next.Level]))
}

// set puts the settings in force.
func (l *logging) set(settings spec.Log) {
	l.level.Set(severities[settings.Level])
	handler := l.open(settings.Format, &l.level)
	l.handler.Store(&handler)
}

// logger takes what there is to say, sessionLogger a line for each session.
func (l *logging) logger() *slog.Logger { return slog.New(&queueHandler{logging: l}) }
func (l *logging) sessionLogger() *slog.Logger {
	return slog.New(&queueHandler{logging: l, minor: true})
}

// queueHandler queues records for the handler that is in force when they are
// made. Debug messages are minor, too: there may be some for every client.
type queueHandler struct {
	*logging
	minor bool
	with  func(slog.Handler) slog.Handler // adds attributes and groups; may be nil
}

func (h *queueHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

func (h *queueHandler) Handle(_ context.Context, record slog.Record) error {
	h.queue.put(&logEntry{
		record:  record.Clone(),
		handler: h.apply(*h.logging.handler.Load()),
		minor:   h.minor || record.Level < slog.LevelInfo,
	})
	return nil
}

func (h *queueHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &queueHandler{h.logging, h.minor, func(to slog.Handler) slog.Handler { return h.apply(to).WithAttrs(attrs) }}
}

func (h *queueHandler) WithGroup(name string) slog.Handler {
	return &queueHandler{h.logging, h.minor, func(to slog.Handler) slog.Handler { return h.apply(to).WithGroup(name) }}
}

func (h *queueHandler) apply(to slog.Handler) slog.Handler {
	if h.with == nil {
		return to
	}
	return h.with(to)
}
