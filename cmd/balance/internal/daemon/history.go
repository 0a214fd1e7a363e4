package daemon

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	"balance/config"
	"balance/config/history"
	"balance/control"
	"balance/engine"
	"balance/engine/spec"
)

// itself is the daemon as the one who asked for something.
var itself = engine.Actor{UID: -1, Door: "daemon"}

// edit is a command that changed the configuration in force.
type edit struct {
	by  engine.Actor
	why string
}

// historyKey tells the histories of the daemons of a user apart: by the path of
// the file, or else by the first address of the first listener.
func historyKey(file string, c *spec.Config) string {
	if file == "" {
		return url.PathEscape(c.Listeners[0].Listen[0])
	}
	sum := sha256.Sum256([]byte(file))
	name := url.PathEscape(filepath.Base(file))
	return fmt.Sprintf("%.100s-%s", name, hex.EncodeToString(sum[:6]))
}

// begin opens the history, and notes in it the configuration that the daemon has
// started with, unless it ended with the same.
func (r *reloader) begin(document config.Document, onDisk bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if onDisk {
		if directory, err := history.Directory(); err != nil {
			r.log.Warn("the history of the configuration is kept in memory alone", "error", err)
		} else {
			r.history.Store(history.Open(r.life, directory, historyKey(r.path, document.Config), r.log))
		}
	}
	changes := spec.Diff(nil, document.Config)
	if entries := r.entries(); len(entries) > 0 {
		if last, err := r.decode(nameOf(entries[len(entries)-1]), entries[len(entries)-1].Data); err == nil {
			changes = spec.Diff(last.Config, document.Config)
		}
	}
	r.inForce = document.Config
	r.record(itself, "start", document, changes)
}

// end waits for what keeps time, when the life of the daemon has ended, and leaves
// the history to the next daemon.
func (r *reloader) end() {
	r.clocks.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.Load().Close()
}

func nameOf(e history.Entry) string { return fmt.Sprintf("configuration %d", e.Number) }

func (r *reloader) entries() []history.Entry { return r.history.Load().Entries() }

// decode is Load for what is no file.
func (r *reloader) decode(name string, data []byte) (config.Document, error) {
	document := config.Document{Name: name, Data: data}
	var err error
	document.Config, err = config.Decode(name, data)
	override(document, err, r.debug)
	return document, err
}

// record notes in the history what has come into force. If that changes nothing,
// the text of the last entry becomes that of the document. The caller holds mu.
func (r *reloader) record(by engine.Actor, why string, document config.Document, changes spec.Changes) {
	r.returned = false
	data := document.Data
	if data == nil {
		data = config.Marshal(document.Config)
	}
	if entries := r.entries(); len(changes) == 0 && len(entries) > 0 {
		if string(entries[len(entries)-1].Data) != string(data) {
			r.history.Load().Amend(data)
		}
		return
	}
	r.history.Load().Add(history.Entry{Time: time.Now(), By: by.String(), Why: why, Changes: len(changes), Data: data})
}

// edited notes in the history what a command has changed. While somebody else
// applies something, that is done later.
func (r *reloader) edited(by engine.Actor, command string) {
	r.lastEdit.Store(&edit{by, "edit of " + command})
	if r.mu.TryLock() {
		defer r.mu.Unlock()
		r.recordEdits()
	}
}

// recordEdits notes what commands have changed since the last entry. The caller
// holds mu.
func (r *reloader) recordEdits() {
	now := r.engine.Config()
	if r.inForce == nil || now == r.inForce {
		return
	}
	changes := spec.Diff(r.inForce, now)
	r.inForce = now
	if len(changes) == 0 {
		return
	}
	last := edit{itself, "edit"}
	if found := r.lastEdit.Swap(nil); found != nil {
		last = *found
	}
	r.record(last.by, last.why, config.Document{Config: now}, changes)
}

// list returns the history as it is shown.
func (r *reloader) list() []control.Configuration {
	entries := r.entries()
	list := []control.Configuration{}
	for i, e := range entries {
		list = append(list, configuration(e, i == len(entries)-1))
	}
	return list
}

func configuration(e history.Entry, inForce bool) control.Configuration {
	return control.Configuration{Number: e.Number, Time: e.Time, By: e.By, Why: e.Why, Changes: e.Changes, InForce: inForce}
}

// find returns the index of the entry with a number.
func find(entries []history.Entry, number int) (int, error) {
	for i, e := range entries {
		if e.Number == number {
			return i, nil
		}
	}
	if len(entries) == 0 {
		return 0, errors.New("no configuration was in force yet")
	}
	return 0, fmt.Errorf("there is no configuration %d: \"history\" lists those from %d to %d", number, entries[0].Number, entries[len(entries)-1].Number)
}

// compare tells how an entry differs from the one before it, and from what is in
// force.
func (r *reloader) compare(number int) (control.Comparison, error) {
	entries := r.entries()
	i, err := find(entries, number)
	if err != nil {
		return control.Comparison{}, err
	}
	found := control.Comparison{Configuration: configuration(entries[i], i == len(entries)-1), Changed: spec.Changes{}, Rollback: spec.Changes{}}
	document, err := r.decode(nameOf(entries[i]), entries[i].Data)
	if err != nil {
		return found, err
	}
	if i > 0 {
		before, err := r.decode(nameOf(entries[i-1]), entries[i-1].Data)
		if err == nil {
			found.Before = entries[i-1].Number
			found.Changed = append(found.Changed, spec.Diff(before.Config, document.Config)...)
		}
	}
	changes, err := r.engine.Preview(document.Config)
	found.Rollback = append(found.Rollback, changes...)
	return found, document.Locate(err)
}

