// Package patience bounds the wait for what may hang in the kernel: a file
// system whose server is gone holds whoever touches it, and neither a signal nor
// a closed descriptor ends that.
package patience

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// Patience is how long attempts of one kind are waited for. All methods may be
// called from any goroutine.
type Patience struct {
	limit time.Duration // for one attempt
	most  int           // attempts that are left behind before no other is made

	mu     sync.Mutex
	behind int // guarded by mu; attempts that were given up and have not come back
}

// New returns a Patience that waits for an attempt as long as limit says, and
// leaves at most so many behind.
func New(limit time.Duration, most int) *Patience { return &Patience{limit: limit, most: most} }

// Within returns what attempt does, or an error if it does not come back in
// time or before ctx ends. It is left behind then, in a goroutine that nobody
// waits for, and what it returns is dropped, closed if it is an io.Closer and
// there is no error: it must do nothing else.
func Within[T any](ctx context.Context, p *Patience, attempt func() (T, error)) (T, error) {
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
	leave := func() {
		p.add(1)
		go func() {
			<-done
			if late, ok := any(value).(io.Closer); ok && err == nil {
				late.Close()
			}
			p.add(-1)
		}()
	}
	timer := time.NewTimer(p.limit)
	defer timer.Stop()
	select {
	case <-done:
		return value, err
	case <-timer.C:
		leave()
		return none, fmt.Errorf("the file system hangs: nothing has come back in %s", p.limit)
	case <-ctx.Done():
		leave()
		return none, ctx.Err()
	}
}

// Waits reports whether an attempt is left behind that has not come back.
func (p *Patience) Waits() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.behind > 0
}

// hangs reports whether too many attempts have not come back.
func (p *Patience) hangs() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.behind >= p.most
}

func (p *Patience) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behind += n
}
