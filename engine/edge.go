package engine

import (
	"balance/engine/admit"
	"balance/engine/plane"
	"balance/engine/spec"
)

// edgeOf returns what the clients of a listener have to pass. If the listener is
// the same as before, and its list, it is what it was.
func edgeOf(l *spec.Listener, list *admit.List, previous *listener, same bool) *plane.Edge {
	if same && (previous.edge == nil || previous.edge.List == list) {
		return previous.edge
	}
	edge := plane.Edge{
		ProxyTimeout: l.ProxyProtocol.Timeout,
		List:         list,
		Limits: admit.Limits{
			MaxSessions: l.Admit.MaxSessions, Rate: l.Admit.Rate, Burst: l.Admit.Burst,
			IPv4Bits: l.Admit.IPv4Bits.Int(), IPv6Bits: l.Admit.IPv6Bits.Int(),
		},
		Reset:        l.Admit.Refuse == spec.ByReset,
		NamesTimeout: l.PrefaceTimeout,
	}
	if accept := networks(l.ProxyProtocol.Accept); len(accept) > 0 {
		var rules []admit.Rule
		for _, network := range accept {
			rules = append(rules, admit.Rule{Network: network, Allow: true})
		}
		edge.Peers = admit.NewList(rules)
	}
	for g := range l.Groups {
		edge.Names = edge.Names || len(l.Groups[g].ServerName) > 0 || len(l.Groups[g].ALPN) > 0
	}
	if edge.Peers == nil && edge.List == nil && !edge.Names && l.Admit.MaxSessions == 0 && l.Admit.Rate == (admit.Rate{}) {
		return nil
	}
	return &edge
}
