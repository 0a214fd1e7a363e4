package socket

import (
	"context"
	"log/slog"
	"net"
	"time"
)

// Acceptor is who accepts clients from a socket.
type Acceptor interface {
	// Empty returns when nobody has come for the time given and nobody waits
	// in the queue, when those who wait cannot be accepted, or when ctx ends.
	Empty(ctx context.Context, quiet time.Duration)
	// Stop ends accepting. When it returns, the socket may be closed, or refuse
	// clients.
	Stop()
}

// RetireTimeout bounds the emptying of the queue of a socket that is retired.
// New clients may keep it from getting empty where they cannot be kept away, and
// so may a client who completes one handshake after the other, each of which he
// may leave half-open for about a minute (tcp_synack_retries in tcp(7)).
const RetireTimeout = 2 * time.Second

// Retire keeps new clients away, has those accepted who wait in the queue or are
// on their way into it, then closes the socket. It returns when the socket is
// closed: that is when ctx has ended, or after RetireTimeout, even if somebody
// still comes. Of a socket that refuses clients nobody waits.
func (s *Socket) Retire(ctx context.Context, from Acceptor, log *slog.Logger) {
	if !s.refuses() {
		s.empty(ctx, from, log)
	}
	from.Stop()
	s.Close()
}

func (s *Socket) empty(ctx context.Context, from Acceptor, log *slog.Logger) {
	quiet, err := s.divert()
	if err != nil {
		log.Warn("cannot keep new clients from a socket", "address", s.address.String(), "error", err)
	}
	ctx, cancel := context.WithTimeout(ctx, RetireTimeout)
	defer cancel()
	from.Empty(ctx, max(quiet, time.Millisecond))
}

func (s *Socket) divert() (quiet time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.raw == nil {
		return 0, net.ErrClosed
	}
	if _, isUnix := s.Unix(); isUnix {
		s.file.remove() // who has connected is in the queue
		return 0, nil
	}
	return divert(s.raw)
}
