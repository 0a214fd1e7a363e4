package control

import (
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"balance/engine"
	"balance/engine/admit"
	"balance/engine/balancer"
	"balance/engine/health"
	"balance/engine/plane"
	"balance/engine/spec"
)

// What commands answer with -json is what package web answers over HTTP: the
// reports of this file.

// StatusReport is what status and /api/v1/status answer.
type StatusReport struct {
	Version     string        `json:"version"`
	PID         int           `json:"pid"`
	Started     time.Time     `json:"started"`
	Now         time.Time     `json:"now"`
	Generation  uint64        `json:"generation"` // of the configuration in force; 0 before the first
	Stopping    bool          `json:"stopping"`
	Problems    []string      `json:"problems"`     // why it is not ready
	Warnings    []string      `json:"warnings"`     // what is to be seen to, though it is
	Loops       []int         `json:"loops"`        // sessions that each event loop holds
	MaxSessions int           `json:"max_sessions"` // that there may be at a time
	File        string        `json:"file,omitempty"`
	LastReload  *ReloadReport `json:"last_reload,omitempty"` // missing if there was none
	FileDiffers bool          `json:"file_differs"`          // from what is in force
	// Confirm is the change that is undone unless it is confirmed; missing if there is none.
	Confirm   *Unconfirmed     `json:"confirm,omitempty"`
	Write     bool             `json:"http_write"` // whether who asks over HTTP may act there
	Listeners []ListenerReport `json:"listeners"`
}

// ReloadReport is what came of the last reload.
type ReloadReport struct {
	Time   time.Time `json:"time"`
	OK     bool      `json:"ok"`
	Errors []string  `json:"errors"`
	Hash   string    `json:"sha256,omitempty"`
}

// ListenerReport is a picture of a listener.
type ListenerReport struct {
	Name      string            `json:"name"`
	Addresses []string          `json:"addresses"`
	Usable    bool              `json:"usable"` // whether a client could be given a channel, at once or later
	Accepted  uint64            `json:"accepted"`
	Active    int               `json:"active"`
	Max       int               `json:"max_sessions"` // of Active; 0 = no limit
	Rejected  map[string]uint64 `json:"rejected"`     // by reason
	Refused   map[string]uint64 `json:"refused"`      // clients that were not let in, by those reasons that there were
	Greeting  int               `json:"greeting"`     // clients in their greeting
	Greetings int               `json:"max_greeting"` // how many may be
	Sources   int               `json:"sources"`      // of clients, that are kept for their limits
	Ended     []EndedReport     `json:"ended"`        // sessions, by the cause; those alone that there were
	Waiting   int               `json:"waiting"`      // clients in the queue
	Queue     int               `json:"queue"`        // how many may be
	Groups    []GroupReport     `json:"groups"`
}

// EndedReport is how many sessions were ended by whom and how, in the words of the log.
type EndedReport struct {
	By       string `json:"by"`
	How      string `json:"how"`
	Sessions uint64 `json:"sessions"`
}

// ListenersReport is what show and listeners answer.
type ListenersReport struct {
	Listeners []ListenerReport `json:"listeners"`
}

// GroupReport is a picture of a group.
type GroupReport struct {
	Mode     balancer.Mode   `json:"mode"`
	Channels []ChannelReport `json:"channels"`
}

// ChannelReport is a picture of a channel.
type ChannelReport struct {
	Channel   balancer.Key     `json:"channel"`
	Name      string           `json:"name"` // empty if it has none
	Addresses []netip.AddrPort `json:"addresses"`
	Standing
	Active   int               `json:"active"`
	MaxConns int               `json:"maxc"` // 0 = no limit
	Weight   int               `json:"weight"`
	Waiting  int               `json:"waiting"` // clients in the queue who could be given it
	Share    float64           `json:"share"`   // of the sessions of its group, in percent
	Sessions uint64            `json:"connections"`
	Failures map[string]uint64 `json:"connect_errors"` // by reason
	Connect  ConnectTimes      `json:"connect_duration"`
	Sent     uint64            `json:"sent"`
	Received uint64            `json:"received"`
}

// ConnectTimes is how long it took to connect to a channel.
type ConnectTimes struct {
	Count   uint64  `json:"count"`
	Seconds float64 `json:"seconds"` // all together
}

// Report returns the picture of the daemon.
func (d *Daemon) Report() StatusReport {
	snapshot := d.Engine.Snapshot()
	readiness, _ := d.Readiness("")
	s := StatusReport{
		Version:     d.Version,
		PID:         os.Getpid(),
		Started:     d.Started,
		Now:         time.Now(),
		Generation:  snapshot.Generation,
		Stopping:    d.Stopping(),
		Problems:    append([]string{}, readiness.Problems...),
		Warnings:    append([]string{}, readiness.Warnings...),
		Loops:       append([]int{}, snapshot.Loops...),
		MaxSessions: snapshot.MaxSessions,
		File:        d.File,
		Listeners:   []ListenerReport{},
	}
	if d.LastReload != nil {
		if last := d.LastReload(); !last.Time.IsZero() {
			s.LastReload = &ReloadReport{Time: last.Time, OK: last.OK(), Errors: last.Errors(), Hash: last.Hash}
		}
	}
	if d.Unconfirmed != nil {
		s.Confirm = d.Unconfirmed()
	}
	s.FileDiffers = d.FileDiffers != nil && d.FileDiffers()
	for i := range snapshot.Listeners {
		s.Listeners = append(s.Listeners, ReportListener(&snapshot.Listeners[i]))
	}
	return s
}

