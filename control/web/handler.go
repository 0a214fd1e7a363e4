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
	data.HandleFunc("GET /api/v1/status", func(w http.ResponseWriter, _ *http.Request) { d.serveStatus(w, settings.acts()) })
	data.HandleFunc("GET /api/v1/health", d.serveHealth)
	data.HandleFunc("GET /api/v1/events", d.serveEvents)
	data.HandleFunc("GET /api/v1/sessions", d.serveSessions)
	data.HandleFunc("GET /api/v1/config", d.serveConfig)
	data.HandleFunc("GET /api/v1/configurations", d.serveConfigurations)
	data.HandleFunc("GET /api/v1/configurations/{number}", d.serveConfiguration)
	data.HandleFunc("GET /api/v1/history", h.serve)
	data.HandleFunc("GET /api/v1/curves", h.serveCurves)
	if settings.acts() {
		for _, a := range acts {
			data.HandleFunc("POST "+a.path(), d.serveAct(a))
		}
	}
	if settings.PProf {
		data.Handle("GET /debug/pprof/", profiles())
	}
	protected := protect(settings.Token, data)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", protected)
	mux.Handle("GET /api/", protected)
	mux.Handle("POST /api/", http.NewCrossOriginProtection().Handler(protected))
	mux.Handle("GET /debug/", protected)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", d.serveReady)
	mux.HandleFunc("GET /readyz/{name...}", d.serveReady)
	mux.Handle("GET /", http.FileServerFS(page)) // holds no data
	return guard(settings, mux)
}

// serveReady tells whether the daemon, or the listener that the path names, is
// ready.
func (d *Daemon) serveReady(w http.ResponseWriter, r *http.Request) {
	readiness, known := d.Readiness(r.PathValue("name"))
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	switch {
	case !known:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintln(w, "there is no such listener")
		return
	case len(readiness.Problems) > 0:
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprintln(w, strings.Join(readiness.Lines(), "\n"))
}
