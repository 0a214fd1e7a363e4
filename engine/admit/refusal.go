// Package admit decides who may come in: by lists of networks, and by limits and
// rates of each source. It does no I/O and has no clock: addresses and times are
// passed in.
package admit

// Refusal is why a client is not let in.
type Refusal uint8

// The refusals. Those from NoHeader on come of the greeting of a client, and are for
// the data planes to tell.
const (
	Admitted        Refusal = iota // none: it may come in
	Denied                         // by a list
	TooManySessions                // its source has as many as one may have
	TooFast                        // its source makes new connections faster than one may
	NoHeader                       // it did not begin with the PROXY header that it must begin with
	Slow                           // its greeting took too long
	Crowded                        // too many clients are in their greeting
	Refusals                       // how many there are, Admitted among them
)

// String returns the refusal in one word, for logs and metrics.
func (r Refusal) String() string {
	return [Refusals]string{
		Admitted:        "admitted",
		Denied:          "denied",
		TooManySessions: "sessions",
		TooFast:         "rate",
		NoHeader:        "header",
		Slow:            "slow",
		Crowded:         "crowded",
	}[r]
}
