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
	"balance/config/history"
	"balance/control"
	"balance/engine"
	"balance/engine/spec"
)

// reloader applies the configuration file when it has changed, or when
// somebody asks for it, and puts back in force what was so before. Whatever is
// wrong with the file, the configuration in force stays.
type reloader struct {
	path    string // empty if there is no file
	debug   bool   // see Load
	engine  *engine.Engine
	logging *logging
	// check finds faults in settings that can be seen without opening anything.
	check func(spec.Control) error
	// prepare does all that can fail before settings are applied, and returns
	// what puts them in force, or gives them up.
	prepare func(spec.Control) (finish func(commit bool), err error)
	log     *slog.Logger
	life    context.Context // of the daemon
	clocks  sync.WaitGroup  // of changes that wait to be confirmed; they end with life

	mu       sync.Mutex                   // held while something is applied, so there is one at a time
	seen     [sha256.Size]byte            // guarded by mu; of the content that was tried last
	refused  bool                         // guarded by mu; it is not in force
	inForce  *spec.Config                 // guarded by mu; what the last entry of the history declares; nil before the first
	returned bool                         // guarded by mu; that entry came of going back
	lists    map[string][sha256.Size]byte // guarded by mu; of the files beside it, since they were applied last
	waiting  *waiting                     // guarded by mu; the change that is to be confirmed, or nil

	last        atomic.Pointer[control.Reload]      // nil before the first
	history     atomic.Pointer[history.Store]       // changed under mu
	unconfirmed atomic.Pointer[control.Unconfirmed] // of waiting
	filed       atomic.Pointer[spec.Config]         // what the file said when it was last applied; nil without one
	tried       atomic.Pointer[spec.Config]         // what the file said when it was last tried; nil before, and if it cannot be told
	compared    atomic.Pointer[comparison]          // what fileDiffers found last
	lastEdit    atomic.Pointer[edit]
}

// status returns what came of the last reload that has come to its end.
func (r *reloader) status() control.Reload {
	if last := r.last.Load(); last != nil {
		return *last
	}
	return control.Reload{}
}

// files returns the configuration file and those that are watched with it: which it
// names, and what is in force.
func (r *reloader) files() []string {
	files := []string{r.path}
	for _, c := range []*spec.Config{r.engine.Config(), r.tried.Load()} {
		if c == nil {
			continue
		}
		for _, file := range c.Files() {
			if !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	return files
}

// namesSameLists reports whether one listener names the files that the other does, which
// stands in its place.
func namesSameLists(a, b spec.Listener) bool {
	return a.Name == b.Name && a.Admit.AllowFile == b.Admit.AllowFile && a.Admit.DenyFile == b.Admit.DenyFile
}

// sum notes what files beside the configuration file hold before they are applied, and
// reports whether that is something else than it was. The caller holds mu.
func (r *reloader) sum(ctx context.Context, files []string) (changed bool) {
	if r.lists == nil {
		r.lists = map[string][sha256.Size]byte{}
	}
	for _, file := range files {
		sum := config.Sum(ctx, file)
		changed = changed || sum != r.lists[file]
		r.lists[file] = sum
	}
	return changed
}

// changed reloads if the content is not that of the last attempt. If only files
// beside the configuration file hold something else, they are read again, for what is
// in force: what commands have changed stays so.
func (r *reloader) changed(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	by := engine.Actor{UID: -1, Door: "file"}
	document, err := Load(ctx, r.path, r.debug)
	switch {
	case document.Data == nil || sha256.Sum256(document.Data) != r.seen:
		r.reloadLocked(ctx, by, document, err)
	case !r.sum(ctx, r.files()[1:]):
		r.log.Debug("configuration file touched, its content is the same", "file", r.path)
	case r.refused: // what kept it from being applied may be gone
		r.reloadLocked(ctx, by, document, err)
	default:
		r.tell(by, &control.Reload{Time: time.Now(), Hash: hex.EncodeToString(r.seen[:])}, func() (spec.Changes, error) {
			changes, err := r.engine.Reread(ctx)
			if document.Config != nil && slices.EqualFunc(document.Config.Listeners, r.engine.Config().Listeners, namesSameLists) {
				err = document.Locate(err)
			}
			return changes, err
		})
	}
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
	if document.Data != nil {
		r.seen = sha256.Sum256(document.Data)
		last.Hash = hex.EncodeToString(r.seen[:])
	}
	r.tried.Store(document.Config)
	changes, err := r.tell(by, last, func() (spec.Changes, error) {
		if err != nil {
			return nil, err
		}
		running := r.engine.Config()
		changes, err := r.put(ctx, act{by: by, what: "reload", why: "reload", document: document, within: document.Config.Control.ConfirmWithin})
		if err == nil {
			for _, edit := range takenBack(r.filed.Load(), running, document.Config) {
				r.log.Info("edit taken back", "change", edit.String())
			}
			r.filed.Store(document.Config)
		}
		return changes, err
	})
	r.refused = err != nil
	return changes, err
}

// tell has something reloaded, and tells what came of it.
func (r *reloader) tell(by engine.Actor, last *control.Reload, reload func() (spec.Changes, error)) (spec.Changes, error) {
	defer r.last.Store(last)
	changes, err := reload()
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

// act is one way to another configuration.
type act struct {
	by       engine.Actor
	what     string // the word of its event
	why      string // what it is called in the history
	document config.Document
	within   time.Duration // for which a change of routing waits to be confirmed; 0 if it does not
}

// put puts a configuration in force, whoever asks for it: all of it, or nothing.
// The caller holds mu.
func (r *reloader) put(ctx context.Context, a act) (spec.Changes, error) {
	r.recordEdits()
	from := r.here()
	r.sum(ctx, a.document.Config.Files())
	changes, err := r.apply(ctx, a.document.Config)
	if err != nil {
		return nil, a.document.Locate(err)
	}
	declared := changes.Declared()
	if len(declared) > 0 {
		r.inForce = a.document.Config // commands may have changed it by now
	}
	r.record(a.by, a.why, a.document, declared)
	if len(declared) == 0 {
		return changes, nil
	}
	if a.what != "reload" { // which is told with the name of the file
		r.engine.Note(engine.Act{By: a.by, What: a.what, Change: fmt.Sprintf("%s, changes: %d, generation %d", a.why, len(changes), r.engine.Snapshot().Generation)})
	}
	if w := r.waiting; w != nil {
		r.log.Info("the change is not to be confirmed any more: another one replaces it", "change", w.Number)
		from = point{number: w.Back, document: w.back, served: w.served}
		r.settle()
	}
	if a.within > 0 && spec.Diff(from.document.Config, r.engine.Config()).Routing() {
		r.await(a, from)
	}
	return changes, nil
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
