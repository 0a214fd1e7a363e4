package patience

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Attempts that hang are given up one by one; when there are many of them no
// other is made until one comes back.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(5*time.Second, 3)
		over := make(chan struct{})
		var attempts atomic.Int32
		hang := func() (int, error) { attempts.Add(1); <-over; return 7, nil }
		for i := range 3 {
			began := time.Now()
			_, err := Within(t.Context(), p, hang)
			if err == nil || err.Error() != "the file system hangs: nothing has come back in 5s" || time.Since(began) != 5*time.Second {
				t.Errorf("attempt %d: %v after %s", i, err, time.Since(began))
			}
			if !p.Waits() {
				t.Error("nothing is left behind")
			}
		}
		began := time.Now()
		_, err := Within(t.Context(), p, hang)
		if err == nil || err.Error() != "the file system hangs: 3 attempts have not come back" || time.Since(began) != 0 {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		if n := attempts.Load(); n != 3 {
			t.Errorf("%d attempts were made", n)
		}
		over <- struct{}{}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := Within(ctx, p, hang); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("when its context ends: %v", err)
		}
		close(over)
		synctest.Wait()
		if p.Waits() {
			t.Error("what has come back is still left behind")
		}
		wrong := errors.New("wrong")
		if value, err := Within(t.Context(), p, func() (int, error) { return 7, wrong }); value != 7 || err != wrong {
			t.Errorf("got %d, %v", value, err)
		}
	})
}

// closer counts how often it is closed.
type closer struct{ closed atomic.Int32 }

func (c *closer) Close() error { c.closed.Add(1); return nil }

// What comes back late is closed, what comes in time is not.
func TestLateIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(5*time.Second, 3)
		late, intime, failed := new(closer), new(closer), new(closer)
		attempt := func(c *closer, after time.Duration, err error) (*closer, error) {
			return Within(t.Context(), p, func() (*closer, error) { time.Sleep(after); return c, err })
		}
		if got, err := attempt(late, 6*time.Second, nil); got != nil || err == nil {
			t.Errorf("late: %v, %v", got, err)
		}
		if got, err := attempt(failed, 6*time.Second, errors.New("wrong")); got != nil || err == nil {
			t.Errorf("late and wrong: %v, %v", got, err)
		}
		if got, err := attempt(intime, time.Second, nil); got != intime || err != nil {
			t.Errorf("in time: %v, %v", got, err)
		}
		time.Sleep(time.Minute)
		if late.closed.Load() != 1 || intime.closed.Load() != 0 || failed.closed.Load() != 0 {
			t.Errorf("closed: late %d, in time %d, failed %d", late.closed.Load(), intime.closed.Load(), failed.closed.Load())
		}
	})
}
