package balancer

import "testing"

func TestEveryModeHasAWord(t *testing.T) {
	words := map[Mode]string{RoundRobin: "rr", Hash: "hash", LeastConn: "leastconn", Random: "random", First: "first"}
	if len(words) != int(Modes) {
		t.Errorf("%d modes, %d words", Modes, len(words))
	}
	for mode, word := range words {
		var got Mode
		if err := got.UnmarshalText([]byte(word)); err != nil || got != mode || mode.String() != word {
			t.Errorf("%q is read as %d and printed as %s: %v", word, got, mode, err)
		}
	}
	for _, word := range []string{"", "RR", "least", "mode 5"} {
		mode := First
		if err := mode.UnmarshalText([]byte(word)); err == nil || mode != First {
			t.Errorf("%q is read as %s", word, mode)
		}
	}
	if got := Mode(200).String(); got != "mode 200" { // of a file of counters that somebody else wrote
		t.Errorf("an unknown mode is printed as %q", got)
	}
}
