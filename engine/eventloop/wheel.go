//go:build linux

package eventloop

import (
	"math/bits"
	"time"
)

// wheel is a hierarchical timer wheel. A slot of level n spans 64^n ticks; a
// timer is put in the finest level whose 64 slots reach as far as its time,
// and moves to a finer one when the time comes to where its slot begins. All
// operations but the passing of time are of constant cost, and the next time
// at which there is something to do is found without looking at timers.
type wheel struct {
	now      int64 // all that was due until then has been returned
	occupied [levels]uint64
	slots    [levels][slotsPerLevel]*timer
}

const (
	tick          = time.Millisecond
	slotBits      = 6
	slotsPerLevel = 1 << slotBits
	levels        = 5 // reach 12 days; what is farther stays in the last slot and is looked at again
)

// timer belongs to whoever embeds it, and is in one wheel at most.
type timer struct {
	next, prev *timer
	when       int64  // in ticks
	place      uint16 // 1 + level * slotsPerLevel + slot; 0 = in no wheel
	owner      expirer
}

// expirer is told that its timer has expired.
type expirer interface{ expire(l *loop) }

func (t *timer) armed() bool { return t.place != 0 }

// arm sets the timer to a time in ticks. A time that has come already is that
// of the next tick.
func (w *wheel) arm(t *timer, when int64) {
	w.disarm(t)
	t.when = max(when, w.now+1)
	w.insert(t)
}

func (w *wheel) insert(t *timer) {
	level := 0
	for level < levels-1 && (t.when>>(level*slotBits))-(w.now>>(level*slotBits)) >= slotsPerLevel {
		level++
	}
	shift := level * slotBits
	slot := min(t.when>>shift, w.now>>shift+slotsPerLevel-1) % slotsPerLevel
	head := &w.slots[level][slot]
	t.prev, t.next = nil, *head
	if *head != nil {
		(*head).prev = t
	}
	*head = t
	t.place = uint16(1 + level*slotsPerLevel + int(slot))
	w.occupied[level] |= 1 << slot
}

func (w *wheel) disarm(t *timer) {
	if t.place == 0 {
		return
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		level, slot := int(t.place-1)/slotsPerLevel, int(t.place-1)%slotsPerLevel
		w.slots[level][slot] = t.next
		if t.next == nil {
			w.occupied[level] &^= 1 << slot
		}
	}
	t.next, t.prev, t.place = nil, nil, 0
}

// next returns the time at which the first slot begins that is not empty. No
// timer is due before it; it is false if there is no timer.
func (w *wheel) next() (when int64, ok bool) {
	for level, occupied := range w.occupied {
		if occupied == 0 {
			continue
		}
		shift := level * slotBits
		first := w.now>>shift + 1
		ahead := bits.TrailingZeros64(bits.RotateLeft64(occupied, -int(first%slotsPerLevel)))
		if begin := (first + int64(ahead)) << shift; !ok || begin < when {
			when, ok = begin, true
		}
	}
	return when, ok
}

// due takes out and returns a timer that is due by the time given, or nil if
// there is none left.
func (w *wheel) due(by int64) *timer {
	for {
		// Timers move down when their slot begins; here are those of now.
		for level := levels - 1; level >= 0; level-- {
			shift := level * slotBits
			if w.now&(1<<shift-1) != 0 {
				continue
			}
			for t := w.slots[level][(w.now>>shift)%slotsPerLevel]; t != nil; t = w.slots[level][(w.now>>shift)%slotsPerLevel] {
				w.disarm(t)
				if t.when <= w.now {
					return t
				}
				w.insert(t)
			}
		}
		when, ok := w.next()
		if !ok || when > by {
			w.now = max(w.now, by)
			return nil
		}
		w.now = when
	}
}
