package engine

import (
	"net/netip"
	"time"

	"balance/engine/admit"
	"balance/engine/balancer"
	"balance/engine/health"
	"balance/engine/plane"
	"balance/engine/socket"
)

// Snapshot is a picture of the engine. Counters of different channels are not
// read at exactly the same moment.
type Snapshot struct {
	Generation uint64 // counts from 1 with each Apply that changed something
	// MaxSessions is how many sessions there may be at a time.
	MaxSessions int
	Listeners   []ListenerStatus
	Buffered    int64 // bytes that are kept for receivers that do not take them, as Process.MaxBuffered has it
	Loops       []int // sessions that each event loop holds; empty if the data plane has none
	// Evicted is how many sources of clients were forgotten early, because there were
	// too many, and Untracked how many clients were let in without being counted,
	// because none could be.
	Evicted, Untracked uint64
}

// ListenerStatus is a picture of a listener.
type ListenerStatus struct {
	Name        string
	Addresses   []socket.Address // bound
	Accepted    uint64
	MaxSessions int                         // 0 = any number
	Active      int                         // of those accepted, whose session has not ended
	Rejected    uint64                      // of those accepted, for whom no channel was found
	Reasons     [balancer.Rejections]uint64 // of Rejected
	Waiting     int                         // clients in the queue
	Queue       int                         // how many may be
	Waits       *balancer.Histogram         // of those who were given a slot; not a picture: it goes on counting
	Ended       [plane.Causes]uint64        // sessions that have ended, by the cause
	Refused     [admit.Refusals]uint64      // of those accepted, who were not let in, by the reason
	Greeting    int                         // clients in their greeting
	// MostGreeting is how many may be; with one more, the one that greets longest is
	// sent away.
	MostGreeting int
	Sources      int // that are kept of its clients
	// Usable reports whether there is a channel that a client could be given, at
	// once or when a slot is free.
	Usable bool
	Groups []GroupStatus
}

// GroupStatus is a picture of a group.
type GroupStatus struct {
	Mode     balancer.Mode
	Channels []ChannelStatus
}

// Share returns how many of the sessions of the group a channel of it has, in
// percent; 0 if there are none.
func (g *GroupStatus) Share(c *ChannelStatus) float64 {
	all := 0
	for i := range g.Channels {
		all += g.Channels[i].Active
	}
	return 100 * float64(c.Active) / float64(max(all, 1))
}

// ChannelStatus is a picture of a channel.
type ChannelStatus struct {
	Key       balancer.Key
	Name      string           // empty if it has none
	Addresses []netip.AddrPort // empty while the host does not resolve, and of a unix socket
	State     balancer.State
	Since     time.Time      // when the state began; zero if that is not known
	Until     time.Time      // when being held off ends; zero in every other state
	Reason    string         // why, in printable words; empty where the state says it all
	Check     *health.Status // nil if it is not checked
	Active    int
	Limit     int // 0 = none
	Weight    int
	Waiting   int // clients in the queue of the listener who could be given the channel
	Sessions  uint64
	Failures  uint64
	Sent      uint64
	Received  uint64
	Dials     *balancer.DialStats // not a picture: they go on counting
}

