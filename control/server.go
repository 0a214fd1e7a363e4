package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"balance/engine/socket"
	"balance/patience"
)

const (
	// At once, that are told why they are turned away. Strangers take nobody's
	// place, not even these.
	maxRefused   = 64
	maxStrangers = 16

	refuseTimeout = time.Second      // for a client to go
	writeTimeout  = 10 * time.Second // for one piece of an answer
	closeTimeout  = time.Second      // for the rest of an answer when the daemon ends
)

// Server answers the clients of a daemon.
type Server struct {
	daemon    Daemon
	log       *slog.Logger
	socket    *Socket
	access    atomic.Pointer[Access]
	handlers  sync.WaitGroup // accept, and one for each client
	refusing  chan struct{}  // holds one for each client that is turned away
	strangers chan struct{}  // likewise, for those who may do nothing at all
	stopped   chan struct{}  // closed once the daemon has shut down

	mu      sync.Mutex
	closed  bool                 // guarded by mu
	clients map[*client]struct{} // guarded by mu

	rooms  [owner + 1]room // for answers, by the role of who asks
	misses misses
}

// Listen opens the socket of this process in the directory, which is made if
// it is missing. It is for its owners alone, until SetAccess. Clients that
// connect wait until Serve.
func Listen(directory string, daemon Daemon, log *slog.Logger) (*Server, error) {
	socket, err := patience.Within(context.Background(), socketPatience, func() (*Socket, error) {
		dir, err := makeDirectory(directory, ownersAlone.shared())
		if err != nil {
			return nil, err
		}
		defer dir.Close()
		locked, err := lock(dir)
		if err != nil {
			return nil, err
		}
		defer locked.Close()
		return bind(filepath.Join(dir.Name(), fmt.Sprintf("%d.sock", os.Getpid())))
	})
	if err != nil {
		return nil, err
	}
	s := &Server{
		daemon:    daemon,
		log:       log,
		socket:    socket,
		refusing:  make(chan struct{}, maxRefused),
		strangers: make(chan struct{}, maxStrangers),
		stopped:   make(chan struct{}),
		clients:   map[*client]struct{}{},
	}
	s.access.Store(&ownersAlone)
	return s, nil
}

// Serve starts to answer clients, until Close.
func (s *Server) Serve() { s.handlers.Go(s.accept) }

// Path returns the name of the socket.
func (s *Server) Path() string { return s.socket.Path() }

// SetAccess changes who may use the socket from now on, those who are connected
// included. If the file cannot be made to fit, it stays its owner's alone.
func (s *Server) SetAccess(access Access) error {
	if *s.access.Load() == access {
		return nil
	}
	s.access.Store(&access)
	_, err := patience.Within(context.Background(), socketPatience, func() (none struct{}, err error) {
		if access.shared() {
			dir, err := makeDirectory(filepath.Dir(s.Path()), true)
			if err != nil {
				return none, err
			}
			dir.Close()
		}
		if *s.access.Load() != access {
			return none, nil // it was left behind, and there is another by now
		}
		return none, access.set(s.Path())
	})
	return err
}

// Close tells who asked for the end of the daemon that it has come, and ends
// the server; a second call does nothing. Clients that still read their answers have a moment for it.
func (s *Server) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true // so there come no more clients
	s.mu.Unlock()
	s.socket.Close()
	close(s.stopped)
	s.mu.Lock()
	for c := range s.clients {
		c.conn.SetReadDeadline(time.Now())
	}
	s.mu.Unlock()
	hurry := time.AfterFunc(closeTimeout, s.drop)
	defer hurry.Stop()
	s.handlers.Wait()
}

// drop closes the connections of all clients.
func (s *Server) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.clients {
		c.conn.Close()
	}
}

func (s *Server) accept() {
	var backoff socket.Backoff
	for {
		conn, err := s.socket.AcceptUnix()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			pause := backoff.Next()
			s.log.Warn("cannot accept a control client", "error", err, "pause", pause)
			select {
			case <-time.After(pause):
			case <-s.stopped:
				return
			}
			continue
		}
		backoff.Reset()
		who := peer(conn)
		role := s.access.Load().role(who)
		if role == stranger {
			s.turnAway(conn, errDenied, s.strangers)
			continue
		}
		client, refusal := s.admit(conn, who, role)
		if refusal != "" {
			s.turnAway(conn, refusal, s.refusing)
			continue
		}
		s.handlers.Go(func() {
			defer s.leave(client)
			s.serve(client)
		})
	}
}

// turnAway tells a client that is not admitted why. When there is no place for
// that it does not.
func (s *Server) turnAway(conn *net.UnixConn, why string, places chan struct{}) {
	select {
	case places <- struct{}{}:
		s.handlers.Go(func() {
			defer func() { <-places }()
			refuse(conn, why)
		})
	default:
		conn.Close()
	}
}

// refuse says why to a client that may be about to write, and ends the
// connection. To close it with a request unread would reset it, and the client
// might not see the answer.
func refuse(conn *net.UnixConn, why string) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(refuseTimeout))
	if writeAnswer(conn, slices.Values([]string{why}), Failed) == nil && conn.CloseWrite() == nil {
		io.Copy(io.Discard, io.LimitReader(conn, 16*MaxRequest))
	}
}

// serve answers one client until it leaves, loses its place or the server is
// closed.
func (s *Server) serve(client *client) {
	conn := client.conn
	if !s.converseWith(client) {
		s.turnAway(conn, "others need the place of this client, which asked nothing", s.refusing)
		return
	}
	conn.Close()
}

// converseWith is false if the client has lost its place.
func (s *Server) converseWith(client *client) bool {
	c := s.converse(client.credentials)
	defer c.reply.release()
	defer c.forget()
	reader := bufio.NewReaderSize(client.conn, MaxRequest)
	for !c.over {
		line, err := reader.ReadSlice('\n')
		if !s.asks(client, true) {
			return false
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			refuse(client.conn, fmt.Sprintf("a request has at most %d bytes", MaxRequest))
			return true
		}
		if err != nil && len(line) == 0 {
			return true
		}
		lines, status := c.request(string(line))
		if writeAnswer(patient{client.conn}, lines, status) != nil || err != nil {
			return true
		}
		c.reply.release()
		s.asks(client, false)
	}
	return true
}

// patient gives each piece of an answer its time.
type patient struct{ *net.UnixConn }

func (p patient) Write(data []byte) (int, error) {
	p.SetWriteDeadline(time.Now().Add(writeTimeout))
	return p.UnixConn.Write(data)
}
