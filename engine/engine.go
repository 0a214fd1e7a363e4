// Package engine runs a configuration: it opens listening sockets, gives each
// client a channel, relays, and changes from one configuration to the next
// without touching what stays the same.
package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"balance/engine/admit"
	"balance/engine/balancer"
	"balance/engine/eventloop"
	"balance/engine/health"
	"balance/engine/plane"
	"balance/engine/portable"
	"balance/engine/socket"
	"balance/engine/spec"
)

// ErrUnresolved is wrapped by the error of the first Apply if no channel of
// the first group of a listener has an address, and by that of any Apply if a
// name to listen on has none.
var ErrUnresolved = errors.New("no address found")

// ErrShutdown is returned by calls that come after Shutdown.
var ErrShutdown = errors.New("the engine is shut down")

// Options are what an engine is made with. All but Log may be left empty.
type Options struct {
	Log *slog.Logger
	// SessionLog takes a line for each session that has ended, if the
	// configuration wants them; default: Log. Neither may block.
	SessionLog *slog.Logger
	Dump       *plane.Dump // shown every chunk that is relayed
	Resolver   Resolver    // default: net.DefaultResolver
	// Counters returns what a channel that is new to a listener goes on
	// counting with, or nil for fresh counters, which it also gets if a channel
	// in force counts with these. The channel may never be in force. It is
	// called by one goroutine at a time, and holds up Apply.
	Counters func(listener string, key balancer.Key) *balancer.Counters
	// Observed returns what was observed before the start of a channel that the
	// first configuration has; false if nothing is known. It may be nil.
	Observed func(listener string, key balancer.Key) (Observation, bool)
	// DataPlane and Loops are those of every configuration that is applied.
	DataPlane spec.DataPlane
	Loops     int
	// NewPlane, if not nil, makes the data plane instead.
	NewPlane func(plane.Options) plane.Plane
	// Open opens the listening TCP sockets; default: socket.Open.
	Open func(ctx context.Context, addr netip.AddrPort, shared bool) (*socket.Socket, error)
}

// Engine runs one configuration at a time. All methods may be called from any
// goroutine.
type Engine struct {
	log        *slog.Logger
	sessionLog *slog.Logger
	plane      plane.Plane
	open       func(ctx context.Context, addr netip.AddrPort, shared bool) (*socket.Socket, error)
	names      *names
	budget     *plane.Budget
	sources    *admit.Table // of the clients of all listeners

	dataPlane spec.DataPlane // as declared
	loops     int
	// counters is Options.Counters, or nil, and observed Options.Observed.
	counters func(listener string, key balancer.Key) *balancer.Counters
	observed func(listener string, key balancer.Key) (Observation, bool)

	records plane.Records
	current atomic.Pointer[state]

	applied  chan struct{} // holds one Apply that refresh has not seen yet
	applying sync.Mutex    // held by whoever makes the next state
	closed   bool          // guarded by applying
	// rebalances ends what Rebalance has begun last for a listener; guarded by applying.
	rebalances map[*plane.Listener]context.CancelFunc

	reviewing    sync.Mutex // taken after applying; held by whoever changes current, or calls an acceptor of a socket in force
	cannotRefuse bool       // guarded by reviewing: a socket could not refuse clients

	retiringMu sync.Mutex
	retiring   map[*boundSocket]bool // guarded by retiringMu

	checking checking
	events   events
	seen     map[*balancer.Channel]sight // the watcher's alone, as the next
	looks    uint64
	falls    falls
	due      int64                       // when a queue is to be reviewed by, 0 if none is
	surveyed int64                       // when the sessions were looked at last
	recorded time.Time                   // likewise, by the clock on the wall
	stalled  map[*balancer.Channel]int64 // the channels that owe an answer for too long, and since when
	// rebalancing holds what is due less than one session of those that a channel
	// has above its share.
	rebalancing map[*balancer.Channel]float64
	stirred     chan struct{} // holds one stir that the watcher has not seen yet

	life     context.Context // ends with Shutdown
	end      context.CancelFunc
	patience context.Context // ends when Shutdown is not to wait any longer
	hurry    context.CancelFunc
	workers  sync.WaitGroup // refresh, and removals under way

	sessions context.Context // ends when there is none any more
	over     context.CancelFunc
	watching sync.WaitGroup // the watcher, and sessions that are being ended
}

// state is one configuration in force. It is not written to.
type state struct {
	generation uint64
	edited     bool // came by Edit: nobody's session ends
	config     *spec.Config
	listeners  []*listener // in the order of the configuration
	byShared   map[*plane.Listener]*listener
	sockets    sockets
	lists      *lists
}