// ReportListener returns the picture of a listener.
func ReportListener(l *engine.ListenerStatus) ListenerReport {
	s := ListenerReport{
		Name:      l.Name,
		Addresses: append([]string{}, addressesOf(*l)...),
		Usable:    l.Usable,
		Accepted:  l.Accepted,
		Active:    l.Active,
		Max:       l.MaxSessions,
		Rejected:  map[string]uint64{},
		Refused:   map[string]uint64{},
		Greeting:  l.Greeting,
		Greetings: l.MostGreeting,
		Sources:   l.Sources,
		Ended:     []EndedReport{},
		Waiting:   l.Waiting,
		Queue:     l.Queue,
		Groups:    []GroupReport{},
	}
	for reason, n := range l.Reasons {
		s.Rejected[balancer.Rejection(reason).String()] = n
	}
	for why, n := range l.Refused {
		if n > 0 {
			s.Refused[admit.Refusal(why).String()] = n
		}
	}
	for cause := plane.Cause(1); cause < plane.Causes; cause++ {
		if n := l.Ended[cause]; n > 0 {
			s.Ended = append(s.Ended, EndedReport{cause.By(), cause.How(), n})
		}
	}
	for _, g := range l.Groups {
		group := GroupReport{Mode: g.Mode, Channels: []ChannelReport{}}
		for i := range g.Channels {
			group.Channels = append(group.Channels, reportChannel(&g, &g.Channels[i]))
		}
		s.Groups = append(s.Groups, group)
	}
	return s
}

func reportChannel(g *engine.GroupStatus, c *engine.ChannelStatus) ChannelReport {
	s := ChannelReport{
		Channel:   c.Key,
		Name:      c.Name,
		Addresses: c.Addresses,
		Standing:  standingOf(c),
		Active:    c.Active,
		MaxConns:  c.Limit,
		Weight:    c.Weight,
		Waiting:   c.Waiting,
		Share:     g.Share(c),
		Sessions:  c.Sessions,
		Failures:  map[string]uint64{},
		Sent:      c.Sent,
		Received:  c.Received,
	}
	for f := range balancer.Failures {
		s.Failures[f.String()] = c.Dials.Failed(f)
	}
	_, count, sum := c.Dials.Durations.Read()
	s.Connect = ConnectTimes{count, sum.Seconds()}
	return s
}

// Standing is how it stands with a channel.
type Standing struct {
	State  balancer.State `json:"state"`
	Since  time.Time      `json:"since,omitzero"` // missing if it is not known
	Until  time.Time      `json:"until,omitzero"` // when being held off ends
	Reason string         `json:"reason"`
	Check  *CheckReport   `json:"check,omitempty"` // missing if it is not checked
}

// CheckReport is how the checks of a channel stand.
type CheckReport struct {
	Type    spec.CheckType    `json:"type"`
	Target  string            `json:"target"` // host:port
	Health  string            `json:"health"` // what the checks alone say
	Since   time.Time         `json:"since,omitzero"`
	Last    *CheckResult      `json:"last,omitempty"` // missing before the first
	InARow  int               `json:"in_a_row"`       // results like the last one
	Next    time.Time         `json:"next,omitzero"`
	Results map[string]uint64 `json:"results"` // by outcome
}

// CheckResult is what one check came to.
type CheckResult struct {
	Time    time.Time `json:"time"`
	Took    float64   `json:"took_seconds"`
	Outcome string    `json:"outcome"`
	Answer  string    `json:"answer"`
}

func standingOf(c *engine.ChannelStatus) Standing {
	return Standing{State: c.State, Since: c.Since, Until: c.Until, Reason: c.Reason, Check: checkOf(c.Check)}
}

func checkOf(c *health.Status) *CheckReport {
	if c == nil {
		return nil
	}
	s := &CheckReport{
		Type:    c.Target.Check.Type,
		Target:  net.JoinHostPort(c.Target.Host, strconv.Itoa(int(c.Target.Port))),
		Health:  c.Health.String(),
		Since:   c.Since,
		InARow:  c.InARow,
		Next:    c.Next,
		Results: map[string]uint64{},
	}
	if last := c.Last; !last.Time.IsZero() {
		s.Last = &CheckResult{last.Time, last.Took.Seconds(), last.Outcome.String(), last.Answer}
	}
	for outcome := range health.Outcomes {
		s.Results[outcome.String()] = c.Results[outcome]
	}
	return s
}

