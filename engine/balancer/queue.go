package balancer

import (
	"math"
	"net/netip"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// Queue is where clients of a listener wait for a slot: a client joins it when no
// group has room for it, but at least one channel that it could be given is full.
// It outlives the routers of the listener. The zero Queue has no place.
//
// Who waits while all channels that could serve it go out of service is turned away,
// as one that comes then.
//
// First come, first served, among those who can use the slot: whoever reserves one
// while others wait, be it a newcomer, hands it over to the first in line who could
// have it. A client that was given a channel which then does not answer goes back
// to the place that it had.
//
//	Next: Wait ──► Route.Wait ──► waiting ──► Waiter.Wake ──► Route.Woken: Dial
//	                                 │                          or Reject
//	                                 └──► Route.GiveUp, Close
//
// All methods may be called at any time from any goroutine.
type Queue struct {
	// Waits is how long those waited who were given a slot.
	Waits Histogram
	// Sooner, if not nil, is called when Review is to be called by time earlier than
	// it has said. It must not block, nor call the queue, and is set before the queue
	// is used.
	Sooner func()

	waiting atomic.Int32 // how many do; Channel.Leave looks at it after the slot is free
	size    atomic.Int32 // how many may

	mu          sync.Mutex // guards all below, the routes of those who wait, and waiting, for writing; held for moments only
	router      *Router    // of all who wait; nil before the first
	first, last *waiting
	tickets     uint64
	demand      demand
	due         int64  // when the next Review is, if nothing comes before; 0 if nothing changes by time
	weighings   uint64 // those that the reach of all who wait is of
}

// Waiter is who waits.
type Waiter struct {
	Client netip.AddrPort
	// Wake is called when the client is to ask Route.Woken, and how long it may wait,
	// from any goroutine; it must not block, nor call the queue. It may come after the
	// client has left.
	Wake func()
}

// waiting is a client in the queue, in the order of the tickets.
type waiting struct {
	Waiter
	queue      *Queue
	route      *Route // belongs to the queue until it is served
	since      int64
	reach      []span // of the groups, if there is one that the client may not have all channels of
	out        bool   // in the line no more: a slot was given to the route, or there is none to wait for
	prev, next *waiting
}

// span is channels of a group.
type span struct{ from, to int }

// spot is where a channel stands in its router.
type spot struct{ group, index int }

// Len returns how many clients wait.
func (q *Queue) Len() int { return int(q.waiting.Load()) }

// Size returns how many clients may wait.
func (q *Queue) Size() int { return int(q.size.Load()) }

// Follow has those who wait go on in another router, where they begin anew, and says
// how many may wait from now on; who waits already stays. The router is published
// by the function given, and nobody joins the queue meanwhile. Review is to be
// called afterwards.
func (q *Queue) Follow(router *Router, size int, publish func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	publish()
	q.router, q.demand = router, demand{}
	q.size.Store(int32(size))
	q.weighings = weighings.Load()
	for w := q.first; w != nil; w = w.next {
		q.move(w, w.since)
		q.count(w, 1)
	}
}

// move has a client go on in the queue's router.
func (q *Queue) move(w *waiting, now int64) {
	w.route.follow(q.router)
	w.reach = w.route.spans(now)
}

// Rouse has all who wait ask how long they may.
func (q *Queue) Rouse() {
	var woken roused
	q.mu.Lock()
	for w := q.first; w != nil; w = w.next {
		woken.list = append(woken.list, w)
	}
	q.mu.Unlock()
	woken.wake()
}

// Review gives slots to those who can go now, and turns those away who wait for
// nothing any more. It is to be called after anything has changed about a channel,
// but for a slot that Channel.Leave has given back, and at the time that it returns,
// if that is not 0: then time alone gives a channel room.
func (q *Queue) Review(now int64) (due int64) {
	var woken roused
	q.mu.Lock()
	if q.first == nil {
		q.due = 0 // who comes now is to say anew what is due
		q.mu.Unlock()
		return 0
	}
	weighed := weighings.Load()
	aims := q.router.slow || q.weighings != weighed
	q.weighings = weighed
	free, anybody := q.router.free(now), q.router.serves(now)
	for w := q.first; w != nil; {
		next := w.next // stays in line: slots are handed over to those before w alone
		if aims {
			q.aim(w, now)
		}
		switch {
		case free && w.mayGo(now) && q.seek(w.route, w, now, &woken):
			q.serve(w, now, &woken)
			free = q.router.free(now)
		case !anybody || (w.reach != nil || w.route.tried != nil) && !w.route.couldBeServed(now):
			q.dismiss(w, &woken)
		}
		w = next
	}
	due = q.router.due(now)
	q.due = due
	q.mu.Unlock()
	woken.wake()
	return due
}

// aim finds out anew what somebody in line may have, where that changes by weights
// and so by time.
func (q *Queue) aim(w *waiting, now int64) {
	if w.reach == nil {
		return
	}
	q.count(w, -1)
	w.reach = w.route.spans(now)
	q.count(w, 1)
}

// freed gives slots of the channel that are free to those who wait for them.
func (q *Queue) freed(channel *Channel, now int64) {
	var woken roused
	sooner := false
	q.mu.Lock()
	if at, ok := q.router.spotOf(channel); ok {
		ask := q.router.question(at.group, now)
		for w := q.first; w != nil && ask.room(channel, channel.state.Load()); {
			next := w.next
			if w.could(at) {
				if !q.seek(w.route, w, now, &woken) {
					break
				}
				q.serve(w, now, &woken)
			}
			w = next
		}
		sooner = q.first != nil && q.isSooner(ask.due(channel), now)
	}
	q.mu.Unlock()
	woken.wake()
	if sooner {
		q.Sooner()
	}
}

// isSooner takes note of when a review is due, and reports whether that is earlier
// than was said before. The mutex is held; Sooner is to be called without it.
func (q *Queue) isSooner(due, now int64) bool {
	if q.Sooner == nil || due == 0 || q.due > now && q.due <= due {
		return false
	}
	q.due = due
	return true
}

// firstFor returns the first in line who could be given the channel there, of those
// before somebody who waits, or of all.
func (q *Queue) firstFor(at spot, before *waiting) *waiting {
	for w := q.first; w != before && w != nil; w = w.next {
		if w.could(at) {
			return w
		}
	}
	return nil
}

// seek reserves a slot for a route that comes before somebody in line, or after all.
// What it finds and somebody before it could have, that one is given. The mutex is
// held.
func (q *Queue) seek(route *Route, before *waiting, now int64, woken *roused) bool {
	var demand *demand
	if route.router == q.router { // the channels have the same numbers
		demand = &q.demand
	}
	for {
		route.again()
		if !route.advance(now, demand) && (route.hopes(now) || !route.resort(now)) {
			return false
		}
		channel := route.channel
		at, ok := q.router.spotOf(channel)
		if !ok || channel.HeldOff(now) > 0 {
			return true // those in line have none of that, or wait for better
		}
		heir := q.firstFor(at, before)
		if heir == nil {
			return true
		}
		heir.route.adopt(channel, at)
		route.channel = nil
		q.serve(heir, now, woken)
	}
}

// serve takes somebody out of the line whose route holds a slot now.
func (q *Queue) serve(w *waiting, now int64, woken *roused) {
	q.dismiss(w, woken)
	q.Waits.Observe(time.Duration(now - w.since))
}

// dismiss takes somebody out of the line.
func (q *Queue) dismiss(w *waiting, woken *roused) {
	q.remove(w)
	w.out = true
	woken.list = append(woken.list, w)
}

// insert puts somebody in line, by the ticket.
func (q *Queue) insert(w *waiting) {
	after := q.last
	for after != nil && after.route.ticket > w.route.ticket {
		after = after.prev
	}
	w.prev = after
	if after == nil {
		w.next, q.first = q.first, w
	} else {
		w.next, after.next = after.next, w
	}
	if w.next == nil {
		q.last = w
	} else {
		w.next.prev = w
	}
	q.waiting.Add(1)
	q.count(w, 1)
}

func (q *Queue) remove(w *waiting) {
	if w.prev == nil {
		q.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next = nil, nil
	q.waiting.Add(-1)
	q.count(w, -1)
}

// roused are those who are to be woken, once the mutex is free.
type roused struct{ list []*waiting }

func (r roused) wake() {
	for _, w := range r.list {
		w.Wake()
	}
}

// demand is how many wait for each channel of a router, who could be given it. The
// zero demand is that of nobody.
type demand struct {
	anything int     // who wait for any channel
	more     []int32 // by the number of the channel: who wait for it besides, without those of them who tried it
}

func (d *demand) of(number int) uint64 {
	switch {
	case d == nil:
		return 0
	case d.more == nil:
		return uint64(d.anything)
	}
	return uint64(d.anything + int(d.more[number]))
}

// count adds somebody to the demand, or takes it away.
func (q *Queue) count(w *waiting, by int) {
	if q.demand.more == nil && (w.reach != nil || w.route.tried != nil) {
		q.demand.more = make([]int32, q.router.channels)
	}
	if w.reach == nil {
		q.demand.anything += by
	}
	for g, s := range w.reach {
		for i := s.from; i < s.to; i++ {
			q.demand.more[q.router.firsts[g]+i] += int32(by)
		}
	}
	for number := range w.route.tried.all {
		g := sort.SearchInts(q.router.firsts, number+1) - 1
		if i := number - q.router.firsts[g]; w.reach == nil || i >= w.reach[g].from && i < w.reach[g].to {
			q.demand.more[number] -= int32(by)
		}
	}
}

// demand returns a picture of that of the router's channels, nil if nobody waits.
func (r *Router) demand() *demand {
	q := r.options.Queue
	if q == nil || q.waiting.Load() == 0 {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.router != r {
		return nil
	}
	return &demand{q.demand.anything, slices.Clone(q.demand.more)}
}

// Waiting is a client in the queue, for those who show it.
type Waiting struct {
	Client netip.AddrPort
	Since  int64      // when it began, on the clock of the plane
	For    []*Channel // each of which would do
}

// Waiting returns who waits, the first in line first, and at most so many of them.
func (q *Queue) Waiting(now int64, most int) []Waiting {
	q.mu.Lock()
	defer q.mu.Unlock()
	var list []Waiting
	var all []*Channel // that somebody waits for who may have any, made once for all of those
	for w := q.first; w != nil && len(list) < most; w = w.next {
		wanted := all
		if wanted == nil || w.reach != nil || w.route.tried != nil {
			wanted = slices.Collect(w.route.prospects(now))
			if w.reach == nil && w.route.tried == nil {
				all = wanted
			}
		}
		list = append(list, Waiting{Client: w.Client, Since: w.since, For: wanted})
	}
	return list
}

// Demand returns how many of those who wait could be given each channel, if it had a
// slot for them and was in service.
func (q *Queue) Demand() map[*Channel]int {
	if q.waiting.Load() == 0 {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	demand := map[*Channel]int{}
	for channel, at := range q.router.spots {
		demand[channel] = int(q.demand.of(q.router.firsts[at.group] + at.index))
	}
	return demand
}

// could reports whether the channel there is one that the client may be given, and
// did not try.
func (w *waiting) could(at spot) bool {
	if w.reach != nil && (at.index < w.reach[at.group].from || at.index >= w.reach[at.group].to) {
		return false
	}
	return !w.route.tried.has(w.route.router.firsts[at.group] + at.index)
}

// mayGo reports whether it is worth the while to look for a slot for the client: no,
// if it waits for few channels and those are full.
func (w *waiting) mayGo(now int64) bool {
	if w.reach == nil {
		return true
	}
	for g, s := range w.reach {
		ask := w.route.router.question(g, now)
		for _, channel := range w.route.router.groups[g].Channels[s.from:s.to] {
			if ask.couldServe(channel) && ask.room(channel, channel.state.Load()) {
				return true
			}
		}
	}
	return false
}

// Wait has a client for which Next returned Wait wait for a slot. It returns Wait
// if it does; Dial if there was a slot by then; Reject if there is no place in the
// queue, or nothing to wait for any more. While it waits, only Woken, GiveUp and
// Close may be called.
func (r *Route) Wait(waiter Waiter, now int64) Step {
	q := r.router.options.Queue
	var woken roused
	sooner := false
	defer func() {
		woken.wake()
		if sooner {
			q.Sooner()
		}
	}()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.router == nil {
		q.router = r.router
	}
	w := &waiting{Waiter: waiter, queue: q, route: r, since: now}
	q.move(w, now)
	if q.Len() >= q.Size() {
		if r.resort(now) {
			return Dial
		}
		r.refuse(QueueFull)
		return Reject
	}
	if r.ticket == 0 {
		q.tickets++
		r.ticket = q.tickets
	}
	// From here on whoever gives a slot back sees that somebody waits; what was
	// given back before is seen now.
	q.insert(w)
	if q.seek(r, w, now, &woken) {
		q.remove(w)
		return Dial
	}
	if !r.hopes(now) {
		q.remove(w)
		return Reject
	}
	r.waiting = w
	sooner = q.isSooner(q.router.due(now), now)
	return Wait
}

// Woken returns Dial if the client that waited holds a slot by now, Reject if there
// is none to wait for any more, or else Wait.
func (r *Route) Woken() Step {
	w := r.waiting
	if w == nil {
		return Wait
	}
	w.queue.mu.Lock()
	defer w.queue.mu.Unlock()
	if !w.out {
		return Wait
	}
	r.waiting = nil
	if r.channel == nil {
		return Reject
	}
	return Dial
}

// GiveUp ends the waiting of a client for the reason given, and returns Reject; or
// Dial, if it holds a slot by now.
func (r *Route) GiveUp(why Rejection) Step {
	r.leave()
	if r.channel != nil {
		return Dial
	}
	r.refuse(why)
	return Reject
}

// leave takes the route's client out of the queue, if it waits.
func (r *Route) leave() {
	w := r.waiting
	if w == nil {
		return
	}
	w.queue.mu.Lock()
	defer w.queue.mu.Unlock()
	if !w.out {
		w.queue.remove(w)
	}
	r.waiting = nil
}

// nextInLine is advance where others wait, who come first.
func (r *Route) nextInLine(q *Queue, now int64) bool {
	var woken roused
	q.mu.Lock()
	var behind *waiting // the first in line whom this client comes before, as it was in line already
	for w := q.last; r.ticket != 0 && w != nil && w.route.ticket > r.ticket; w = w.prev {
		behind = w
	}
	found := q.seek(r, behind, now, &woken)
	q.mu.Unlock()
	woken.wake()
	return found
}

// free reports whether a channel has a slot that a client could be given.
func (r *Router) free(now int64) bool {
	for g := range r.groups {
		ask := r.question(g, now)
		for _, channel := range r.groups[g].Channels {
			if ask.couldServe(channel) && ask.room(channel, channel.state.Load()) {
				return true
			}
		}
	}
	return false
}

// serves reports whether a client could be given one of the channels, at once or when
// a slot is free.
func (r *Router) serves(now int64) bool {
	for g := range r.groups {
		ask := r.question(g, now)
		if slices.ContainsFunc(r.groups[g].Channels, ask.couldServe) {
			return true
		}
	}
	return false
}

// due returns when time alone may next give a channel room for a client that has none
// now: as it is not held off any more, starts slowly, or comes to be a client's own; 0
// for never.
func (r *Router) due(now int64) (due int64) {
	sooner := func(at int64) {
		if at > now && (due == 0 || at < due) {
			due = at
		}
	}
	for g := range r.groups {
		ask := r.question(g, now)
		for _, channel := range r.groups[g].Channels {
			sooner(ask.due(channel))
		}
		if picker, ok := r.pickers[g].(*rendezvous); ok && ask.slow != 0 && !picker.failover {
			if until := picker.weigh(ask).until; until < math.MaxInt64 {
				sooner(until)
			}
		}
	}
	return due
}

// due returns when time alone may next give the channel room, if it has none now
// though a slot is free; 0 for never.
func (q question) due(c *Channel) int64 {
	state := c.state.Load()
	switch {
	case !q.couldServe(c) || !c.slots.free():
		return 0
	case state&held != 0 && c.until.Load() > q.now:
		return c.until.Load()
	case !q.room(c, state):
		return q.roomAt(c)
	}
	return 0
}

// spotOf returns where the channel stands, if it does.
func (r *Router) spotOf(channel *Channel) (spot, bool) {
	if r == nil {
		return spot{}, false
	}
	at, ok := r.spots[channel]
	return at, ok
}

// couldServe reports whether a client may be given the channel, at once or when a
// slot is free, be it that it is held off and nothing better is left.
func (q question) couldServe(c *Channel) bool {
	return c.state.Load()&q.obstacles&^(held|warming) == 0 && c.Weight() > 0
}

// worth reports whether a client may wait for the channel, if it is full.
func (q question) worth(c *Channel) bool {
	return q.couldServe(c) && (c.state.Load()&held == 0 || c.until.Load() <= q.now)
}

// hopes reports whether there is a channel that is worth to be waited for. One with
// a free slot, where none was found, was full a moment ago.
func (r *Route) hopes(now int64) bool {
	for range r.prospects(now) {
		return true
	}
	return false
}

// couldBeServed reports whether there is a channel that the client may have, and did
// not try, that is in service.
func (r *Route) couldBeServed(now int64) bool {
	for g := range r.router.groups {
		ask := r.router.question(g, now)
		from, to := r.reach(g, ask)
		for i := from; i < to; i++ {
			if ask.couldServe(r.router.groups[g].Channels[i]) && !r.tried.has(r.router.firsts[g]+i) {
				return true
			}
		}
	}
	return false
}

// prospects yields the channels that the client may wait for, and did not try.
func (r *Route) prospects(now int64) func(yield func(*Channel) bool) {
	return func(yield func(*Channel) bool) {
		for g := range r.router.groups {
			ask := r.router.question(g, now)
			from, to := r.reach(g, ask)
			for i := from; i < to; i++ {
				channel := r.router.groups[g].Channels[i]
				if ask.worth(channel) && !r.tried.has(r.router.firsts[g]+i) && !yield(channel) {
					return
				}
			}
		}
	}
}

// spans returns what the client may have of each group, nil if that is all.
func (r *Route) spans(now int64) []span {
	narrow, spans := false, make([]span, 0, 4)
	for g := range r.router.groups {
		from, to := r.reach(g, r.router.question(g, now))
		narrow = narrow || to-from < len(r.router.groups[g].Channels)
		spans = append(spans, span{from, to})
	}
	if !narrow {
		return nil
	}
	return spans
}