// target returns the entry that a rollback is about. Without a number, and right
// after a rollback that is to be written, it is what is in force: the rollback said
// so. The caller holds mu.
func (r *reloader) target(entries []history.Entry, number int, write bool) (history.Entry, error) {
	last := len(entries) - 1
	switch {
	case number != 0:
		i, err := find(entries, number)
		if err != nil {
			return history.Entry{}, err
		}
		return entries[i], nil
	case r.waiting != nil: // edits may have driven it out of the history
		return history.Entry{Number: r.waiting.Back, Data: r.waiting.back.Data}, nil
	case write && r.returned:
		return entries[last], nil
	case last < 1:
		return history.Entry{}, errors.New("there is no configuration before this one")
	}
	return entries[last-1], nil
}

// rollback puts an entry in force again, number 0 being the one before; and in the
// file, if it is to be written.
func (r *reloader) rollback(by engine.Actor, number int, write bool) (control.Rollback, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	done, err := r.rollbackLocked(by, number, write)
	if err != nil {
		r.failed(by, "rollback", err)
	}
	return done, err
}

func (r *reloader) rollbackLocked(by engine.Actor, number int, write bool) (done control.Rollback, err error) {
	r.recordEdits()
	entries := r.entries()
	e, err := r.target(entries, number, write)
	if err != nil {
		return done, err
	}
	inForce := e.Number == entries[len(entries)-1].Number
	done.To, done.Number = e.Number, e.Number
	document, err := r.decode(nameOf(e), e.Data)
	if err != nil {
		return done, err
	}
	var replacement *config.Replacement
	if write && inForce && r.waiting != nil {
		return done, fmt.Errorf("change %d waits to be confirmed: \"confirm\" it before it is written", r.waiting.Number)
	}
	if write {
		if r.path == "" {
			return done, errors.New("there is no configuration file to write: the daemon was started by arguments")
		}
		if replacement, err = config.PrepareReplacement(r.life, r.path, e.Data); err != nil {
			return done, err
		}
		defer replacement.Close()
	}
	if !inForce {
		done.Changes, err = r.put(r.life, act{by: by, what: "rollback", why: fmt.Sprintf("rollback to %d", e.Number), document: document})
		if err != nil {
			return done, err
		}
		r.returned = true
	}
	entries = r.entries()
	done.Number = entries[len(entries)-1].Number
	if write {
		if done.Backup, err = r.write(by, replacement, e.Data); err != nil {
			err = fmt.Errorf("configuration %d is in force, but not in the file: %w", done.To, err)
		}
	}
	return done, err
}

// write puts a prepared text, which says what is in force, in the file. Whoever
// watches that finds nothing new in it. The caller holds mu.
func (r *reloader) write(by engine.Actor, replacement *config.Replacement, data []byte) (backup string, err error) {
	if backup, err = replacement.Commit(r.life); err != nil {
		return "", err
	}
	r.seen, r.refused = sha256.Sum256(data), false
	r.filed.Store(r.engine.Config())
	r.tried.Store(r.engine.Config())
	r.last.Store(&control.Reload{Time: time.Now(), Generation: r.engine.Snapshot().Generation, Hash: hex.EncodeToString(r.seen[:])})
	if backup != "" {
		r.log.Info("configuration file written", "by", by.String(), "file", r.path, "backup", backup)
	}
	return backup, nil
}

// applyText puts in force what is no file of the daemon's.
func (r *reloader) applyText(by engine.Actor, name string, data []byte, within time.Duration) (spec.Changes, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	document, err := r.decode(name, data)
	var changes spec.Changes
	if err == nil {
		if within == 0 {
			within = document.Config.Control.ConfirmWithin
		}
		changes, err = r.put(r.life, act{by: by, what: "apply", why: "apply " + name, document: document, within: within})
	}
	if err != nil {
		r.failed(by, "apply", err)
	}
	return changes, err
}

// failed tells that nothing came of an act, and why.
func (r *reloader) failed(by engine.Actor, what string, err error) {
	errs := config.Flatten(err)
	r.engine.Note(engine.Act{By: by, What: what, Err: reasonOf(errs)})
	r.engine.Record(engine.Event{What: what + " failed", Reason: reasonOf(errs), By: by.String()})
}

// comparison is whether two configurations differ.
type comparison struct {
	filed, running *spec.Config
	differ         bool
}

// fileDiffers reports whether the file, as it was last applied, says something
// else than what is in force.
func (r *reloader) fileDiffers() bool {
	c := comparison{filed: r.filed.Load(), running: r.engine.Config()}
	if c.filed == nil || c.running == nil || c.filed == c.running {
		return false
	}
	if known := r.compared.Load(); known != nil && known.filed == c.filed && known.running == c.running {
		return known.differ
	}
	c.differ = len(spec.Diff(c.filed, c.running)) > 0
	r.compared.Store(&c)
	return c.differ
}