// listener is a Listener in force.
type listener struct {
	config   *spec.Listener
	same     bool            // the state before had it just so
	shared   *plane.Listener // with the plane and the sessions; the same in all configurations
	router   *balancer.Router
	channels map[balancer.Key]*balancer.Channel
	addrs    []socket.Address // keys of its sockets
	edge     *plane.Edge      // nil if clients are asked nothing
}

// New returns an engine that runs nothing yet. Shutdown ends it. It fails if the
// data plane that is asked for by name cannot be had: the Fault of data_plane.
func New(options Options) (*Engine, error) {
	e := &Engine{
		log:        options.Log,
		sessionLog: cmp.Or(options.SessionLog, options.Log),
		open:       options.Open,
		counters:   options.Counters,
		observed:   options.Observed,
		applied:    make(chan struct{}, 1),
		retiring:   make(map[*boundSocket]bool),
		budget:     plane.NewBudget(),
		sources:    admit.NewTable(admit.MaxSources),
		seen:       make(map[*balancer.Channel]sight),
		rebalances: make(map[*plane.Listener]context.CancelFunc),
		stalled:    make(map[*balancer.Channel]int64),
		stirred:    make(chan struct{}, 1),
	}
	var err error
	e.plane, err = newPlane(options, plane.Options{
		Log: options.Log, Ended: e.ended, Records: &e.records, Began: e.began, Tried: e.tried, Pipes: maxPipes(descriptorLimit()), Dump: options.Dump, Budget: e.budget,
	})
	if err != nil {
		return nil, err
	}
	e.life, e.end = context.WithCancel(context.Background())
	e.patience, e.hurry = context.WithCancel(context.Background())
	e.sessions, e.over = context.WithCancel(context.Background())
	if e.open == nil {
		e.open = socket.Open
	}
	resolver := options.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	e.names = newNames(resolver, options.Log)
	e.dataPlane, e.loops = options.DataPlane, options.Loops
	e.current.Store(&state{lists: new(lists)})
	e.checking.checks = health.New(health.Options{Log: options.Log, Now: e.plane.Now, Addresses: e.names.addresses, Report: e.checked})
	e.checking.leavers = make(map[*balancer.Channel]leaver)
	e.workers.Go(e.refresh)
	e.watching.Go(e.watch)
	return e, nil
}

// newPlane makes the data plane that the options ask for. Where any is welcome
// the portable one stands in for what cannot be had.
func newPlane(options Options, o plane.Options) (plane.Plane, error) {
	if options.NewPlane != nil {
		return options.NewPlane(o), nil
	}
	if options.DataPlane == spec.Portable {
		return portable.New(o), nil
	}
	loops, err := eventloop.New(o, options.Loops)
	switch {
	case err == nil:
		return loops, nil
	case options.DataPlane == spec.EventLoop:
		return nil, spec.Refuse(spec.KeyDataPlane.Path(), "", fmt.Errorf("data_plane %q: %w", spec.EventLoop, err))
	case !errors.Is(err, errors.ErrUnsupported):
		o.Log.Warn("the event loop cannot start, the portable data plane takes its place", "error", err)
	}
	return portable.New(o), nil
}

// Processors returns how many processors the engine can make use of at a time:
// one for each event loop, and one for all else. GOMAXPROCS should be no less.
func (e *Engine) Processors() int { return len(e.plane.Loops()) + 1 }

// Config returns the configuration in force, or nil before the first Apply.
func (e *Engine) Config() *spec.Config { return e.current.Load().config }

// Shutdown stops accepting and waits until the last session has ended, or
// until ctx ends, which resets those that are left.
func (e *Engine) Shutdown(ctx context.Context) {
	e.applying.Lock()
	closed := e.closed
	e.closed = true
	e.applying.Unlock()
	if closed {
		return
	}
	e.reviewing.Lock()
	e.end() // nobody reviews a socket any more
	e.reviewing.Unlock()
	defer e.hurry()
	defer context.AfterFunc(ctx, e.hurry)()
	var retired sync.WaitGroup
	for _, s := range e.current.Load().sockets {
		retired.Go(func() { s.Retire(e.patience, s.acceptor, e.log) })
	}
	retired.Wait()
	e.workers.Wait()
	e.plane.Shutdown(ctx)
	e.over()
	e.watching.Wait()
	e.checking.checks.Close()
}
