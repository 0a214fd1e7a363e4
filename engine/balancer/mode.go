package balancer

import "fmt"

// Mode is how a group chooses among its channels.
type Mode uint8

const (
	// RoundRobin gives the channels to clients in turn.
	RoundRobin Mode = iota
	// Hash gives each client address a channel of its own by rendezvous
	// hashing: with one of n channels added or removed about 1/n of the
	// clients move, and every process whose channels have the same keys
	// chooses alike.
	Hash
)

// String returns the word that UnmarshalText takes.
func (m Mode) String() string {
	if m == Hash {
		return "hash"
	}
	return "rr"
}

// MarshalText returns the word that UnmarshalText takes.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText takes "rr" or "hash".
func (m *Mode) UnmarshalText(text []byte) error {
	switch string(text) {
	case "rr":
		*m = RoundRobin
	case "hash":
		*m = Hash
	default:
		return fmt.Errorf("%q is none of \"rr\", \"hash\"", text)
	}
	return nil
}
