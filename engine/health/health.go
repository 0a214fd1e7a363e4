// Package health finds out by checks whether channels live, and writes one word
// to the state of each.
package health

import (
	"net/netip"
	"time"

	"balance/engine/balancer"
	"balance/engine/spec"
)

// Target is what is checked, and how. Equal targets are checked once.
type Target struct {
	Listener string     // for Exec, which is told
	Host     string     // a name or an IP address, or a unix socket, see spec.UnixPath
	Port     uint16     // where the check goes; 0 with a unix socket
	Source   netip.Addr // to dial from; the zero Addr for any
	// SendProxy is the version of the PROXY header that the server is sent first,
	// 0 for none. It says that the check is nobody's connection but its own.
	SendProxy int
	Check     spec.Check
}

// unix returns the path of the unix socket that is checked, if it is one.
func (t *Target) unix() (path string, ok bool) { return spec.UnixPath(t.Host) }

// silent reports whether the server need not be told of a check that only connects. One
// that wants a PROXY header would take a connection without it for a fault; so it is
// sent one, and an end of stream behind it.
func (t *Target) silent() bool {
	_, unix := t.unix()
	return t.SendProxy == 0 && !unix
}

// Outcome is what came of a check.
type Outcome uint8

// The outcomes.
const (
	Passed      Outcome = iota
	Refused             // nobody listens
	TimedOut            // it was not over in time
	Unreachable         // the network or the host cannot be reached
	Reset               // the connection broke
	Answered            // the server answered, and not as it should
	Insecure            // TLS failed
	Local               // this machine could not check; it changes nothing
	Outcomes            // how many there are
)

// String returns the outcome as one word.
func (o Outcome) String() string {
	return [Outcomes]string{"passed", "refused", "timeout", "unreachable", "reset", "answer", "tls", "local"}[o]
}

// Result is what came of one check.
type Result struct {
	Time    time.Time // when it began
	Took    time.Duration
	Outcome Outcome
	// Answer tells in words what was asked and what came back, such as
	// "GET http://db2:8008/primary answered 503, not 200-399". It is printable and at most 256
	// bytes long, whatever the server sent.
	Answer string
}

// Step is one step of a check.
type Step struct {
	Name string // "resolve", "connect 192.0.2.1:80", "tls", "send", "answer", ...
	Took time.Duration
	Note string // what came of it, if there is something to say
}

// Status is how it stands with the checks of a channel.
type Status struct {
	Target  Target
	Health  balancer.Health
	Since   time.Time // when that began; zero if that is not known
	Last    Result    // its Time is zero before the first
	InARow  int       // results like the last one, up to it
	Next    time.Time // when the next check begins
	Results [Outcomes]uint64
	// Durations are those of checks that passed; it goes on counting.
	Durations *balancer.Histogram
}
