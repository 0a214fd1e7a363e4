package plane

import "log/slog"

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
