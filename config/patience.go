package config

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// patience is how long something that may hang in the kernel is waited for. A
// file system whose server is gone holds whoever touches it, and neither a
// signal nor a closed descriptor ends that.
type patience struct {
	limit time.Duration // for one attempt
	most  int           // attempts that are left behind before no other is made

	mu     sync.Mutex
	behind int // guarded by mu; attempts that were given up and have not come back
}

// lookPatience is apart from readPatience, so that a watch that hangs does not
// keep the operator from reading another file.
var (
	readPatience = &patience{limit: 5 * time.Second, most: 8}
	lookPatience = &patience{limit: 5 * time.Second, most: 4}
)

// Within returns what attempt does with a file beside the configuration, or an
// error if it does not come back in five seconds or before ctx ends: a file
// system may hang. It is left behind then and must do nothing else, as within
// says.
func Within[T any](ctx context.Context, attempt func() (T, error)) (T, error) {
	return within(ctx, readPatience, attempt)
}

// within returns what attempt does, or an error if it does not come back in
// time or before ctx ends. It is left behind then, in a goroutine that nobody
// waits for, and what it returns is dropped: it must do nothing else.
func within[T any](ctx context.Context, p *patience, attempt func() (T, error)) (T, error) {
	var none T
	if p.hangs() {
		return none, fmt.Errorf("the file system hangs: %d attempts have not come back", p.most)
	}
	var value T
	var err error
	done := make(chan struct{})
	go func() {
		value, err = attempt()
		close(done)
	}()
	timer := time.NewTimer(p.limit)
	defer timer.Stop()
	select {
	case <-done:
		return value, err
	case <-timer.C:
		p.leave(done)
		return none, fmt.Errorf("the file system hangs: nothing has come back in %s", p.limit)
	case <-ctx.Done():
		p.leave(done)
		return none, ctx.Err()
	}
}

// hangs reports whether too many attempts have not come back.
func (p *patience) hangs() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.behind >= p.most
}

// leave counts an attempt among those that are left behind until it is done.
func (p *patience) leave(done <-chan struct{}) {
	p.add(1)
	go func() {
		<-done
		p.add(-1)
	}()
}

func (p *patience) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behind += n
}

// waits reports whether an attempt is left behind that has not come back.
func (p *patience) waits() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.behind > 0
}
