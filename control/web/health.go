package web

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"balance/engine"
	"balance/engine/balancer"
	"balance/engine/health"
	"balance/engine/spec"
)

// standing is how it stands with a channel.
type standing struct {
	State  balancer.State `json:"state"`
	Since  time.Time      `json:"since,omitzero"` // missing if it is not known
	Until  time.Time      `json:"until,omitzero"` // when being held off ends
	Reason string         `json:"reason"`
	Check  *checkStatus   `json:"check,omitempty"` // missing if it is not checked
}

type checkStatus struct {
	Type    spec.CheckType    `json:"type"`
	Target  string            `json:"target"` // host:port
	Health  string            `json:"health"` // what the checks alone say
	Since   time.Time         `json:"since,omitzero"`
	Last    *checkResult      `json:"last,omitempty"` // missing before the first
	InARow  int               `json:"in_a_row"`       // results like the last one
	Next    time.Time         `json:"next,omitzero"`
	Results map[string]uint64 `json:"results"` // by outcome
}

type checkResult struct {
	Time    time.Time `json:"time"`
	Took    float64   `json:"took_seconds"`
	Outcome string    `json:"outcome"`
	Answer  string    `json:"answer"`
}

func standingOf(c *engine.ChannelStatus) standing {
	return standing{State: c.State, Since: c.Since, Until: c.Until, Reason: c.Reason, Check: checkOf(c.Check)}
}

func checkOf(c *health.Status) *checkStatus {
	if c == nil {
		return nil
	}
	s := &checkStatus{
		Type:    c.Target.Check.Type,
		Target:  net.JoinHostPort(c.Target.Host, strconv.Itoa(int(c.Target.Port))),
		Health:  c.Health.String(),
		Since:   c.Since,
		InARow:  c.InARow,
		Next:    c.Next,
		Results: map[string]uint64{},
	}
	if last := c.Last; !last.Time.IsZero() {
		s.Last = &checkResult{last.Time, last.Took.Seconds(), last.Outcome.String(), last.Answer}
	}
	for outcome := range health.Outcomes {
		s.Results[outcome.String()] = c.Results[outcome]
	}
	return s
}

// listenersHealth is what /api/v1/health answers.
type listenersHealth struct {
	Now       time.Time        `json:"now"`
	Listeners []listenerHealth `json:"listeners"`
}

type listenerHealth struct {
	Name     string          `json:"name"`
	Usable   bool            `json:"usable"`
	Channels []channelHealth `json:"channels"`
}

type channelHealth struct {
	Group   int          `json:"group"`
	Channel balancer.Key `json:"channel"`
	Name    string       `json:"name"` // empty if it has none
	standing
}

func (d *Daemon) serveHealth(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, healthOf(d.Engine.Snapshot().Listeners))
}

func healthOf(listeners []engine.ListenerStatus) listenersHealth {
	answer := listenersHealth{Now: time.Now(), Listeners: []listenerHealth{}}
	for _, l := range listeners {
		one := listenerHealth{Name: l.Name, Usable: l.Usable, Channels: []channelHealth{}}
		for group := range l.Groups {
			for i := range l.Groups[group].Channels {
				c := &l.Groups[group].Channels[i]
				one.Channels = append(one.Channels, channelHealth{group, c.Key, c.Name, standingOf(c)})
			}
		}
		answer.Listeners = append(answer.Listeners, one)
	}
	return answer
}

// defaultEvents is how many events are listed without ?n=.
const defaultEvents = 100

// eventList is what /api/v1/events answers, the latest at the end.
type eventList struct {
	Events []engine.Event `json:"events"`
}

func (d *Daemon) serveEvents(w http.ResponseWriter, r *http.Request) {
	n := defaultEvents
	if text := r.URL.Query().Get("n"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 || n > engine.MaxEvents {
			http.Error(w, fmt.Sprintf("n %.60q is not one of 1 to %d", text, engine.MaxEvents), http.StatusBadRequest)
			return
		}
	}
	writeJSON(w, eventList{append([]engine.Event{}, d.Engine.Events(n)...)})
}
