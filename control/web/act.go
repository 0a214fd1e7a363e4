package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"balance/engine"
)

// maxOrder is how long the body of a request that changes something may be, in
// bytes.
const maxOrder = 4 << 10

// actorOf is who acts by this door: whoever bears the token, which does not say
// more, from where the connection comes.
func actorOf(r *http.Request) engine.Actor {
	by := engine.Actor{UID: -1, Door: "page"}
	if client, err := netip.ParseAddrPort(r.RemoteAddr); err == nil { // that of a unix socket is none
		by.From = client.Addr().Unmap().String()
	}
	return by
}

// order is the body of a request that changes something. What an act has no use
// for is left out.
type order struct {
	Listener string `json:"listener"`
	Channel  string `json:"channel"` // as status has it, or its name
	ID       uint64 `json:"id"`      // of a session
	Number   int    `json:"number"`  // of a configuration; 0 for the one before

	by engine.Actor // who sent it
}

// String returns what it names, each with a blank before it.
func (o order) String() string {
	var b strings.Builder
	for _, word := range []string{o.Listener, o.Channel} {
		if word != "" {
			b.WriteString(" " + word)
		}
	}
	if o.ID != 0 {
		fmt.Fprintf(&b, " %d", o.ID)
	}
	return b.String()
}

// act is something that can be asked for with POST /api/v1/NAME.
type act struct {
	name string
	run  func(*Daemon, order) (engine.Act, error)
	told bool // the daemon tells the audit itself
}

var acts = []act{
	{"drain", (*Daemon).drain, false},
	{"enable", (*Daemon).enable, false},
	{"disable", (*Daemon).disable, false},
	{"close", (*Daemon).closeSession, false},
	{"rollback", (*Daemon).rollback, true},
	{"confirm", (*Daemon).confirm, true},
}

// path is where the act is asked for.
func (a act) path() string { return "/api/v1/" + a.name }

// isAct reports whether a request asks for something to be changed.
func isAct(r *http.Request) bool {
	return r.Method == http.MethodPost && slices.ContainsFunc(acts, func(a act) bool { return a.path() == r.URL.Path })
}

// serveAct does what an act is, once it is understood as a whole, and has the
// audit tell of it.
func (d *Daemon) serveAct(a act) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		o, status, err := readOrder(w, r)
		if err != nil {
			http.Error(w, err.Error(), status)
			return
		}
		o.by = actorOf(r)
		done, err := a.run(d, o)
		done.By, done.What = o.by, a.name
		if err != nil {
			done.Err, done.Request = err.Error(), a.name+o.String()
		}
		if !a.told {
			d.Engine.Note(done)
		}
		if err != nil {
			status := http.StatusConflict
			if errors.Is(err, errUnknown) || errors.Is(err, engine.ErrNoChannel) {
				status = http.StatusNotFound
			}
			http.Error(w, err.Error(), status)
			return
		}
		writeJSON(w, struct {
			Change string `json:"change"`
		}{done.Change})
	}
}

// readOrder reads a body that nobody has waited for until it was known that
// its sender bears the token.
func readOrder(w http.ResponseWriter, r *http.Request) (o order, status int, err error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return o, http.StatusUnsupportedMediaType, errors.New("the body has to be application/json")
	}
	if r.ContentLength > maxOrder {
		return o, http.StatusRequestEntityTooLarge, fmt.Errorf("the body has more than %d bytes", maxOrder)
	}
	// A recorder of package httptest has no deadline to set, and needs none.
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(requestTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return o, http.StatusBadRequest, err
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOrder))
	decoder.DisallowUnknownFields()
	err = decoder.Decode(&o)
	if err == nil {
		if _, err = decoder.Token(); errors.Is(err, io.EOF) {
			return o, http.StatusOK, nil
		}
		err = errors.New("there is something behind it")
	}
	if tooLong, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return o, http.StatusRequestEntityTooLarge, tooLong
	}
	return o, http.StatusBadRequest, fmt.Errorf("the body is not as it should be: %.200w", err)
}

// errUnknown is what an act names and the daemon does not have.
var errUnknown = errors.New("there is no")

// channelOf returns the channel that an order is about.
func (d *Daemon) channelOf(o order) (engine.ChannelStatus, error) {
	for _, l := range d.Engine.Snapshot().Listeners {
		if l.Name != o.Listener {
			continue
		}
		for _, g := range l.Groups {
			for _, c := range g.Channels {
				if c.Key.String() == o.Channel || c.Name != "" && c.Name == o.Channel {
					return c, nil
				}
			}
		}
		return engine.ChannelStatus{}, fmt.Errorf("%w channel %.100q of listener %.100q", errUnknown, o.Channel, o.Listener)
	}
	return engine.ChannelStatus{}, fmt.Errorf("%w listener %.100q", errUnknown, o.Listener)
}

func (d *Daemon) enable(o order) (engine.Act, error)  { return d.setEnabled(o, true, "enabled") }
func (d *Daemon) disable(o order) (engine.Act, error) { return d.setEnabled(o, false, "disabled") }

func (d *Daemon) setEnabled(o order, enable bool, word string) (engine.Act, error) {
	did := engine.Act{Listener: o.Listener}
	c, err := d.channelOf(o)
	if err != nil {
		return did, err
	}
	did.Channel, did.Name = c.Key.String(), c.Name
	changed, err := d.Engine.Enable(o.Listener, c.Key, enable)
	did.Change = "already " + word
	if changed {
		did.Change = fmt.Sprintf("%s → %s", c.State, word)
	}
	return did, err
}

func (d *Daemon) drain(o order) (engine.Act, error) {
	did := engine.Act{Listener: o.Listener}
	c, err := d.channelOf(o)
	if err != nil {
		return did, err
	}
	did.Channel, did.Name = c.Key.String(), c.Name
	sessions, err := d.Engine.Drain(o.Listener, c.Key)
	did.Change = fmt.Sprintf("%s → draining, sessions left: %d", c.State, sessions)
	return did, err
}

func (d *Daemon) closeSession(o order) (engine.Act, error) {
	if !d.Engine.Close(o.ID) {
		return engine.Act{}, fmt.Errorf("%w session %d", errUnknown, o.ID)
	}
	return engine.Act{Change: fmt.Sprintf("session %d ended", o.ID)}, nil
}

// errNothingKept is of a daemon that keeps no configurations to go back to.
var errNothingKept = errors.New("this daemon keeps no configurations")

// rollback does not write to the file: what is there may be somebody's work.
func (d *Daemon) rollback(o order) (engine.Act, error) {
	if d.Rollback == nil {
		return engine.Act{}, errNothingKept
	}
	done, err := d.Rollback(o.by, o.Number, false)
	return engine.Act{Change: fmt.Sprintf("back to configuration %d, changes: %d", done.To, len(done.Changes))}, err
}

func (d *Daemon) confirm(o order) (engine.Act, error) {
	if d.Confirm == nil {
		return engine.Act{}, errNothingKept
	}
	number, err := d.Confirm(o.by)
	return engine.Act{Change: fmt.Sprintf("change %d is kept", number)}, err
}
