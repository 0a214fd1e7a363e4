package portable_test

import (
	"testing"

	"balance/engine/plane"
	"balance/engine/plane/planetest"
	"balance/engine/portable"
)

func newPlane(options plane.Options) plane.Plane { return portable.New(options) }

func TestPlane(t *testing.T) { planetest.Run(t, newPlane) }

func BenchmarkPlane(b *testing.B) { planetest.Benchmark(b, newPlane) }
