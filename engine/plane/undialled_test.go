package plane

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"balance/engine/balancer"
)

func TestUndialled(t *testing.T) {
	refused, timeout, local := os.NewSyscallError("connect", syscall.ECONNREFUSED), os.ErrDeadlineExceeded, error(syscall.EADDRNOTAVAIL)
	for _, test := range []struct {
		failures []error
		text     string
		failure  balancer.Failure
	}{
		{[]error{timeout}, "a0: i/o timeout", balancer.TimedOut},
		{[]error{timeout, refused}, "a0: i/o timeout; a1: connect: connection refused", balancer.Refused},
		{slices.Repeat([]error{local}, 3), "a0: cannot assign requested address; a1: cannot assign requested address; a2: cannot assign requested address", balancer.LocalFailure},
		{slices.Repeat([]error{timeout}, 4), "a0: i/o timeout; a1: i/o timeout; a2: i/o timeout; and 1 more", balancer.TimedOut},
		{append(slices.Repeat([]error{timeout}, 15), refused), "a0: i/o timeout; a1: i/o timeout; a2: i/o timeout; and 13 more", balancer.Refused},
		{append(slices.Repeat([]error{timeout}, 4), refused, local), "a0: i/o timeout; a1: i/o timeout; a2: i/o timeout; and 3 more", balancer.Refused},
		{append(slices.Repeat([]error{refused}, 4), local), "a0: connect: connection refused; a1: connect: connection refused; a2: connect: connection refused; and 2 more", balancer.Refused},
	} {
		var err error
		for i, failure := range test.failures {
			err = Undialled(err, fmt.Errorf("a%d: %w", i, failure))
		}
		if err.Error() != test.text || balancer.FailureOf(err) != test.failure || balancer.Local(err) != (test.failure == balancer.LocalFailure) {
			t.Errorf("%d failures: %q, %s, want %q, %s", len(test.failures), err, balancer.FailureOf(err), test.text, test.failure)
		}
		for _, failure := range test.failures {
			if !errors.Is(err, failure) {
				t.Errorf("%q has lost %q", err, failure)
			}
		}
	}
}

// However many addresses there are, an error holds few of the failures.
func TestUndialledIsBounded(t *testing.T) {
	var err error
	for i := range 4000 {
		err = Undialled(err, fmt.Errorf("address %d: %w", i, syscall.ECONNREFUSED))
	}
	if kept := err.(interface{ Unwrap() []error }).Unwrap(); len(kept) > 3 || !strings.HasSuffix(err.Error(), "and 3997 more") {
		t.Errorf("%d failures are kept: %q", len(kept), err)
	}
}

func BenchmarkUndialled(b *testing.B) {
	for _, n := range []int{1, 16, 4000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var err error
				for range n {
					err = Undialled(err, syscall.ECONNREFUSED)
				}
				if err.Error() == "" {
					b.Fatal("no text")
				}
			}
		})
	}
}
