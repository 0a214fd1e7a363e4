package control

import (
	"cmp"
	"fmt"
	"net"
	"time"
)

// How many clients there are at once.
const (
	maxClients = 256
	maxMembers = 192 // of those, that are neither root nor the daemon's user
	maxReaders = 128 // of those, that may only read

	userShare = 4 // one user who is no owner has a quarter of the places of its role
)

// client is one that has a place.
type client struct {
	conn *net.UnixConn
	credentials
	role role // that it came with
	// idle is since when it has asked nothing; zero while it is answered.
	// Guarded by the server's mu.
	idle time.Time
}

// admit gives a client a place, if need be that of another, or says why not.
func (s *Server) admit(conn *net.UnixConn, who credentials, role role) (admitted *client, refusal string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, "the daemon is shutting down"
	}
	for {
		refusal, rival := s.crowd(who, role)
		if refusal == "" {
			break
		}
		if !s.makeRoom(rival) {
			return nil, refusal
		}
	}
	c := &client{conn: conn, credentials: who, role: role, idle: time.Now()}
	s.clients[c] = struct{}{}
	return c, ""
}

// crowd tells which clients leave no place for another, and which of them could
// make it one. No owner has to, and nobody for one who may do less.
func (s *Server) crowd(who credentials, role role) (refusal string, rival func(*client) bool) {
	count := func(counted func(*client) bool) (n int) {
		for c := range s.clients {
			if counted(c) {
				n++
			}
		}
		return n
	}
	ofUser := func(c *client) bool { return c.role < owner && c.uid == who.uid }
	ofGroups := func(c *client) bool { return c.role < owner }
	ofReaders := func(c *client) bool { return c.role == reader }
	share := maxMembers / userShare
	if role == reader {
		share = maxReaders / userShare
	}
	rival = func(c *client) bool { return c.role < owner && c.role <= role }
	switch {
	case role < owner && count(ofUser) >= share:
		return fmt.Sprintf("there are %d clients of user %d already", share, who.uid), ofUser
	case role == reader && count(ofReaders) >= maxReaders:
		return fmt.Sprintf("there are %d clients of the group of readers already", maxReaders), rival
	case role < owner && count(ofGroups) >= maxMembers:
		return fmt.Sprintf("there are %d clients of the groups already", maxMembers), rival
	case len(s.clients) >= maxClients:
		return fmt.Sprintf("there are %d clients already", maxClients), rival
	}
	return "", nil
}

// makeRoom takes the place of one of the rivals that ask nothing: of the user
// who has the most places, the one that has been idle for longest.
func (s *Server) makeRoom(rival func(*client) bool) bool {
	places := map[int]int{} // by user
	for c := range s.clients {
		if c.role < owner {
			places[c.uid]++
		}
	}
	var gone *client
	for c := range s.clients {
		if !rival(c) || c.idle.IsZero() {
			continue
		}
		if gone == nil || cmp.Or(cmp.Compare(places[gone.uid], places[c.uid]), c.idle.Compare(gone.idle)) < 0 {
			gone = c
		}
	}
	if gone == nil {
		return false
	}
	delete(s.clients, gone)
	gone.conn.SetReadDeadline(time.Unix(1, 0)) // serve notices, and tells it
	return true
}

// asks notes that a client is being answered, or no longer. It is false for one
// that has lost its place.
func (s *Server) asks(c *client, now bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.idle = time.Time{}
	if !now {
		c.idle = time.Now()
	}
	_, has := s.clients[c]
	return has
}

func (s *Server) leave(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, c)
}
