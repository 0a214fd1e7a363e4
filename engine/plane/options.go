package plane

import (
	"context"
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
	// Budget, if not nil, bounds what the sessions keep for receivers that do
	// not take it.
	Budget *Budget
}

// Overfull logs that sessions were ended because of the bytes that were kept.
func (o *Options) Overfull(sessions int, kept int64) {
	o.Log.Warn("too much is buffered, the sessions that were stuck longest are reset", "sessions", sessions, "bytes", kept)
}

// Failed tells the route that connecting to its channel failed with err, and
// logs it: loudly only if it changes something about the channel or if this
// machine is to blame, and once a second.
func (o *Options) Failed(service *Service, route *balancer.Route, err error, now int64) {
	channel, group := route.Channel(), route.Group()
	change := route.Failed(err, now)
	text, throttle := "channel fails", &channel.Failings
	switch {
	case change == balancer.Disabled:
		o.Log.Warn("channel autodisabled", "listener", service.Name, "group", group, "channel", channel.Key(), "error", err)
		return
	case change == balancer.Failing:
		throttle.Add()
	case balancer.Local(err):
		text, throttle = "cannot dial", &service.complaints
		throttle.Add()
	}
	if !o.tell(now, throttle, slog.LevelWarn, text, service, group, channel, "error", err) {
		o.Log.Debug("channel fails", "listener", service.Name, "group", group, "channel", channel.Key(), "error", err)
	}
}

// Connected tells the route that its channel answered, and after how long, and
// logs it if that is news, once a second.
func (o *Options) Connected(service *Service, route *balancer.Route, took time.Duration, now int64) {
	channel := route.Channel()
	if route.Connected(took, now) == balancer.Recovered {
		channel.Recoveries.Add()
	}
	o.tell(now, &channel.Recoveries, slog.LevelInfo, "channel answers again", service, route.Group(), channel)
}

// tell logs a line if there is something to tell that may be told now, and how
// many like it were left out before. What had to wait is told by the next that
// finds the same, so that the last word of the log is not one that was true a
// moment only.
func (o *Options) tell(now int64, throttle *balancer.Throttle, level slog.Level, text string, service *Service, group int, channel *balancer.Channel, more ...any) bool {
	if !throttle.Pending() {
		return false
	}
	n := throttle.Take(now)
	if n == 0 {
		return false
	}
	attrs := append([]any{"listener", service.Name, "group", group, "channel", channel.Key()}, more...)
	if n > 1 {
		attrs = append(attrs, "left_out", n-1)
	}
	o.Log.Log(context.Background(), level, text, attrs...)
	return true
}
