package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"time"

	"balance/engine"
	"balance/engine/balancer"
	"balance/engine/plane"
)

// status is what /api/v1/status answers.
type status struct {
	Version     string           `json:"version"`
	PID         int              `json:"pid"`
	Started     time.Time        `json:"started"`
	Now         time.Time        `json:"now"`
	Generation  uint64           `json:"generation"` // of the configuration in force; 0 before the first
	Stopping    bool             `json:"stopping"`
	Problems    []string         `json:"problems"`     // why it is not ready
	Warnings    []string         `json:"warnings"`     // what is to be seen to, though it is
	Loops       []int            `json:"loops"`        // sessions that each event loop holds
	MaxSessions int              `json:"max_sessions"` // that there may be at a time
	File        string           `json:"file,omitempty"`
	LastReload  *reloadStatus    `json:"last_reload,omitempty"` // missing if there was none
	Listeners   []listenerStatus `json:"listeners"`
}

type reloadStatus struct {
	Time   time.Time `json:"time"`
	OK     bool      `json:"ok"`
	Errors []string  `json:"errors"`
	Hash   string    `json:"sha256,omitempty"`
}

type listenerStatus struct {
	Name      string            `json:"name"`
	Addresses []string          `json:"addresses"`
	Usable    bool              `json:"usable"` // whether a client could be given a channel, at once or later
	Accepted  uint64            `json:"accepted"`
	Active    int               `json:"active"`
	Max       int               `json:"max_sessions"` // of Active; 0 = no limit
	Rejected  map[string]uint64 `json:"rejected"`     // by reason
	Ended     []endedStatus     `json:"ended"`        // sessions, by the cause; those alone that there were
	Waiting   int               `json:"waiting"`      // clients in the queue
	Queue     int               `json:"queue"`        // how many may be
	Groups    []groupStatus     `json:"groups"`
}

// endedStatus is how many sessions were ended by whom and how, in the words of the log.
type endedStatus struct {
	By       string `json:"by"`
	How      string `json:"how"`
	Sessions uint64 `json:"sessions"`
}

type groupStatus struct {
	Mode     balancer.Mode   `json:"mode"`
	Channels []channelStatus `json:"channels"`
}

type channelStatus struct {
	Channel   balancer.Key     `json:"channel"`
	Name      string           `json:"name"` // empty if it has none
	Addresses []netip.AddrPort `json:"addresses"`
	standing
	Active   int               `json:"active"`
	MaxConns int               `json:"maxc"` // 0 = no limit
	Weight   int               `json:"weight"`
	Share    float64           `json:"share"` // of the sessions of its group, in percent
	Sessions uint64            `json:"connections"`
	Failures map[string]uint64 `json:"connect_errors"` // by reason
	Connect  connectTimes      `json:"connect_duration"`
	Sent     uint64            `json:"sent"`
	Received uint64            `json:"received"`
}

type connectTimes struct {
	Count   uint64  `json:"count"`
	Seconds float64 `json:"seconds"` // all together
}

func (d *Daemon) serveStatus(w http.ResponseWriter, _ *http.Request) {
	snapshot := d.Engine.Snapshot()
	readiness, _ := d.Readiness("")
	s := status{
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
		Listeners:   []listenerStatus{},
	}
	if d.LastReload != nil {
		if last := d.LastReload(); !last.Time.IsZero() {
			s.LastReload = &reloadStatus{Time: last.Time, OK: last.OK(), Errors: last.Errors(), Hash: last.Hash}
		}
	}
	for i := range snapshot.Listeners {
		s.Listeners = append(s.Listeners, statusOf(&snapshot.Listeners[i]))
	}
	writeJSON(w, s)
}

func statusOf(l *engine.ListenerStatus) listenerStatus {
	s := listenerStatus{
		Name:      l.Name,
		Addresses: []string{},
		Usable:    l.Usable,
		Accepted:  l.Accepted,
		Active:    l.Active,
		Max:       l.MaxSessions,
		Ended:     []endedStatus{},
		Rejected:  map[string]uint64{},
		Waiting:   l.Waiting,
		Queue:     l.Queue,
		Groups:    []groupStatus{},
	}
	for _, addr := range l.Addresses {
		text := addr.String()
		if !addr.Addr().IsValid() {
			text = fmt.Sprintf(":%d", addr.Port())
		}
		s.Addresses = append(s.Addresses, text)
	}
	for reason, n := range l.Reasons {
		s.Rejected[balancer.Rejection(reason).String()] = n
	}
	for cause := plane.Cause(1); cause < plane.Causes; cause++ {
		if n := l.Ended[cause]; n > 0 {
			s.Ended = append(s.Ended, endedStatus{cause.By(), cause.How(), n})
		}
	}
	for _, g := range l.Groups {
		group := groupStatus{Mode: g.Mode, Channels: []channelStatus{}}
		for i := range g.Channels {
			group.Channels = append(group.Channels, statusOfChannel(&g, &g.Channels[i]))
		}
		s.Groups = append(s.Groups, group)
	}
	return s
}

func statusOfChannel(g *engine.GroupStatus, c *engine.ChannelStatus) channelStatus {
	s := channelStatus{
		Channel:   c.Key,
		Name:      c.Name,
		Addresses: c.Addresses,
		standing:  standingOf(c),
		Active:    c.Active,
		MaxConns:  c.Limit,
		Weight:    c.Weight,
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
	s.Connect = connectTimes{count, sum.Seconds()}
	return s
}

// writeJSON answers with a value that can always be encoded. An error is that
// of the connection, which ends with it.
func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(value)
}
