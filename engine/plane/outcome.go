package plane

import (
	"sync/atomic"

	"balance/engine/admit"
	"balance/engine/balancer"
)

// Records says what is wanted of sessions beside their end. The zero value wants
// nothing; it may change at any time.
type Records struct {
	Tried atomic.Bool // for Outcome.Tried
	Begin atomic.Bool // for Options.Began
}

// Outcome is what came of a session's greeting and search for a channel.
type Outcome struct {
	Connected bool
	// Rejection is why no channel was to be had, if the session ended for NoChannel.
	Rejection balancer.Rejection
	// Refusal is why the client was not let in, if the session ended for Refused.
	Refusal admit.Refusal
	// Tried are the channels that could not be connected to, at most maxTried, if
	// that is wanted and the session was never connected.
	Tried []Try
	More  int // of them, beyond
}

// Try is one channel that could not be connected to, and why, in printable words.
type Try struct {
	Channel balancer.Key
	Why     string
}

// maxTried bounds what is kept of a client whom no channel answers.
const maxTried = 8

// tried keeps why a channel could not be connected to, if that is wanted.
func (s *Search) tried(channel *balancer.Channel, err error) {
	if s.options.Records == nil || !s.options.Records.Tried.Load() {
		return
	}
	if len(s.outcome.Tried) == maxTried {
		s.outcome.More++
		return
	}
	s.outcome.Tried = append(s.outcome.Tried, Try{channel.Key(), balancer.FailureWords(err)})
}

// BeginSession is to be called when a session begins to relay.
func (o *Options) BeginSession(s Ending) {
	if o.Records != nil && o.Records.Begin.Load() {
		o.Began(s.End().Session)
	}
}
