package web

import (
	"net/http"
	"strings"
	"testing"
)

// How long a profile is taken is bounded, whatever way the number is written.
func TestProfileSeconds(t *testing.T) {
	r := newRig(t)
	handler := newHandler(&Daemon{r.daemon}, new(history), Settings{PProf: true})
	for _, path := range []string{"profile", "trace", "goroutine", "heap"} {
		for _, seconds := range []string{"61", "3600", "60.5", "1e9", "inf", "nan", "-1", "1e999", "x", "3600&seconds=1"} {
			if got := r.get(handler, "/debug/pprof/"+path+"?seconds="+seconds); got.Code != http.StatusBadRequest {
				t.Errorf("%s for %s seconds: status %d", path, seconds, got.Code)
			}
		}
	}
	for _, query := range []string{"", "?debug=1"} {
		if got := r.get(handler, "/debug/pprof/goroutine"+query); got.Code != http.StatusOK {
			t.Errorf("%q: status %d", query, got.Code)
		}
	}
}

// Whoever asks for many profiles that take long takes health and readiness away
// from nobody, not even from others at the same address.
func TestProfilesTakeNoPlaces(t *testing.T) {
	r := newRig(t)
	r.apply(listener("x", group(r.echo())))
	s := NewServer(r.daemon, r.logger())
	t.Cleanup(s.Close)
	r.put(s, Settings{Address: "127.0.0.1:0", PProf: true})
	address := strings.TrimSuffix(strings.TrimPrefix(s.URL(), "http://"), "/")
	for _, from := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"} {
		besiege(t, address, from, "GET /debug/pprof/goroutine?seconds=59 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", maxOfSource)
	}
	eventually(t, "profiles are taken", func() bool {
		return askFrom(t, "127.0.0.1", s.URL()+"debug/pprof/cmdline") == http.StatusServiceUnavailable
	})
	for _, from := range []string{"127.0.0.1", "127.0.0.4", "127.0.0.9"} {
		for _, path := range []string{"healthz", "readyz"} {
			if code := askFrom(t, from, s.URL()+path); code != http.StatusOK {
				t.Errorf("/%s from %s: status %d", path, from, code)
			}
		}
	}
}
