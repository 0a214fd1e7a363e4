package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"balance/control"
	"balance/engine/socket"
	"balance/engine/spec"
)

// Bounds of the server, which has small requests and few clients.
const (
	maxHeaderBytes = 16 << 10
	requestTimeout = time.Second
	writeTimeout   = 10 * time.Second // for an answer; package pprof adds what a profile takes
	idleTimeout    = 5 * time.Second
	closeTimeout   = time.Second
)

// Settings are what the configuration says of the server.
type Settings struct {
	Address string // as spec.Control.HTTP
	PProf   bool   // serve /debug/pprof/
	Token   string // what asking for data needs; empty for nothing
	Write   bool   // whoever bears the token may act; without a token nobody may
}

// acts reports whether anybody may act.
func (s Settings) acts() bool { return s.Write && s.Token != "" }

// Server serves one address at a time, or none. All methods may be called from
// any goroutine.
type Server struct {
	daemon  Daemon
	log     *slog.Logger
	source  func(net.Conn) source
	history history
	workers sync.WaitGroup // sites, and the recording of the history

	mu        sync.Mutex
	site      *site         // guarded by mu; nil while nothing is served
	recording chan struct{} // guarded by mu; closed to end the recording
	closed    bool          // guarded by mu
}

// site is one listening socket and what serves it.
type site struct {
	settings Settings
	listener net.Listener // a TCP or a unix socket
	handler  atomic.Pointer[http.Handler]
	server   *http.Server
}

// NewServer returns a server that serves nothing yet. Close ends it.
func NewServer(daemon control.Daemon, log *slog.Logger) *Server {
	return &Server{daemon: Daemon{daemon}, log: log, source: sourceOf}
}

// Prepare does all that can fail on the way to other settings, and leaves what
// is served as it is. On success the caller calls finish once: with true the
// settings come into force, with false they are given up. No other Prepare may
// come between. It gives up when ctx ends.
func (s *Server) Prepare(ctx context.Context, settings Settings) (finish func(commit bool), err error) {
	s.mu.Lock()
	old, closed := s.site, s.closed
	s.mu.Unlock() // what follows may take its time
	if closed || old == nil && settings.Address == "" || old != nil && old.settings == settings {
		return func(bool) {}, nil
	}
	if old != nil && old.settings.Address == settings.Address {
		return func(commit bool) {
			if commit {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.dressLocked(old, settings)
			}
		}, nil
	}
	next := &site{settings: settings}
	if settings.Address == "" {
		next = nil
	} else if next.listener, err = listen(ctx, settings.Address, old); err != nil {
		return nil, fmt.Errorf("control http %q: %w", settings.Address, err)
	}
	return func(commit bool) {
		if commit {
			s.move(next)
			return
		}
		if next != nil {
			next.listener.Close()
		}
		if old != nil {
			share(old.listener, false)
		}
	}, nil
}

// listen opens a socket. That of the older site, which may be nil, becomes
// shareable for a while, so that the new one may have an address that overlaps
// it; for another process the address stays taken.
func listen(ctx context.Context, address string, old *site) (net.Listener, error) {
	if path, ok := spec.UnixPath(address); ok {
		return control.ListenUnix(ctx, path)
	}
	config := net.ListenConfig{}
	if old != nil {
		if err := share(old.listener, true); err != nil {
			return nil, err
		}
		config.Control = func(_, _ string, c syscall.RawConn) error { return socket.ShareRaw(c, true) }
	}
	config.SetMultipathTCP(false)
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		if old != nil {
			err = errors.Join(err, share(old.listener, false))
		}
		return nil, err
	}
	return listener, nil
}

// share lets other sockets have the address of a TCP socket, or not any more.
func share(listener net.Listener, on bool) error {
	tcp, ok := listener.(*net.TCPListener)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	return socket.ShareRaw(raw, on)
}

// dressLocked gives a site the handler that its settings ask for.
func (s *Server) dressLocked(site *site, settings Settings) {
	handler := newHandler(&s.daemon, &s.history, settings)
	site.handler.Store(&handler)
	site.settings = settings
}

// move goes from the site that is served to the next, which may be nil. The
// address of the old is free before the next is served, so that the settings
// after it can have it.
func (s *Server) move(next *site) {
	s.mu.Lock()
	old := s.site
	s.mu.Unlock()
	if old != nil {
		old.listener.Close() // may wait for a file system
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moveLocked(next)
}

// moveLocked is move, but that the listener of the old site may be open for a
// moment.
func (s *Server) moveLocked(next *site) {
	if s.closed {
		if next != nil {
			next.listener.Close()
		}
		return
	}
	if next != nil {
		if s.site != nil {
			if err := share(next.listener, false); err != nil {
				s.log.Warn("another process could bind the address of the status page", "error", err)
			}
		}
		s.openLocked(next)
	}
	if old := s.site; old != nil {
		s.workers.Go(func() { s.shut(old) })
	}
	s.site = next
	switch {
	case next != nil && s.recording == nil:
		stop := make(chan struct{})
		s.recording = stop
		s.workers.Go(func() { s.history.record(s.daemon.Engine, stop) })
	case next == nil && s.recording != nil:
		close(s.recording)
		s.recording = nil
	}
}

func (s *Server) openLocked(site *site) {
	s.dressLocked(site, site.settings)
	site.server = &http.Server{
		Handler:        http.HandlerFunc(site.serve),
		ConnState:      follow,
		ReadTimeout:    requestTimeout,
		WriteTimeout:   writeTimeout,
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
		ErrorLog:       slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	s.workers.Go(func() {
		err := site.server.Serve(door{site.listener, new(places), s.source})
		if !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			s.log.Error("the status page is not served any more", "error", err)
		}
	})
	s.log.Info("status page", "url", site.url())
}

// serve answers a request. The rest of a body is not waited for: a guest is owed
// its answer meanwhile, and keeps its place. Who may act is given the time for one
// when that is known, see readOrder.
func (t *site) serve(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close")
		if err := http.NewResponseController(w).SetReadDeadline(time.Now()); err != nil {
			return // the connection is gone
		}
	}
	(*t.handler.Load()).ServeHTTP(w, r)
}

// url returns where a browser on this machine finds the site, or its unix
// socket, as it is declared.
func (t *site) url() string {
	addr, ok := t.listener.Addr().(*net.TCPAddr)
	if !ok {
		return t.settings.Address
	}
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, fmt.Sprint(addr.Port)) + "/"
}

// shut ends a site. Answers under way have a moment to come to their end.
func (s *Server) shut(site *site) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := site.server.Shutdown(ctx); err != nil {
		site.server.Close()
	}
}

// URL returns where the page is served, empty if it is not.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.site == nil {
		return ""
	}
	return s.site.url()
}

// Close ends the server and waits for all that it runs.
func (s *Server) Close() {
	s.mu.Lock()
	s.moveLocked(nil) // leaves the listener to a worker
	s.closed = true
	s.mu.Unlock()
	s.workers.Wait()
}