// Snapshot returns a picture of the engine.
func (e *Engine) Snapshot() Snapshot {
	s := e.current.Load()
	snapshot := Snapshot{Generation: s.generation, Buffered: e.budget.Kept(), Loops: e.plane.Loops()}
	snapshot.MaxSessions, _ = e.MaxSessions()
	snapshot.Evicted, snapshot.Untracked = e.sources.Evicted(), e.sources.Untracked()
	now := e.plane.Now()
	for _, l := range s.listeners {
		// In this order no session counts as ended before it was accepted.
		status := ListenerStatus{Name: l.config.Name, MaxSessions: l.config.MaxSessions, Usable: l.router.Usable(),
			Waiting: l.shared.Queue.Len(), Queue: l.config.Queue, Waits: &l.shared.Queue.Waits}
		ended := uint64(0)
		for cause := range status.Ended {
			status.Ended[cause] = l.shared.Ended[cause].Load()
			ended += status.Ended[cause]
		}
		status.Accepted = l.shared.Accepted.Load()
		status.Active = int(status.Accepted - ended)
		for reason := range status.Reasons {
			n := l.shared.Rejected[reason].Load()
			status.Reasons[reason] = n
			status.Rejected += n
		}
		for reason := range status.Refused {
			status.Refused[reason] = l.shared.Refused[reason].Load()
		}
		status.Greeting, status.MostGreeting = l.shared.Greeting(snapshot.MaxSessions)
		status.Sources = l.shared.Sources.Len()
		for _, addr := range l.addrs {
			status.Addresses = append(status.Addresses, s.sockets[addr].Address())
		}
		demand := l.shared.Queue.Demand()
		for _, group := range l.router.Groups() {
			g := GroupStatus{Mode: group.Mode}
			for _, channel := range group.Channels {
				status := e.channelStatus(channel, now)
				status.Waiting = demand[channel]
				g.Channels = append(g.Channels, status)
			}
			status.Groups = append(status.Groups, g)
		}
		snapshot.Listeners = append(snapshot.Listeners, status)
	}
	return snapshot
}

func (e *Engine) channelStatus(c *balancer.Channel, now int64) ChannelStatus {
	standing := c.Standing(now)
	status := ChannelStatus{
		Key:       c.Key(),
		Name:      c.Name(),
		Addresses: c.Addresses(),
		State:     standing.State,
		Since:     e.wall(standing.Since, now),
		Until:     e.wall(standing.Until, now),
		Reason:    standing.Reason,
		Active:    c.Active(),
		Limit:     c.Limit(),
		Weight:    c.Weight(),
		Sessions:  c.Counters.Sessions.Load(),
		Failures:  c.Counters.Failures.Load(),
		Sent:      c.Counters.Sent.Load(),
		Received:  c.Counters.Received.Load(),
		Dials:     c.Dials,
	}
	if _, isUnix := c.Key().Unix(); isUnix {
		status.Addresses = nil
	}
	if check, checked := e.checking.checks.Status(c); checked {
		status.Check = &check
	}
	return status
}

// Sessions calls yield with a picture of each running session until it returns
// false.
func (e *Engine) Sessions(yield func(plane.Session) bool) { e.plane.Sessions(yield) }

// Waiting returns who waits in the queue of a listener, the first in line first, and
// at most so many of them.
func (e *Engine) Waiting(listener string, most int) ([]Waiting, error) {
	l, err := e.listener(listener)
	if err != nil {
		return nil, err
	}
	now := e.plane.Now()
	var list []Waiting
	for _, w := range l.shared.Queue.Waiting(now, most) {
		list = append(list, Waiting{Client: w.Client, Since: e.wall(w.Since, now), For: w.For})
	}
	return list, nil
}

// Waiting is a client in the queue of a listener.
type Waiting struct {
	Client netip.AddrPort
	Since  time.Time
	For    []*balancer.Channel // each of which would do
}

// Channels calls yield for each channel in the configuration in force.
func (e *Engine) Channels(yield func(listener string, group, number int, mode balancer.Mode, channel *balancer.Channel)) {
	for _, l := range e.current.Load().listeners {
		for g, group := range l.router.Groups() {
			for i, channel := range group.Channels {
				yield(l.config.Name, g, i, group.Mode, channel)
			}
		}
	}
}

// Why tells which group and channel a client would get from a listener now,
// and why each earlier channel is passed over. It reserves nothing.
func (e *Engine) Why(listener string, client balancer.Client) ([]balancer.Verdict, error) {
	l, err := e.listener(listener)
	if err != nil {
		return nil, err
	}
	return l.router.Why(client, e.plane.Now()), nil
}
