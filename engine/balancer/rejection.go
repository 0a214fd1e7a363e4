package balancer

// Rejection is why a client found no channel.
type Rejection uint8

// The rejections.
const (
	NoneInService Rejection = iota // every channel is disabled, or without an address
	AllFull                        // a channel in service has no slot left
	NoneAnswered                   // connecting to at least one channel was tried, and failed
	AllDown                        // a channel in service is down by its check, and none is full
	QueueFull                      // it could have waited, but too many did
	QueueTimeout                   // it waited for a slot for too long
	TooLate                        // it was not connected in the time that all attempts have together
	ForOthers                      // no group is for it (see Group.For)
	Rejections                     // how many there are
)

// String returns the rejection in a word or two.
func (r Rejection) String() string {
	return [Rejections]string{
		NoneInService: "disabled",
		AllFull:       "full",
		NoneAnswered:  "failed",
		AllDown:       "down",
		QueueFull:     "queue full",
		QueueTimeout:  "queue timeout",
		TooLate:       "deadline",
		ForOthers:     "for others",
	}[r]
}

// Rejection returns why the route, which has come to its end, found no
// channel. It looks at the channels as they are now.
func (r *Route) Rejection() Rejection {
	if r.refused {
		return r.refusal
	}
	if r.failed {
		return NoneAnswered
	}
	if r.router == nil {
		return NoneInService
	}
	rejection := ForOthers
	if len(r.router.groups) == 0 {
		rejection = NoneInService
	}
	for g := range r.router.groups {
		if !r.router.groups[g].For.Has(r.asks) {
			continue
		}
		if rejection == ForOthers {
			rejection = NoneInService
		}
		ask := r.router.question(g, 0)
		ask.obstacles &^= held
		for _, channel := range r.router.groups[g].Channels {
			switch ask.verdict(channel) {
			case IsFull:
				return AllFull
			case Reason(StateDown):
				rejection = AllDown
			}
		}
	}
	return rejection
}

func (r *Route) refuse(why Rejection) { r.refused, r.refusal = true, why }
