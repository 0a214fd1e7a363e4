package balancer

// Verdict is what a router would say about one channel to a client.
type Verdict struct {
	Group   int
	Index   int // of the channel in the group
	Channel *Channel
	Reason  Reason
}

// Reason is the state for which a channel would be passed over, or Chosen.
// StateFailing is none.
type Reason State

// Reasons that are told apart from the rest.
const (
	Chosen = Reason(StateUp)
	IsFull = Reason(StateFull)
)

// String returns the reason in words.
func (r Reason) String() string {
	switch r {
	case Chosen:
		return "chosen"
	case Reason(StateUnresolved):
		return "its host does not resolve"
	case Reason(StateAutoDisabled):
		return "disabled because connecting to it failed"
	}
	return State(r).String()
}

// reason returns why the channel could not be given a slot now, or Chosen.
func (c *Channel) reason() Reason { return Reason(c.obstacle(c.state.Load())) }

// Why returns the channels that a journey of the client would come by now, in
// their order. The last is Chosen; where none is, the client would be turned
// away. It reserves nothing and takes no turn, so another client may come
// first.
func (r *Router) Why(client Client, now int64) []Verdict {
	var verdicts []Verdict
	route := r.Route(client, now)
	for channel := route.candidate(false); channel != nil; channel = route.candidate(false) {
		reason := channel.reason()
		verdicts = append(verdicts, Verdict{Group: route.Group(), Index: int(route.place.number - 1), Channel: channel, Reason: reason})
		if reason == Chosen {
			break
		}
	}
	return verdicts
}
