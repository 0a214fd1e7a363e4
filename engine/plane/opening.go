package plane

import (
	"fmt"
	"net/netip"

	"balance/engine/preface"
)

// Opening returns what the channel that has answered is to be sent before anything
// of the client: a PROXY header that names the client, where the channel wants one,
// and a PostgreSQL server the request for TLS that its client has sent. These bytes
// are not the session's. local is where the client has connected to. With agreed
// the channel has to answer a byte first, which Agreed is given; until then it is
// dialled, and nothing of the client is passed on.
func (s *Search) Opening(to []byte, local func() netip.AddrPort) (opening []byte, agreed bool) {
	if version := s.Channel().SendProxy(); version != 0 {
		proxy := &preface.Proxy{Source: s.client}
		if s.greeting != nil && s.greeting.proxy != nil {
			proxy = s.greeting.proxy
		} else if s.client.IsValid() {
			proxy.Destination = local()
		}
		to = preface.AppendProxy(to, version, proxy, nil)
	}
	if s.greeting != nil && s.greeting.postgres {
		return append(to, preface.SSLRequestMessage...), true
	}
	return to, false
}

// Agreed takes what the channel has answered to the request for TLS, and says why it
// is of no use, if so.
func (s *Search) Agreed(answer byte) error {
	if answer != 'S' {
		return fmt.Errorf("the server answers %q to the request for TLS", answer)
	}
	return nil
}
