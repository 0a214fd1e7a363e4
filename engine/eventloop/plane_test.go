//go:build linux

package eventloop_test

import (
	"runtime"
	"testing"

	"balance/engine/eventloop"
	"balance/engine/plane"
	"balance/engine/plane/planetest"
)

func with(loops int) planetest.New {
	return func(options plane.Options) plane.Plane {
		p, err := eventloop.New(options, loops)
		if err != nil {
			panic(err)
		}
		return p
	}
}

func TestPlane(t *testing.T) {
	t.Run("OneLoop", func(t *testing.T) { planetest.Run(t, with(1)) })
	t.Run("ThreeLoops", func(t *testing.T) { planetest.Run(t, with(3)) })
}

func BenchmarkPlane(b *testing.B) {
	loops := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(loops + 1))
	planetest.Benchmark(b, with(loops))
}
