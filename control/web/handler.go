package web

import (
	"embed"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

//go:embed page
var embedded embed.FS

// maxScrapes is how many scrapes are answered at once.
const maxScrapes = 4

// newHandler answers all paths. What tells of the daemon more than whether it is
// well stands behind the token.
func newHandler(d *Daemon, h *history, settings Settings) http.Handler {
	page, err := fs.Sub(embedded, "page")
	if err != nil {
		panic(err) // the name is a constant
	}
	data := http.NewServeMux()
	data.Handle("GET /metrics", promhttp.HandlerFor(newRegistry(d), promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes}))
	data.HandleFunc("GET /api/v1/status", d.serveStatus)
	data.HandleFunc("GET /api/v1/sessions", d.serveSessions)
	data.HandleFunc("GET /api/v1/config", d.serveConfig)
	data.HandleFunc("GET /api/v1/history", h.serve)
	if settings.PProf {
		data.Handle("GET /debug/pprof/", profiles())
	}
	protected := protect(settings.Token, data)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", protected)
	mux.Handle("GET /api/", protected)
	mux.Handle("GET /debug/", protected)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", d.serveReady)
	mux.Handle("GET /", http.FileServerFS(page)) // holds no data
	return guard(settings.Address, mux)
}

// problems returns why the daemon is not ready; nothing if it is.
func (d *Daemon) problems() []string {
	problems := []string{}
	if d.Stopping() {
		problems = append(problems, "the daemon is shutting down")
	}
	snapshot := d.Engine.Snapshot()
	if snapshot.Generation == 0 {
		problems = append(problems, "no configuration is in force yet")
	}
	for _, l := range snapshot.Listeners {
		if len(l.Addresses) == 0 {
			problems = append(problems, fmt.Sprintf("listener %q listens on no address", l.Name))
		}
	}
	if last := d.lastReload(); !last.OK() {
		problems = append(problems, fmt.Sprintf("the last reload failed: %s", strings.Join(last.Errors(), "; ")))
	}
	return problems
}

func (d *Daemon) serveReady(w http.ResponseWriter, _ *http.Request) {
	problems := d.problems()
	if len(problems) == 0 {
		fmt.Fprintln(w, "ready")
		return
	}
	http.Error(w, strings.Join(problems, "\n"), http.StatusServiceUnavailable)
}
