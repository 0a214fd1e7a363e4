package engine

import (
	"fmt"
	"strings"
	"time"

	"balance/engine/plane"
	"balance/engine/spec"
)

// began logs a session that was connected, as that is asked for.
func (e *Engine) began(s plane.Session) {
	e.sessionLog.Info("session started", attrsOf(&s)...)
}

// ended counts a session, and logs it if that is asked for.
func (e *Engine) ended(end plane.End) {
	end.Listener.Ended[end.Cause].Add(1)
	config := e.Config()
	if end.Cause == plane.Refused { // the greeting tells of these, not of each
		return
	}
	if config == nil || !wants(config.Log.Sessions, &end) {
		return
	}
	attrs := append(attrsOf(&end.Session), "sent", end.Sent, "received", end.Received,
		"duration", time.Since(end.Started).Round(time.Millisecond), "by", end.Cause.By(), "how", end.Cause.How())
	if end.Cause == plane.NoChannel {
		attrs = append(attrs, "reason", end.Rejection.String())
	}
	if len(end.Tried) > 0 {
		attrs = append(attrs, "tried", triedWords(&end.Outcome))
	}
	if end.Err != nil {
		attrs = append(attrs, "error", end.Err)
	}
	e.sessionLog.Info("session", attrs...)
}

// wants reports whether a session that has ended is to be logged.
func wants(which spec.SessionLog, end *plane.End) bool {
	switch which {
	case spec.AllSessions:
		return true
	case spec.FailedSessions:
		return !end.Connected || end.Cause == plane.ClientFailed || end.Cause == plane.ChannelFailed || end.Cause == plane.Overfull
	}
	return false
}

// triedWords tells which channels could not be connected to, and why.
func triedWords(o *plane.Outcome) string {
	var words []string
	for _, try := range o.Tried {
		words = append(words, fmt.Sprintf("%s %s", try.Channel, try.Why))
	}
	if o.More > 0 {
		words = append(words, fmt.Sprintf("and %d more", o.More))
	}
	return strings.Join(words, "; ")
}

func attrsOf(s *plane.Session) []any {
	channel, name := "", ""
	if s.Channel != nil {
		channel, name = s.Channel.Key().String(), s.Channel.Name()
	}
	attrs := []any{"id", s.ID, "client", plane.ClientText(s.Client), "listener", s.Listener.Service().Name, "group", s.Group, "channel", channel}
	if name != "" {
		attrs = append(attrs, "name", name)
	}
	if s.Peer != nil {
		attrs = append(attrs, "peer", plane.ClientText(*s.Peer))
	}
	return attrs
}

// recordRunning logs the sessions that have lasted for another interval since it
// was called last, where that is asked for.
func (e *Engine) recordRunning(s *state) {
	before, now := e.recorded, time.Now()
	e.recorded = now
	if s.config == nil || s.config.Log.SessionInterval == 0 {
		return
	}
	every := s.config.Log.SessionInterval
	e.plane.Sessions(func(session plane.Session) bool {
		age := now.Sub(session.Started)
		if age/every > max(before.Sub(session.Started), 0)/every {
			e.sessionLog.Info("session running", append(attrsOf(&session), "state", session.State.String(),
				"sent", session.Sent, "received", session.Received,
				"age", age.Round(time.Millisecond), "idle", max(now.Sub(session.Active), 0).Round(time.Millisecond))...)
		}
		return true
	})
}
