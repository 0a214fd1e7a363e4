// Package plane is the contract between the engine and a data plane: what a
// plane is given (listeners and their services), what it offers (sockets and
// sessions), and the parts that every plane needs alike.
package plane

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"balance/engine/balancer"
)

// Plane accepts clients, connects them to channels and relays their bytes.
// All methods may be called from any goroutine.
type Plane interface {
	// Listen opens a listening socket at addr as Open does. It accepts nobody
	// before Serve. The caller ends it with Close or Retire.
	Listen(ctx context.Context, addr netip.AddrPort, shared bool) (Socket, error)
	// SetMaxSessions says how many sessions there may be. While there are as
	// many, clients wait in the queues of their sockets. At first there may be
	// any number.
	SetMaxSessions(n int)
	// Sessions calls yield for each session until it returns false.
	// Sessions that begin or end meanwhile may be missed.
	Sessions(yield func(Session) bool)
	// Loops returns how many sessions each event loop holds; nothing if the
	// plane has no loops.
	Loops() []int
	// Abort ends with a reset, and for the cause given, the sessions that
	// match, and returns how many they were. It does not wait for their end.
	Abort(cause Cause, match func(*Session) bool) int
	// Shutdown waits until the last session has ended. When ctx ends first it
	// aborts the rest, and returns once they have ended. All sockets must
	// have been closed before.
	Shutdown(ctx context.Context)
}

// Socket is a listening socket.
type Socket interface {
	// Addr returns the address that the socket is bound to. Its port is never
	// 0, and its address is the zero Addr if the socket takes IPv4 and IPv6
	// on every address.
	Addr() netip.AddrPort
	// Serve starts accepting clients for the listener. Called again, it gives
	// the clients that are accepted from then on to another listener.
	Serve(*Listener)
	// Share says whether another socket may be bound to an overlapping
	// address. It fails with net.ErrClosed once the socket is closed.
	Share(bool) error
	// Retire keeps new clients away (see Divert), accepts those who wait in
	// the queue or are on their way into it, then closes the socket. It
	// returns when the socket is closed: that is when ctx has ended, or after
	// RetireTimeout, even if somebody still comes.
	Retire(ctx context.Context)
	// Close closes the socket. The clients that wait in its queue are reset.
	Close() error
}

// RetireTimeout bounds the emptying of the queue of a socket that is retired.
// New clients may keep it from getting empty where they cannot be kept away, and
// so may a client who completes one handshake after the other, each of which he
// may leave half-open for about a minute (tcp_synack_retries in tcp(7)).
const RetireTimeout = 2 * time.Second

// Listener is what a plane knows of a listener. It outlives every
// configuration that names the listener, and every session that it accepted.
type Listener struct {
	service atomic.Pointer[Service]

	Accepted atomic.Uint64                      // clients accepted
	Rejected [balancer.Rejections]atomic.Uint64 // clients for whom no channel was found, by the reason
	Ended    atomic.Uint64                      // sessions that have ended; the engine counts them
}

// Reject counts a client for whom the route has found no channel.
func (l *Listener) Reject(route *balancer.Route) { l.Rejected[route.Rejection()].Add(1) }

// Service returns what is in force now: sessions ask again each time they
// need a setting, so a running session follows a change.
func (l *Listener) Service() *Service { return l.service.Load() }

// SetService replaces what is in force.
func (l *Listener) SetService(s *Service) { l.service.Store(s) }

// Service is how a listener serves its clients under one configuration. It is
// not written to after SetService, and not copied.
type Service struct {
	Name             string
	Router           *balancer.Router
	Source           netip.Addr    // to dial from; the zero Addr for any
	ConnectTimeout   time.Duration // for one channel, all its addresses together
	IdleTimeout      time.Duration // 0 = never
	HalfCloseTimeout time.Duration // 0 = never
	KeepAlive        time.Duration // between probes; 0 = off
	UserTimeout      time.Duration // as SetUserTimeout has it

	complaints balancer.Throttle // for the log: that this machine cannot dial
}

// Session is a picture of one session.
type Session struct {
	ID       uint64 // counts from 1 in the life of the plane
	Client   netip.AddrPort
	Listener *Listener
	Channel  *balancer.Channel // nil until the first is tried
	Group    int               // of the channel, when it was chosen
	State    State
	Started  time.Time
	Active   time.Time // when a byte last moved
	Sent     uint64    // bytes towards the channel
	Received uint64    // bytes from the channel
}

// Parting is how a session ends one side of which has broken. What came from
// that side before still goes to the other, for as long as that takes it; when
// there is nothing left, or nothing of it was taken for so long since then, the
// reset is passed on. What comes from the other side is dropped.
const Parting = time.Second

// PartingLook is how often a plane looks whether the kernel has sent the rest,
// which no event tells.
const PartingLook = 10 * time.Millisecond

// State is where a session stands:
//
//	dialing ──► relaying ──► half-closed ──► closed
//	   └───────────┴──────────────────────────►
type State uint8

// The states of a session.
const (
	Dialing State = iota
	Relaying
	HalfClosed
	Closed
)

// String returns the state in words.
func (s State) String() string {
	return [...]string{"dialing", "relaying", "half-closed", "closed"}[s]
}

// End is a session that has ended, and why.
type End struct {
	Session
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
	Overfull // what it kept for a receiver was too much for the process
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
}

// By returns who ended the session: client, channel, operator or balance.
func (c Cause) By() string { return causes[c].by }

// How returns how the session was ended.
func (c Cause) How() string { return causes[c].how }
