// Package balancer decides which channel serves a client. It does no I/O and
// has no clock: a data plane asks it for channels, tells it what came of them,
// and says each time what time it is, in nanoseconds of a clock of its own that
// never goes back.
//
//	route := router.Route(client, now)
//	for route.Next(now) == balancer.Dial {
//		conn, err := dial(route.Channel())
//		if err != nil {
//			route.Failed(err, now)
//			continue
//		}
//		route.Connected(took, now)
//		relay(conn)
//		break
//	}
//	route.Close(now)
package balancer

// Options are the rules that hold for all groups of a router.
type Options struct {
	// AutoDisable takes a channel out of service when connecting to it fails.
	AutoDisable bool
	// HashFailover lets a hash group try its other channels, in the order of
	// the client's preference, when its first cannot serve the client.
	HashFailover bool
}

// Group is a set of channels that are chosen from in one way.
type Group struct {
	Mode     Mode
	Channels []*Channel
}

// Router holds the groups of a listener in the order in which they are tried.
// It does not change after NewRouter, but for the turns of its groups.
type Router struct {
	groups  []Group
	pickers []picker // of the groups
	options Options
}

// NewRouter returns a router over the groups, which belong to it from then on.
// Where a round robin group stands in the place of one of the previous router,
// which may be nil, the turn goes on with the channel whose turn it was.
func NewRouter(groups []Group, options Options, previous *Router) *Router {
	r := &Router{groups: groups, options: options}
	for i := range groups {
		picker := newPicker(&groups[i], options)
		if previous != nil && i < len(previous.pickers) {
			picker.follow(previous.pickers[i])
		}
		r.pickers = append(r.pickers, picker)
	}
	return r
}

// Groups returns the groups, which are not to be written to.
func (r *Router) Groups() []Group { return r.groups }
