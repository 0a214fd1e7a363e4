//go:build linux

package eventloop

import (
	"sync"

	"golang.org/x/sys/unix"
)

// mailbox is how other goroutines ask something of a loop. Tasks run on the
// loop in the order in which they were posted.
type mailbox struct {
	event int // an eventfd that wakes the loop

	mu    sync.Mutex
	tasks []func() // guarded by mu
	full  bool     // guarded by mu; the loop takes no more
}

// post leaves a task. It reports false if the loop has ended, or is about to;
// the task is not run then.
func (m *mailbox) post(task func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full {
		return false
	}
	m.tasks = append(m.tasks, task)
	if len(m.tasks) == 1 {
		unix.Write(m.event, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // cannot fail short of 2^64 posts
	}
	return true
}

// do runs a task on the loop and returns when it is done. On the loop's own
// goroutine it would wait for ever.
func (m *mailbox) do(task func()) bool {
	done := make(chan struct{})
	if !m.post(func() { task(); close(done) }) {
		return false
	}
	<-done
	return true
}

func (m *mailbox) take() []func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	tasks := m.tasks
	m.tasks = nil
	return tasks
}

// shut returns the last tasks.
func (m *mailbox) shut() []func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.full = true
	tasks := m.tasks
	m.tasks = nil
	return tasks
}
