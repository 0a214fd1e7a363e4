package engine

import (
	"net/netip"
	"time"

	"balance/engine/admit"
)

// Admission is what would become of a client of a listener.
type Admission struct {
	Refusal admit.Refusal // Admitted if it may come in
	Rule    admit.Rule    // of the lists, which decided; its File is "" for the configuration itself
	Ruled   bool          // there is one
	// Proxy tells that a connection from that very address has to begin with a PROXY
	// header, and ProxyRule for which network of the configuration.
	Proxy     bool
	ProxyRule admit.Rule
	Limits    admit.Limits // of one source; zero where nothing is limited
	Source    Source       // its own, and how it stands; its Network is not valid where nothing is limited
}

// Source is what is known of a source of clients.
type Source struct {
	admit.Source
	Since time.Time // since when it is limited; zero if it is not
}

// Admission tells what would become of a client of a listener that came from an
// address now, and counts nothing.
func (e *Engine) Admission(listener string, client netip.Addr) (Admission, error) {
	l, err := e.listener(listener)
	if err != nil || l.edge == nil {
		return Admission{}, err
	}
	a := Admission{Limits: l.edge.Limits}
	_, a.ProxyRule, a.Proxy = l.edge.Peers.Verdict(client)
	admitted, rule, ruled := l.edge.List.Verdict(client)
	a.Rule, a.Ruled = rule, ruled
	now := e.plane.Now()
	refusal, source := l.shared.Sources.Would(&l.edge.Limits, client, now)
	a.Source = e.source(source, now)
	a.Refusal = refusal
	if !admitted {
		a.Refusal = admit.Denied
	}
	return a, nil
}

// Sources returns the busiest sources of the clients of a listener, the busiest first,
// and at most so many of them.
func (e *Engine) Sources(listener string, most int) ([]Source, error) {
	l, err := e.listener(listener)
	if err != nil {
		return nil, err
	}
	now := e.plane.Now()
	var list []Source
	for _, source := range l.shared.Sources.Top(most, now) {
		list = append(list, e.source(source, now))
	}
	return list, nil
}

func (e *Engine) source(s admit.Source, now int64) Source {
	source := Source{Source: s}
	if s.Limited {
		source.Since = e.wall(max(s.Since, 1), now)
	}
	return source
}
