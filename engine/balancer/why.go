package balancer

import "fmt"

// Verdict is what a router would say about one channel to a client, or about a whole
// group, which is NotFor it.
type Verdict struct {
	Group   int
	Index   int      // of the channel in the group
	Channel *Channel // nil of a group
	Reason  Reason
	Words   string // the reason, with since when and why
}

// Reason is the state for which a channel would be passed over, or Chosen.
type Reason State

// Reasons that are told apart from the rest.
const (
	Chosen = Reason(StateUp)
	IsFull = Reason(StateFull)
	NotFor = Reason(StateRemoved + 1) // the group is for other clients
)

// String returns the reason in a word.
func (r Reason) String() string {
	switch r {
	case Chosen:
		return "chosen"
	case NotFor:
		return "for others"
	}
	return State(r).String()
}

// Why returns the channels that a journey of the client would come by now, in
// their order, and the groups that are for others between them: one that is held off when its turn is, and again if nothing better
// is left. The last is Chosen; where none is, the client would be turned away. It
// reserves nothing and takes no turn, so another client may come first.
func (r *Router) Why(client Client, now int64) []Verdict {
	var verdicts []Verdict
	route := r.Route(client, now)
	var demand *demand
	if r != nil {
		demand = r.demand()
	}
	looked := 0 // at as many groups
	for channel := route.candidate(now, demand, true); channel != nil; channel = route.candidate(now, demand, true) {
		route.pass()
		verdicts = route.passedOver(verdicts, looked)
		looked = route.Group()
		ask := r.question(route.Group(), now)
		ask.demand = demand
		verdict := route.verdict(channel, ask)
		verdicts = append(verdicts, verdict)
		if verdict.Reason == Chosen {
			return verdicts
		}
	}
	verdicts = route.passedOver(verdicts, looked)
	route.tried = nil
	if channel := route.leftover(now); channel != nil {
		ask := r.question(route.Group(), now)
		ask.obstacles &^= held
		verdicts = append(verdicts, route.verdict(channel, ask))
	}
	return verdicts
}

// passedOver appends what there is to say of the groups before the current one, from
// that number on, which are not for the client.
func (r *Route) passedOver(verdicts []Verdict, from int) []Verdict {
	for g := from; g < int(r.group); g++ {
		if For := r.router.groups[g].For; !For.Has(r.asks) {
			verdicts = append(verdicts, Verdict{Group: g, Reason: NotFor, Words: "passed over: " + For.lacks(r.asks)})
		}
	}
	return verdicts
}

// verdict tells what becomes of the channel that the route has come to.
func (r *Route) verdict(channel *Channel, ask question) Verdict {
	verdict := Verdict{Group: r.Group(), Index: int(r.place.number - 1), Channel: channel, Reason: ask.verdict(channel)}
	standing := channel.Standing(ask.now)
	var words string
	if verdict.Reason == Chosen && !r.over {
		var over bool
		if words, over = r.router.pickers[r.group].says(r.client, r.place, ask); over {
			verdict.Reason, verdict.Words = IsFull, words
			return verdict
		}
	}
	switch {
	case verdict.Reason == IsFull:
		most := ask.most(channel, channel.state.Load())
		verdict.Words = fmt.Sprintf("full, %d of %d", channel.Active(), most)
		if most < uint64(channel.Limit()) {
			verdict.Words += fmt.Sprintf(" while it starts, later %d", channel.Limit())
		}
	case verdict.Reason == Reason(StateWeightless):
		verdict.Words = "weight 0: no new clients"
	case verdict.Reason != Chosen:
		verdict.Words = standing.Words(ask.now)
	case standing.State == StateDown:
		verdict.Words = fmt.Sprintf("chosen although it is down: fewer than %d %% of the group are up", r.router.options.Panic)
	case standing.State == StateHeld:
		verdict.Words = "chosen although it is held off: nothing better is left"
	case standing.State == StateFailing, standing.State == StateSlow:
		verdict.Words = "chosen although it is " + standing.Words(ask.now)
	default:
		verdict.Words = "chosen"
		if words != "" {
			verdict.Words += ": " + words
		}
	}
	return verdict
}
