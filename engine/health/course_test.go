package health

import (
	"testing"
	"time"

	"balance/engine/balancer"
	"balance/engine/spec"
)

func TestCourse(t *testing.T) {
	check := &spec.Check{Interval: 2 * time.Second, FastInterval: time.Second / 2, DownInterval: 5 * time.Second}
	// After each result, + passed and - failed: the health (u up, d down, ? unchecked),
	// in capitals if it changed, and the interval (n normal, f fast, d down).
	for _, test := range []struct {
		name    string
		init    balancer.Health
		results string
		want    string
	}{
		{"the first success counts alone", balancer.Unchecked, "+", "Un"},
		{"the first failure counts alone", balancer.Unchecked, "-", "Dd"},
		{"the first success counts alone when it was down", balancer.Unhealthy, "+", "Un"},
		{"the first failure counts alone when it was up", balancer.Healthy, "-", "Dd"},
		{"the first says what is so", balancer.Unhealthy, "-", "dd"},
		{"three failures take it down", balancer.Unchecked, "+----", "Un uf uf Dd dd"},
		{"a success between them begins anew", balancer.Unchecked, "+--+---", "Un uf uf un uf uf Dd"},
		{"two successes bring it up", balancer.Unchecked, "-+++", "Dd df Un un"},
		{"a failure between them begins anew", balancer.Unchecked, "-+-++", "Dd df dd df Un"},
	} {
		c := course{health: test.init}
		var got string
		for i, r := range test.results {
			changed := c.count(r == '+', 2, 3)
			word := map[balancer.Health]string{balancer.Healthy: "u", balancer.Unhealthy: "d", balancer.Unchecked: "?"}[c.health]
			if changed {
				word = string(word[0] - 'a' + 'A')
			}
			interval := map[time.Duration]string{check.Interval: "n", check.FastInterval: "f", check.DownInterval: "d"}[c.interval(check)]
			if i > 0 {
				got += " "
			}
			got += word + interval
		}
		if got != test.want {
			t.Errorf("%s: after %s: got %s, want %s", test.name, test.results, got, test.want)
		}
	}
}

func TestRow(t *testing.T) {
	var c course
	for i, want := range []int{1, 2, 1, 1, 2, 3} {
		c.count([]bool{true, true, false, true, true, true}[i], 2, 3)
		if c.row != want {
			t.Errorf("after %d results: %d in a row, want %d", i+1, c.row, want)
		}
	}
}
