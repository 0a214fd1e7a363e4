package balancer

import (
	"fmt"
	"slices"
	"strings"
)

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
	// LeastConn gives the channel with the fewest sessions for its weight, in turn
	// among equals.
	LeastConn
	// Random draws two channels by weight, and gives the one with fewer sessions
	// for its weight.
	Random
	// First fills the channels one after the other, each up to its limit.
	First

	// Modes is how many there are.
	Modes
)

var modeWords = [Modes]string{"rr", "hash", "leastconn", "random", "first"}

// Words returns those that UnmarshalText takes.
func (Mode) Words() []string { return modeWords[:] }

// String returns the word that UnmarshalText takes.
func (m Mode) String() string {
	if m >= Modes {
		return fmt.Sprintf("mode %d", uint8(m))
	}
	return modeWords[m]
}

// MarshalText returns the word that UnmarshalText takes.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText takes "rr", "hash", "leastconn", "random" or "first".
func (m *Mode) UnmarshalText(text []byte) error {
	i := slices.Index(modeWords[:], string(text))
	if i < 0 {
		return fmt.Errorf("%q is none of \"%s\"", text, strings.Join(modeWords[:], `", "`))
	}
	*m = Mode(i)
	return nil
}
