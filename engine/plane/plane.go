// Package plane is the contract between the engine and a data plane: what a
// plane is given (listeners and their services), what it offers (acceptors and
// sessions), and the parts that every plane needs alike.
package plane

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"balance/engine/admit"
	"balance/engine/balancer"
	"balance/engine/socket"
)

// Plane accepts clients, connects them to channels and relays their bytes.
// All methods may be called from any goroutine.
type Plane interface {
	// Adopt returns what accepts clients from the socket, which is still the
	// caller's to close, once that has stopped; then it may be adopted again, too.
	// It accepts nobody before Serve.
	Adopt(*socket.Socket) (Acceptor, error)
	// SetMaxSessions says how many sessions there may be. While there are as
	// many, clients wait in the queues of their sockets. At first there may be
	// any number.
	SetMaxSessions(n int)
	// Now returns the time on the clock that the plane tells routers.
	Now() int64
	// Sessions calls yield for each session until it returns false.
	// Sessions that begin or end meanwhile may be missed.
	Sessions(yield func(Session) bool)
	// Loops returns how many sessions each event loop holds; nothing if the
	// plane has no loops.
	Loops() []int
	// Abort ends with a reset, and for the cause given, the sessions that
	// match, and returns how many they were. It does not wait for their end.
	Abort(cause Cause, match func(*Session) bool) int
	// Finish ends in order, as Finishing has it, and for the cause given, the
	// sessions that match and are not finished already, and returns how many they
	// were. It does not wait for their end.
	Finish(cause Cause, match func(*Session) bool) int
	// Shutdown waits until the last session has ended. When ctx ends first it
	// aborts the rest, and returns once they have ended. All acceptors must
	// have been stopped before.
	Shutdown(ctx context.Context)
}

// Acceptor accepts clients from a socket that a plane has adopted. One goroutine
// at a time may call its methods.
type Acceptor interface {
	socket.Acceptor
	// Serve starts accepting clients for the listener. Called again, it gives
	// the clients that are accepted from then on to another listener, or to the
	// service that the listener has now.
	Serve(*Listener)
}

// Listener is what a plane knows of a listener. It outlives every
// configuration that names the listener, and every session that it accepted.
type Listener struct {
	service   atomic.Pointer[Service]
	seats     seats // see Places
	complaint Complaint
	crowd     crowd
	refusals  [admit.Refusals]balancer.Throttle // for the log

	// Queue is where its clients wait; those of its routers are made with it.
	Queue balancer.Queue

	Accepted atomic.Uint64                      // clients accepted
	Rejected [balancer.Rejections]atomic.Uint64 // clients for whom no channel was found, by the reason
	Ended    [Causes]atomic.Uint64              // sessions that have ended, by the cause; the engine counts them
	Refused  [admit.Refusals]atomic.Uint64      // clients that were not let in, by the reason
	Sources  *admit.Sources                     // of its clients; set before the listener is used, not nil
}

// Service returns what is in force now: sessions ask again each time they
// need a setting, so a running session follows a change.
func (l *Listener) Service() *Service { return l.service.Load() }

// SetService replaces what is in force. Clients in the queue go on waiting, in the
// new router; Queue.Review is to be called for those who need not any more.
func (l *Listener) SetService(s *Service) {
	old := l.service.Load()
	l.Queue.Follow(s.Router, s.QueueSize, func() { l.service.Store(s) })
	if old != nil && (old.QueueTimeout != s.QueueTimeout || old.ConnectDeadline != s.ConnectDeadline) {
		l.Queue.Rouse()
	}
}

