package plane

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"syscall"

	"balance/engine/balancer"
	"balance/engine/preface"
)

// MaxOpening is the most that Opening appends, in bytes.
const MaxOpening = preface.MaxSent + preface.PostgresSize

// Opening appends what the channel that has answered is to be sent before anything
// of the client: a PROXY header that names the client, where the channel wants one,
// and a PostgreSQL server the request for TLS that its client has sent. These bytes
// are not the session's. local is where the client has connected to. With agreed
// the channel has to answer a byte first, which Agreed is given; until then it is
// dialled, and nothing of the client is passed on.
//
// A header that came in is passed on with what it says; where it says of no addresses
// of TCP, those of the connection stand in.
func (s *Search) Opening(to []byte, local func() netip.AddrPort) (opening []byte, agreed bool) {
	if version := s.Channel().SendProxy(); version != 0 {
		proxy := preface.Proxy{Source: s.client}
		if s.greeting != nil && s.greeting.proxy != nil {
			proxy.TLVs = s.greeting.proxy.TLVs
			proxy.Destination = s.greeting.proxy.Destination
		}
		if s.client.IsValid() && !proxy.Destination.IsValid() {
			proxy.Destination = local()
		}
		to = preface.AppendProxy(to, version, &proxy, s.uniqueID())
	}
	if s.greeting != nil && s.greeting.postgres {
		return append(to, preface.SSLRequestMessage...), true
	}
	return to, false
}

// life names this run of the process. It is there from the start: loops that came at
// once would wait for one another.
var life = func() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}()

// uniqueID returns a name that no other session has, in any process: what names this
// run of it, and the number of the session.
func (s *Search) uniqueID() []byte {
	return strconv.AppendUint([]byte(life+"-"), s.id, 10)
}

// Agreed takes what the channel has answered to the request for TLS, and says why it
// is of no use, if so.
func (s *Search) Agreed(answer byte) error {
	if answer != 'S' {
		return disagrees{fmt.Errorf("the server answers %q to the request for TLS", answer)}
	}
	return nil
}

// Unagreed returns why a channel is of no use that did not answer to the request for
// TLS: since it ended its stream (io.EOF), or since the time was over, or the
// connection broke.
func Unagreed(err error) error {
	if err == io.EOF {
		err = errors.New("the connection ends")
	}
	return disagrees{fmt.Errorf("no answer to the request for TLS: %w", err)}
}

// disagrees is a balancer.ErrDisagrees that says what came of the request instead.
type disagrees struct{ error }

func (d disagrees) Unwrap() []error { return []error{balancer.ErrDisagrees, d.error} }

// Source returns the address that the attempt is to be made from, which is not valid
// for any, and whether that is the client's own, which no interface need have. It fails
// if the channel cannot be reached from the client's.
func (s *Search) Source(a Attempt) (source netip.Addr, transparent bool, err error) {
	switch {
	case !a.Addr.IsValid(): // a unix socket
		return netip.Addr{}, false, nil
	case !s.service.Transparent || !s.client.IsValid():
		return s.service.Source, false, nil
	case s.client.Addr().Is4() != a.Addr.Addr().Unmap().Is4():
		return netip.Addr{}, false, fmt.Errorf("from the client's address %s: %w", s.client.Addr(), syscall.EAFNOSUPPORT)
	}
	return s.client.Addr(), true, nil
}
