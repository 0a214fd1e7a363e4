package control

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"balance/engine"
	"balance/engine/admit"
)

// admit tells what would become of a client of the current listener.
func (c *conversation) admit(args []string) Status {
	args, asJSON := option(args, "-json")
	if len(args) != 1 {
		return c.misused("one address is needed")
	}
	addr, err := netip.ParseAddr(args[0])
	if err != nil {
		return c.fail("%q is not an IP address", args[0])
	}
	a, err := c.daemon.Engine.Admission(c.listener, addr)
	if err != nil {
		return c.failed(err)
	}
	if asJSON {
		return c.sayJSON(reportAdmission(addr, c.listener, &a))
	}
	if a.Proxy {
		c.say("%s must begin with a PROXY header, by %s; what follows is for a client whom one names so", addr, ruleWords(a.ProxyRule, "accept"))
	}
	c.say("%s", admissionWords(&a))
	if a.Source.Network.IsValid() {
		c.say("%s", sourceWords(&a))
	}
	return OK
}

// admissionWords says what becomes of the client, and why.
func admissionWords(a *engine.Admission) string {
	switch {
	case a.Refusal == admit.Denied && !a.Ruled:
		return "denied: nothing allows it"
	case a.Refusal == admit.Denied:
		return "denied: by " + listWords(a.Rule)
	case a.Refusal == admit.TooManySessions:
		return "refused: its source has as many sessions as one may have"
	case a.Refusal == admit.TooFast:
		return "refused: its source makes new connections faster than one may"
	case a.Ruled:
		return "admitted: by " + listWords(a.Rule)
	}
	return "admitted: nothing denies it"
}

// listWords says where a rule of the lists stands.
func listWords(r admit.Rule) string {
	key := "deny"
	if r.Allow {
		key = "allow"
	}
	return ruleWords(r, key)
}

func ruleWords(r admit.Rule, key string) string {
	if r.File != "" {
		return fmt.Sprintf("%s, %s:%d", r.Network, printable(r.File), r.Line)
	}
	return fmt.Sprintf("%s, %s of the configuration", r.Network, key)
}

// sourceWords says how the source of the client stands against its limits.
func sourceWords(a *engine.Admission) string {
	words := fmt.Sprintf("source %s: %s", a.Source.Network, count(a.Source.Sessions))
	if most := a.Limits.MaxSessions; most > 0 {
		words += fmt.Sprintf(" of at most %d", most)
	}
	if a.Limits.Rate.Count > 0 {
		words += fmt.Sprintf(", %s new a second of %s", perSecond(a.Source.PerSecond), a.Limits.Rate)
	}
	if a.Source.Refused > 0 {
		words += fmt.Sprintf(", %d refused", a.Source.Refused)
	}
	if !a.Source.Since.IsZero() {
		words += ", limited since " + a.Source.Since.Format(time.TimeOnly)
	}
	return words
}

func perSecond(rate float64) string { return strconv.FormatFloat(rate, 'f', 1, 64) }

// AdmissionReport is what admit answers.
type AdmissionReport struct {
	Client   netip.Addr    `json:"client"`
	Listener string        `json:"listener"`
	Outcome  string        `json:"outcome"` // "admitted", or the reason for which it is refused
	Words    string        `json:"words"`
	Network  string        `json:"network"` // of the rule that decided; empty if none did
	File     string        `json:"file"`    // where it stands; empty for the configuration
	Line     int           `json:"line"`
	Proxy    bool          `json:"proxy"`  // the address itself must begin with a PROXY header
	Source   *SourceReport `json:"source"` // null if nothing limits it
}

// SourceReport is a picture of a source of clients.
type SourceReport struct {
	Network   netip.Prefix `json:"network"`
	Sessions  int          `json:"sessions"`
	PerSecond float64      `json:"new_per_second"`
	Refused   uint64       `json:"refused"`
	Limited   *time.Time   `json:"limited_since"` // null if it is not
}

func reportAdmission(client netip.Addr, listener string, a *engine.Admission) AdmissionReport {
	report := AdmissionReport{Client: client, Listener: listener, Outcome: a.Refusal.String(), Words: admissionWords(a), Proxy: a.Proxy}
	if a.Ruled {
		report.Network, report.File, report.Line = a.Rule.Network.String(), a.Rule.File, a.Rule.Line
	}
	if a.Source.Network.IsValid() {
		source := reportSource(&a.Source)
		report.Source = &source
	}
	return report
}

func reportSource(s *engine.Source) SourceReport {
	report := SourceReport{Network: s.Network, Sessions: s.Sessions, PerSecond: s.PerSecond, Refused: uint64(s.Refused)}
	if !s.Since.IsZero() {
		report.Limited = &s.Since
	}
	return report
}

// SourcesReport is what sources answers.
type SourcesReport struct {
	Listener string         `json:"listener"`
	Sources  []SourceReport `json:"sources"` // the busiest first
	More     int            `json:"more"`    // that are known
}

// sources lists the busiest sources of the current listener.
func (c *conversation) sources(args []string) Status {
	args, asJSON := option(args, "-json")
	n := 20
	if len(args) > 1 {
		return c.misused("one number may follow")
	}
	if len(args) > 0 {
		var err error
		if n, err = strconv.Atoi(args[0]); err != nil || n < 1 || n > admit.MaxTop {
			return c.misused("%.60q is not a number from 1 to %d", args[0], admit.MaxTop)
		}
	}
	list, err := c.daemon.Engine.Sources(c.listener, n)
	if err != nil {
		return c.failed(err)
	}
	l, _ := c.current()
	more := max(l.Sources-len(list), 0)
	if asJSON {
		report := SourcesReport{Listener: c.listener, Sources: []SourceReport{}, More: more}
		for i := range list {
			report.Sources = append(report.Sources, reportSource(&list[i]))
		}
		return c.sayJSON(report)
	}
	rows := [][]string{{"source", "sessions", "new/s", "refused", "limited since"}}
	for i := range list {
		s := &list[i]
		since := "-"
		if !s.Since.IsZero() {
			since = s.Since.Format(time.TimeOnly)
		}
		rows = append(rows, []string{s.Network.String(), strconv.Itoa(s.Sessions), perSecond(s.PerSecond), fmt.Sprint(s.Refused), since})
	}
	c.reply.add(table(rows, make([]int, len(rows[0])))...)
	if more > 0 {
		c.say("and %d more", more)
	}
	return OK
}
