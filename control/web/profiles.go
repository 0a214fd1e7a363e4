package web

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"strconv"
	"time"
)

const (
	maxProfiles = 2                // taken at once
	profileTime = 60 * time.Second // that one may take; package pprof lets its caller choose
)

// profiles returns what package pprof serves. Its answers take as long as the
// asker says, and each has a place meanwhile, so it is bounded how many there
// are at once, and how long.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	taken := make(chan struct{}, maxProfiles)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if text := r.FormValue("seconds"); text != "" { // read as package pprof does
			seconds, err := strconv.ParseFloat(text, 64)
			if err != nil || !(0 <= seconds && seconds <= profileTime.Seconds()) { // it may be NaN
				http.Error(w, fmt.Sprintf("seconds is a number from 0 to %g", profileTime.Seconds()), http.StatusBadRequest)
				return
			}
		}
		select {
		case taken <- struct{}{}:
			defer func() { <-taken }()
			mux.ServeHTTP(w, r)
		default:
			http.Error(w, fmt.Sprintf("%d profiles are being taken: try again later", maxProfiles), http.StatusServiceUnavailable)
		}
	})
}
