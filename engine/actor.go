package engine

import "fmt"

// Actor is who asked for a change, and by which door.
type Actor struct {
	// UID is of the process that asked, or -1 where that cannot be known.
	UID int
	// Name is of the user with that id; empty if it has none.
	Name string
	// Door is how it was asked for: "control", "page", "signal" or "file"; or
	// "daemon" if nobody asked.
	Door string
	// From is the address of who asked for it over the network; empty if it came
	// otherwise.
	From string
}

// String returns the actor as logs and events have it, such as "root (0), control",
// "page from 10.0.0.7" or "file".
func (a Actor) String() string {
	door := a.Door
	if a.From != "" {
		door += " from " + a.From
	}
	switch {
	case a.UID < 0:
		return door
	case a.Name == "":
		return fmt.Sprintf("%d, %s", a.UID, door)
	}
	return fmt.Sprintf("%s (%d), %s", a.Name, a.UID, door)
}
