package control

import (
	"iter"
	"slices"
	"sync"
)

// The memory that answers hold until their clients have read them, in bytes.
const (
	ownRoom  = 64 << 10     // of each answer, which is always there
	roleRoom = 64 << 20     // beyond that, of all answers to clients of one role together
	userRoom = roleRoom / 2 // of that, for one user who is no owner
)

// room is what the answers to clients of one role take beyond their own.
type room struct {
	mu   sync.Mutex
	used int         // guarded by mu
	held map[int]int // guarded by mu; of used, by user
}

// take takes n bytes for a user who may hold so many at most, if they are free.
func (r *room) take(user, most, n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.used+n > roleRoom || r.held[user]+n > most {
		return false
	}
	if r.held == nil {
		r.held = map[int]int{}
	}
	r.used += n
	r.held[user] += n
	return true
}

func (r *room) give(user, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used -= n
	if r.held[user] -= n; r.held[user] == 0 {
		delete(r.held, user)
	}
}

// reply is an answer that is made or written.
type reply struct {
	lines []string
	rest  iter.Seq[string] // those that follow, which are made when they are written; nil for none

	room  *room // of the client's role
	user  int
	most  int // that the user may hold of the room
	size  int // of all that is held, in bytes
	taken int // from the room
	short bool
}

// errBusy begins an answer that is not whole.
const errBusy = "busy: there is no memory for all of this answer while others are under way; try again"

// take tells that the answer is about to hold n bytes more. If there is no room
// for them it is false, and errBusy takes the place of what it held.
func (r *reply) take(n int) bool {
	r.size += n
	missing := r.size - ownRoom - r.taken
	if missing <= 0 {
		return true
	}
	missing = max(missing, ownRoom) // not for each line anew
	if !r.room.take(r.user, r.most, missing) {
		r.release()
		r.lines, r.short = []string{errBusy}, true
		return false
	}
	r.taken += missing
	return true
}

// add adds lines.
func (r *reply) add(lines ...string) {
	const header = 16 // bytes of a string that are not its text
	n := header * len(lines)
	for _, line := range lines {
		n += len(line)
	}
	if r.take(n) {
		r.lines = append(r.lines, lines...)
	}
}

// all returns all lines.
func (r *reply) all() iter.Seq[string] {
	if r.rest == nil {
		return slices.Values(r.lines)
	}
	return func(yield func(string) bool) {
		for _, line := range r.lines {
			if !yield(line) {
				return
			}
		}
		r.rest(yield)
	}
}

// release gives up what the answer holds.
func (r *reply) release() {
	if r.taken > 0 {
		r.room.give(r.user, r.taken)
	}
	r.lines, r.rest, r.size, r.taken = nil, nil, 0, 0
}
