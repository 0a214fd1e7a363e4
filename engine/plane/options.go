package plane

import (
	"log/slog"
	"time"

	"balance/engine/balancer"
)

// Options are what a plane is made with.
type Options struct {
	Log *slog.Logger
	// Ended is called once for each client that was accepted, when its
	// session has ended. It must not block.
	Ended func(End)
	// Pipes is how many pipes there may be, 0 for as many as the plane likes.
	Pipes int
	// Dump, if not nil, is shown every chunk that is relayed.
	Dump *Dump
}

// Failed tells the route that connecting to its channel failed with err, and
// logs it: loudly only if it changes something about the channel or, once a
// second, if this machine is to blame.
func (o *Options) Failed(service *Service, route *balancer.Route, err error) {
	channel, group := route.Channel(), route.Group()
	change := route.Failed(err)
	switch {
	case change == balancer.Disabled:
		o.Log.Warn("channel autodisabled", "listener", service.Name, "group", group, "channel", channel.Key(), "error", err)
	case change == balancer.Failing:
		o.Log.Warn("channel fails", "listener", service.Name, "group", group, "channel", channel.Key(), "error", err)
	case balancer.Local(err) && service.complain(time.Now()):
		o.Log.Warn("cannot dial", "listener", service.Name, "group", group, "channel", channel.Key(), "error", err)
	default:
		o.Log.Debug("channel fails", "listener", service.Name, "group", group, "channel", channel.Key(), "error", err)
	}
}

// Connected tells the route that its channel answered, and after how long, and
// logs it if that is news.
func (o *Options) Connected(service *Service, route *balancer.Route, took time.Duration) {
	if route.Connected(took) == balancer.Recovered {
		o.Log.Info("channel answers again", "listener", service.Name, "group", route.Group(), "channel", route.Channel().Key())
	}
}