// Service is how a listener serves its clients under one configuration. It is
// not written to after SetService, and not copied.
type Service struct {
	Name             string
	Router           *balancer.Router
	Source           netip.Addr    // to dial from; the zero Addr for any
	ConnectTimeout   time.Duration // for one channel, all its addresses together
	IdleTimeout      time.Duration // 0 = never
	HalfCloseTimeout time.Duration // 0 = never
	MaxAge           time.Duration // of a session, which is finished then; 0 = any
	MaxAgeJitter     int           // how many percent of MaxAge, at random, it may be older
	MaxSessions      int           // at a time; beyond, clients are not accepted. 0 = any number
	KeepAlive        time.Duration // between probes; 0 = off
	UserTimeout      time.Duration // as socket.SetUserTimeout has it
	QueueSize        int           // how many clients may wait for a slot
	QueueTimeout     time.Duration // for how long; 0 = for ever
	ConnectDeadline  time.Duration // for a client to be connected, from the queue to the last attempt; 0 = never
	Transparent      bool          // dial from the address of the client
	Edge             *Edge         // nil if clients are asked nothing
	// ResetUnserved resets clients for whom no channel can be had; else they are
	// closed.
	ResetUnserved bool

	complaints balancer.Throttle // for the log: that this machine cannot dial
}

// Session is a picture of one session.
type Session struct {
	ID       uint64          // counts from 1 in the life of the plane
	Client   netip.AddrPort  // not valid for one of a unix socket
	Peer     *netip.AddrPort // who has connected, where a PROXY header names another; nil else
	Listener *Listener
	Channel  *balancer.Channel // nil until the first is tried
	Group    int               // of the channel, when it was chosen
	State    State
	Started  time.Time
	Active   time.Time // when a byte last moved
	Sent     uint64    // bytes towards the channel
	Received uint64    // bytes from the channel
	Owed     bool      // the last byte that moved went to the channel
	Leaving  bool      // is being finished
}

// State is where a session stands:
//
//	greeting ──► queued ◄──► dialing ──► relaying ──► half-closed ──► closed
//	   └────────────┴───────────┴───────────┴───────────────────────────►
type State uint8

// The states of a session.
const (
	Dialing State = iota
	Queued        // waits for a slot
	Relaying
	HalfClosed
	Closed
	Greets // see Greeting
)

// String returns the state in words.
func (s State) String() string {
	return [...]string{"dialing", "queued", "relaying", "half-closed", "closed", "greeting"}[s]
}

// End is a session that has ended, and why.
type End struct {
	Session
	Outcome
	Cause Cause
	Err   error // of the connection that broke, if one did
}

// Cause is why a session ended.
type Cause uint8

// The causes. A session that both peers finished counts for the one that
// finished first.
const (
	ClientClosed Cause = iota + 1
	ChannelClosed
	ClientFailed  // reset, or timed out by keep-alive
	ChannelFailed // likewise
	NoChannel
	IdleTimeout
	HalfCloseTimeout
	Shutdown
	Operator
	Removed
	Overfull    // what it kept for a receiver was too much for the process
	ChannelDown // a check took its channel down
	MovedBack   // a channel that comes earlier is up again
	MaxAge
	Rebalanced // its channel had more than its share
	QueueFull  // too many waited for a slot
	QueueTimeout
	ConnectDeadline
	Refused // see Outcome.Refusal
	Causes  // is none: their number, and one
)

var causes = [...]struct{ by, how string }{
	ClientClosed:     {"client", "closed"},
	ChannelClosed:    {"channel", "closed"},
	ClientFailed:     {"client", "failed"},
	ChannelFailed:    {"channel", "failed"},
	NoChannel:        {"balance", "no channel"},
	IdleTimeout:      {"balance", "idle timeout"},
	HalfCloseTimeout: {"balance", "half-close timeout"},
	Shutdown:         {"balance", "shutdown"},
	Operator:         {"operator", "closed"},
	Removed:          {"balance", "removed from the configuration"},
	Overfull:         {"balance", "too much is buffered"},
	ChannelDown:      {"balance", "the channel is down"},
	MovedBack:        {"balance", "an earlier channel is up again"},
	MaxAge:           {"balance", "max age"},
	Rebalanced:       {"balance", "rebalanced"},
	QueueFull:        {"balance", "queue full"},
	QueueTimeout:     {"balance", "queue timeout"},
	ConnectDeadline:  {"balance", "connect deadline"},
	Refused:          {"balance", "refused"},
}

// By returns who ended the session: client, channel, operator or balance.
func (c Cause) By() string { return causes[c].by }

// How returns how the session was ended.
func (c Cause) How() string { return causes[c].how }
