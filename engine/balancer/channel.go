package balancer

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
)

// MaxLimit is the highest limit of connections a channel can have: slots are
// counted in 32 bits.
const MaxLimit = math.MaxUint32

// Key is the identity of a channel within its listener, whatever group it
// stands in. Nth tells apart channels with the same host and port. A daemon that
// starts numbers them in the order of the groups, from 0, and a channel keeps
// its number for as long as it is declared. So a daemon that came to the same
// configuration by changes may number repeats, and hash them, otherwise.
type Key struct {
	Host string
	Port uint16
	Nth  int
}

// Unix returns the path of the unix socket that the channel is, if it is one: the
// host is "unix:" and the path then, and the port 0. Its only address is the zero
// AddrPort.
func (k Key) Unix() (path string, ok bool) { return strings.CutPrefix(k.Host, "unix:") }

// String returns host:port, with IPv6 addresses in brackets, or unix: and a path,
// and the repeats of one address numbered from #2.
func (k Key) String() string {
	host := k.Host
	if _, ok := k.Unix(); ok {
		if k.Nth > 0 {
			return fmt.Sprintf("%s#%d", host, k.Nth+1)
		}
		return host
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if k.Nth > 0 {
		return fmt.Sprintf("%s:%d#%d", host, k.Port, k.Nth+1)
	}
	return fmt.Sprintf("%s:%d", host, k.Port)
}

// MarshalText returns what String does, for logs and JSON; nothing for the zero Key.
func (k Key) MarshalText() ([]byte, error) {
	if k == (Key{}) {
		return nil, nil
	}
	return []byte(k.String()), nil
}

// Counters are what a channel has done so far. The struct holds nothing but
// atomics of fixed size, and fills one cache line.
type Counters struct {
	Sessions atomic.Uint64 // connected to the channel
	Failures atomic.Uint64 // attempts to connect that failed
	Sent     atomic.Uint64 // bytes towards the channel
	Received atomic.Uint64 // bytes from the channel
	_        [4]uint64
}

// Reset sets all counters to zero. Concurrent additions may survive it.
func (c *Counters) Reset() {
	c.Sessions.Store(0)
	c.Failures.Store(0)
	c.Sent.Store(0)
	c.Received.Store(0)
}

// Channel is one server of a listener: its identity, its state and its
// counters. It outlives the routers that point to it. All methods may be
// called at any time from any goroutine.
type Channel struct {
	// What routes look at while they pass channels over is one cache line.
	key   Key
	hash  uint64
	slots slots
	state atomic.Uint64 // the words, and a generation; written to under mu
	until atomic.Int64  // when being held off ends, if that is one of the words

	warm  atomic.Int64 // when it began to serve, if warming is one of the words
	queue *Queue       // of those who wait for slots of the listener, or nil; set before the channel is used

	addrs atomic.Pointer[[]netip.AddrPort]
	mu    sync.Mutex // guards the notes; held for moments only
	notes

	// Counters may be those of an earlier channel of this identity, whose
	// sessions still count; it is never nil.
	Counters *Counters
	// Dials belong to this process; it is never nil.
	Dials *DialStats

	name      atomic.Pointer[string]
	sendProxy atomic.Uint32

	// For the log: that it began to fail, and that it answered again.
	Failings, Recoveries Throttle
}

// NewChannel returns an enabled channel without addresses, so not yet usable,
// and without a limit. The caller may replace Counters before the channel is
// used.
func NewChannel(key Key) *Channel {
	c := &Channel{key: key, hash: hashKey(key), Counters: new(Counters), Dials: new(DialStats)}
	c.state.Store(unresolved | untested | 1<<weightAt)
	return c
}

// Key returns the identity of the channel.
func (c *Channel) Key() Key { return c.key }

// Name returns what operators call the channel, which may change at any time;
// empty if it has no name.
func (c *Channel) Name() string {
	if name := c.name.Load(); name != nil {
		return *name
	}
	return ""
}

// Attrs returns how a line of the log names the channel: its key, and its name if
// it has one.
func (c *Channel) Attrs() []any {
	if name := c.Name(); name != "" {
		return []any{"channel", c.key, "name", name}
	}
	return []any{"channel", c.key}
}

// SetName changes the name.
func (c *Channel) SetName(name string) {
	if c.Name() != name {
		c.name.Store(&name)
	}
}

// SendProxy returns the version of the PROXY header that the channel is sent before
// anything else, which may change at any time; 0 if none is.
func (c *Channel) SendProxy() int { return int(c.sendProxy.Load()) }

// SetSendProxy changes the version: 0, 1 or 2.
func (c *Channel) SetSendProxy(version int) { c.sendProxy.Store(uint32(version)) }

// Active returns how many slots are taken: sessions that run or are being
// dialled.
func (c *Channel) Active() int { return c.slots.taken() }

// Limit returns how many slots there are; 0 means no limit.
func (c *Channel) Limit() int { return c.slots.limit() }

// SetLimit changes how many slots there are, 0 to MaxLimit. Slots that are
// taken stay taken; none is given out while there are as many or more.
func (c *Channel) SetLimit(limit int) { c.slots.setLimit(limit) }

// Addresses returns what the channel's host resolved to, in the order in
// which the addresses are to be tried. The slice is not to be written to.
func (c *Channel) Addresses() []netip.AddrPort {
	if addrs := c.addrs.Load(); addrs != nil {
		return *addrs
	}
	return nil
}

// SetAddresses replaces the addresses; the slice belongs to the channel from
// then on. A channel without addresses is not usable.
func (c *Channel) SetAddresses(addrs []netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addrs.Store(&addrs)
	has := c.state.Load()&unresolved == 0
	if has == (len(addrs) > 0) {
		return
	}
	if has {
		c.unresolved = note{}
	}
	c.change(func(state uint64) uint64 { return state ^ unresolved })
}

// Leave gives back the slot of a session that has ended, if its Route is not
// there any more to be closed.
func (c *Channel) Leave(now int64) {
	c.slots.give()
	if q := c.queue; q != nil && q.waiting.Load() > 0 {
		q.freed(c, now)
	}
}

// join makes the queue that of the channel, unless it is already.
func (c *Channel) join(queue *Queue) {
	if c.queue != queue {
		c.queue = queue
	}
}

// slots counts the taken slots (low half) against a limit (high half) in one
// word, so that a reservation is one compare-and-swap and a limit is never
// exceeded.
type slots struct{ word atomic.Uint64 }

func (s *slots) taken() int { return int(uint32(s.word.Load())) }
func (s *slots) limit() int { return int(s.word.Load() >> 32) }

func (s *slots) setLimit(limit int) {
	for {
		old := s.word.Load()
		if s.word.CompareAndSwap(old, uint64(limit)<<32|old&math.MaxUint32) {
			return
		}
	}
}

// hasFree is without a branch for no limit, which counts as one above the greatest.
func hasFree(word uint64) bool { return uint32(word) <= uint32(word>>32)-1 }

func (s *slots) free() bool { return hasFree(s.word.Load()) }

func (s *slots) take() bool { return s.takeBelow(math.MaxUint64) }

// takeBelow is take, but leaves no more taken than so many.
func (s *slots) takeBelow(most uint64) bool {
	for {
		old := s.word.Load()
		if !hasFree(old) || old&math.MaxUint32 >= most {
			return false
		}
		if s.word.CompareAndSwap(old, old+1) {
			return true
		}
	}
}

// give returns a slot that take handed out. Giving back more than was taken
// is a defect of the caller, and would corrupt the limit.
func (s *slots) give() {
	if uint32(s.word.Add(math.MaxUint64)) == math.MaxUint32 {
		panic("balancer: slot given back twice")
	}
}
