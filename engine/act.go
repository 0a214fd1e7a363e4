package engine

import "log/slog"

// Act is something that somebody did to the daemon, or could not do.
type Act struct {
	By       Actor
	What     string // the word for it, such as "weight"
	Listener string // that it is about; empty for the whole daemon
	Channel  string // likewise, as host:port; empty for more than one
	Name     string // of the channel; empty if it has none
	Change   string // what it changed, such as "weight 3 → 1"
	Err      string // why it did not come about
	Request  string // what was asked for, where it did not
	Untold   int    // of those before that did not, how many were not noted
}

// Note logs an act, and keeps it as an event if it came about.
func (e *Engine) Note(act Act) {
	attrs := []slog.Attr{slog.String("by", printable(act.By.String())), slog.String("what", act.What)}
	for _, a := range []struct{ key, value string }{
		{"listener", act.Listener}, {"channel", act.Channel}, {"name", act.Name}, {"change", act.Change}, {"error", act.Err}, {"request", act.Request},
	} {
		if a.value != "" {
			attrs = append(attrs, slog.String(a.key, printable(a.value)))
		}
	}
	if act.Untold > 0 {
		attrs = append(attrs, slog.Int("untold", act.Untold))
	}
	e.log.LogAttrs(e.life, slog.LevelInfo, "operator", attrs...)
	if act.Err == "" {
		e.Record(Event{Listener: act.Listener, Channel: act.Channel, Name: act.Name, What: act.What, Reason: act.Change, By: act.By.String()})
	}
}