// HealthReport is what health and /api/v1/health answer.
type HealthReport struct {
	Now       time.Time        `json:"now"`
	Listeners []ListenerHealth `json:"listeners"`
}

// ListenerHealth is how it stands with the channels of a listener.
type ListenerHealth struct {
	Name     string          `json:"name"`
	Usable   bool            `json:"usable"`
	Channels []ChannelHealth `json:"channels"`
}

// ChannelHealth is how it stands with a channel.
type ChannelHealth struct {
	Group   int          `json:"group"`
	Channel balancer.Key `json:"channel"`
	Name    string       `json:"name"` // empty if it has none
	Standing
}

// ReportHealth returns how it stands with the channels of listeners.
func ReportHealth(listeners []engine.ListenerStatus) HealthReport {
	answer := HealthReport{Now: time.Now(), Listeners: []ListenerHealth{}}
	for _, l := range listeners {
		one := ListenerHealth{Name: l.Name, Usable: l.Usable, Channels: []ChannelHealth{}}
		for group := range l.Groups {
			for i := range l.Groups[group].Channels {
				c := &l.Groups[group].Channels[i]
				one.Channels = append(one.Channels, ChannelHealth{group, c.Key, c.Name, standingOf(c)})
			}
		}
		answer.Listeners = append(answer.Listeners, one)
	}
	return answer
}

// EventReport is what events and /api/v1/events answer, the latest at the end.
type EventReport struct {
	Events []engine.Event `json:"events"`
}

// SessionsReport is what sessions and /api/v1/sessions answer. It is written
// session by session.
type SessionsReport struct {
	Total int `json:"total"` // that match the filters
	// Next is the ?after= of the sessions that follow; missing at the end.
	Next     uint64          `json:"next,omitempty"`
	Sessions []SessionReport `json:"sessions"`
}

// SessionReport is a picture of a session.
type SessionReport struct {
	ID       uint64  `json:"id"`
	Client   string  `json:"client"` // "unix" for one of a unix socket
	Peer     string  `json:"peer"`   // the proxy that named the client; empty if none did
	Listener string  `json:"listener"`
	Group    int     `json:"group"`
	Channel  string  `json:"channel"` // empty before the first is tried
	Name     string  `json:"name"`    // of the channel; empty if it has none
	State    string  `json:"state"`
	Age      float64 `json:"age_seconds"`
	Idle     float64 `json:"idle_seconds"`
	Sent     uint64  `json:"sent"` // towards the channel
	Received uint64  `json:"received"`
}

// ReportSession returns the picture of a session, whose channel is called so.
func ReportSession(s *plane.Session, channel string, now time.Time) SessionReport {
	name := ""
	if s.Channel != nil {
		name = s.Channel.Name()
	}
	peer := ""
	if s.Peer != nil {
		peer = s.Peer.String()
	}
	return SessionReport{
		ID:       s.ID,
		Client:   plane.ClientText(s.Client),
		Peer:     peer,
		Listener: s.Listener.Service().Name,
		Group:    s.Group,
		Channel:  channel,
		Name:     name,
		State:    s.State.String(),
		Age:      inSeconds(now.Sub(s.Started)),
		Idle:     inSeconds(now.Sub(s.Active)),
		Sent:     s.Sent,
		Received: s.Received,
	}
}

// inSeconds returns a duration in seconds and milliseconds, never less than 0.
func inSeconds(d time.Duration) float64 {
	return float64(max(d, 0).Milliseconds()) / 1000
}

// WhyReport is what why answers.
type WhyReport struct {
	Client   netip.Addr      `json:"client"`
	Listener string          `json:"listener"`
	Verdicts []VerdictReport `json:"verdicts"` // in the order in which channels are looked at
	// Outcome is "refused" if the client would not be let in, "chosen", "wait" for a
	// place in the queue, or "turned away".
	Outcome string `json:"outcome"`
	Refused string `json:"refused,omitempty"` // why it would not be let in
}

// VerdictReport is what becomes of a channel, or of a whole group that is for other
// clients: Number is -1 then, and Channel the zero Key, which is "" in JSON.
type VerdictReport struct {
	Group   int          `json:"group"`
	Number  int          `json:"number"` // of the channel in its group
	Channel balancer.Key `json:"channel"`
	Name    string       `json:"name"`
	Reason  string       `json:"reason"` // the state for which it is passed over, or "chosen"
	Words   string       `json:"words"`  // the same, with since when and why
}

func reportWhy(client netip.Addr, listener string, verdicts []balancer.Verdict) WhyReport {
	report := WhyReport{Client: client, Listener: listener, Verdicts: []VerdictReport{}}
	for _, v := range verdicts {
		if v.Channel == nil {
			report.Verdicts = append(report.Verdicts, VerdictReport{Group: v.Group, Number: -1, Reason: v.Reason.String(), Words: v.Words})
			continue
		}
		report.Verdicts = append(report.Verdicts, VerdictReport{v.Group, v.Index, v.Channel.Key(), v.Channel.Name(), v.Reason.String(), v.Words})
	}
	return report
}
