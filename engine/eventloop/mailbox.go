//go:build linux

package eventloop

import "sync"

// mailbox is how other goroutines ask something of a loop. Tasks run on the
// loop in the order in which they were posted.
type mailbox struct {
	kernel kernel
	event  int // an eventfd that wakes the loop; open until shut has returned

	mu     sync.Mutex     // loops take it: whoever holds it makes no system call and waits for nothing
	tasks  []func()       // guarded by mu
	full   bool           // guarded by mu; the loop takes no more
	waking sync.WaitGroup // those who are about to wake the loop; they come under mu, before it is full
}

// post leaves a task. It reports false if the loop has ended, or is about to;
// the task is not run then.
func (m *mailbox) post(task func()) bool {
	first, ok := m.put(task)
	if first {
		m.kernel.wake(m.event)
		m.waking.Done()
	}
	return ok
}

// put reports whether the task is the first that waits, whose poster wakes the
// loop.
func (m *mailbox) put(task func()) (first, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full {
		return false, false
	}
	m.tasks = append(m.tasks, task)
	if len(m.tasks) > 1 {
		return false, true
	}
	m.waking.Add(1)
	return true, true
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

// shut returns the last tasks, once nobody is about to wake the loop any more.
func (m *mailbox) shut() []func() {
	m.mu.Lock()
	m.full = true
	tasks := m.tasks
	m.tasks = nil
	m.mu.Unlock()
	m.waking.Wait()
	return tasks
}
