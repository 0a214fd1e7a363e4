package plane

import (
	"log/slog"

	"balance/engine/balancer"
)

// Options are what a plane is made with.
type Options struct {
	Log *slog.Logger
	// Ended is called once for each client that was accepted, when its
	// session has ended. It must not block.
	Ended func(End)
	// Records, if not nil, says what is wanted beside that.
	Records *Records
	// Began is called when a session begins to relay, if Records wants that. It
	// must not block.
	Began func(Session)
	// Tried, if not nil, is told what an attempt to connect to a channel came to,
	// if it failed or if it is news that it did not; err is nil then. It is called
	// on the loops, often if much fails, so it must not block nor take long.
	Tried func(listener *Listener, channel *balancer.Channel, change balancer.Change, err error)
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
