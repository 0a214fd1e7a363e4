package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"balance/config"
	"balance/control"
	"balance/engine"
	"balance/engine/spec"
)

// reloader applies the configuration file when it has changed, or when
// somebody asks for it. Whatever is wrong with the file, the configuration in
// force stays.
type reloader struct {
	path    string
	debug   bool // see Load
	engine  *engine.Engine
	logging *logging
	// check finds faults in settings that can be seen without opening anything.
	check func(spec.Control) error
	// prepare does all that can fail before settings are applied, and returns
	// what puts them in force, or gives them up.
	prepare func(spec.Control) (finish func(commit bool), err error)
	log     *slog.Logger

	mu      sync.Mutex        // held during a reload, so there is one at a time
	seen    [sha256.Size]byte // guarded by mu; of the content that was tried last
	applied *spec.Config      // guarded by mu; what the file said when it was last applied

	last atomic.Pointer[control.Reload] // nil before the first
}

// status returns what came of the last reload that has come to its end.
func (r *reloader) status() control.Reload {
	if last := r.last.Load(); last != nil {
		return *last
	}
	return control.Reload{}
}

// changed reloads if the content is not that of the last attempt.
func (r *reloader) changed(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	document, err := Load(ctx, r.path, r.debug)
	if document.Data != nil && sha256.Sum256(document.Data) == r.seen {
		r.log.Debug("configuration file touched, its content is the same", "file", r.path)
		return
	}
	r.reloadLocked(ctx, engine.Actor{UID: -1, Door: "file"}, document, err)
}

// reload tries the file as it is now, even if it was tried before: what kept
// it from being applied may be gone.
func (r *reloader) reload(ctx context.Context, by engine.Actor) (spec.Changes, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	document, err := Load(ctx, r.path, r.debug)
	return r.reloadLocked(ctx, by, document, err)
}

// reloadLocked applies the document, or tells why it could not be loaded.
func (r *reloader) reloadLocked(ctx context.Context, by engine.Actor, document config.Document, err error) (spec.Changes, error) {
	r.seen = [sha256.Size]byte{}
	last := &control.Reload{Time: time.Now()}
	defer r.last.Store(last)
	if document.Data != nil {
		r.seen = sha256.Sum256(document.Data)
		last.Hash = hex.EncodeToString(r.seen[:])
	}
	var changes spec.Changes
	if err == nil {
		changes, err = r.apply(ctx, document.Config)
		err = document.Locate(err)
	}
	last.Generation = r.engine.Snapshot().Generation
	if err != nil {
		last.Errs = config.Flatten(err)
		r.engine.Record(engine.Event{What: "reload failed", Reason: reasonOf(last.Errs), By: by.String()})
		for _, one := range last.Errs {
			r.log.Error("cannot reload", "by", by.String(), "file", r.path, "error", one)
		}
		r.log.Error("the running configuration stays in force", "generation", last.Generation)
		return nil, err
	}
	r.engine.Record(engine.Event{What: "reload", Reason: fmt.Sprintf("changes: %d, generation %d", len(changes), last.Generation), By: by.String()})
	r.log.Info("configuration reloaded", "by", by.String(), "file", r.path, "changes", len(changes), "generation", last.Generation)
	return changes, nil
}

// reasonOf is the first of several errors, and how many there are beside it.
func reasonOf(errs []error) string {
	first := errs[0].Error()
	if len(errs) > 1 {
		return fmt.Sprintf("%s (and %d more)", first, len(errs)-1)
	}
	return first
}

// preview returns what reload would change, or why it could not. It opens
// nothing, so that looking disturbs nobody.
func (r *reloader) preview(ctx context.Context) (spec.Changes, error) {
	document, err := Load(ctx, r.path, r.debug)
	if err != nil {
		return nil, err
	}
	if err := r.check(document.Config.Control); err != nil {
		return nil, document.Locate(err)
	}
	changes, err := r.engine.Preview(document.Config)
	return changes, document.Locate(err)
}

// prepare checks what the control socket and the status page need of a new
// configuration.
func (d *daemon) prepare(settings spec.Control) (finish func(commit bool), err error) {
	commitControl, err := d.prepareControl(settings)
	if err != nil {
		return nil, err
	}
	finishHTTP, err := d.prepareHTTP(settings)
	if err != nil {
		return nil, err
	}
	return func(commit bool) {
		finishHTTP(commit)
		if commit {
			commitControl()
		}
	}, nil
}

func (r *reloader) apply(ctx context.Context, c *spec.Config) (spec.Changes, error) {
	finish, err := r.prepare(c.Control)
	if err != nil {
		return nil, err
	}
	running := r.engine.Config()
	r.logging.admit(c.Log)
	changes, err := r.engine.Apply(ctx, c)
	finish(err == nil)
	if err != nil {
		r.logging.set(running.Log)
		return nil, err
	}
	for _, edit := range takenBack(r.applied, running, c) {
		r.log.Info("edit taken back", "change", edit.String())
	}
	r.applied = c
	r.logging.set(c.Log)
	return changes, nil
}

// takenBack returns what was edited since the file was applied and is not so
// in the next configuration.
func takenBack(applied, running, next *spec.Config) spec.Changes {
	undone := spec.Diff(next, running)
	return slices.DeleteFunc(spec.Diff(applied, running), func(edit spec.Change) bool {
		return !slices.ContainsFunc(undone, func(c spec.Change) bool {
			return c.Listener == edit.Listener && c.Channel == edit.Channel && c.Key == edit.Key &&
				(c.Group == nil) == (edit.Group == nil) && (c.Group == nil || *c.Group == *edit.Group)
		})
	})
}
