// Package daemon is the side of balance that serves: it runs a configuration,
// reloads it, keeps the log and answers whoever controls it.
package daemon

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"balance/cmd/balance/internal/exit"
	"balance/config"
	"balance/config/history"
	"balance/control"
	"balance/control/counters"
	"balance/control/web"
	"balance/engine"
	"balance/engine/plane"
	"balance/engine/spec"
)

// Options say what to run, and how.
type Options struct {
	Document   config.Document
	File       string // that it stands in, as an absolute path; empty for arguments
	Background bool   // leave the terminal
	Debug      bool   // -d, see Load
	Dump       bool   // the bytes of both directions, on standard output
	Mapped     bool   // -M: keep the counters in a file, even if the configuration names none
	Forgetful  bool   // keep no history of the configuration on disk
	Version    string
}

// Load is config.LoadContext, but that -d outranks the log level of the file.
func Load(ctx context.Context, file string, debug bool) (config.Document, error) {
	document, err := config.LoadContext(ctx, file)
	override(document, err, debug)
	return document, err
}

// override lets -d outrank the log level of a document that could be had.
func override(document config.Document, err error, debug bool) {
	if err == nil && debug {
		document.Config.Log.Level = spec.LogDebug
	}
}

// daemon is a running balance.
type daemon struct {
	options  Options
	engine   *engine.Engine
	logging  *logging
	log      *slog.Logger
	dump     *plane.Dump // nil without -p
	reloader *reloader
	counters *counters.File  // nil if they are in memory alone
	control  *control.Server // nil if its socket cannot be had
	http     *web.Server
	face     control.Daemon // what both of them know of it
	exposure string         // that was warned of; kept by prepareHTTP
	started  time.Time
	hangUps  chan struct{}   // holds one that waits to be acted upon
	life     context.Context // ends when the daemon is to stop
	stop     context.CancelFunc
	open     context.Context // ends when it is not to accept clients any more, though told to stop
	shut     context.CancelFunc
	patience context.Context // ends when sessions are not to be waited for any more
	hurry    context.CancelFunc
}

// Run runs a configuration until a signal or the end of ctx, and returns the
// exit code. If it is to do so in the background, it returns once the process
// there listens.
func Run(ctx context.Context, o Options, stdout, stderr io.Writer) int {
	if o.Background && !isBackgroundChild() {
		return goBackground(stderr)
	}
	return serve(ctx, o, stdout, stderr)
}

func serve(ctx context.Context, o Options, stdout, stderr io.Writer) int {
	// Whoever reads the log or the dump may go away, the sessions stay.
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)

	var report *os.File
	var logging *logging
	if !isBackgroundChild() {
		logging = newLogging(stderr)
	} else {
		report = reportPipe()
		stderr = report
		err := os.Chdir("/")
		if err != nil {
			fmt.Fprintf(stderr, "balance: %v\n", err)
			return exit.System
		}
		if logging, err = newSyslogging(dialSyslog); err != nil {
			fmt.Fprintf(stderr, "balance: warning: there is no syslog, messages are lost until there is: %v\n", err)
		}
	}
	defer logging.close()
	d, err := newDaemon(ctx, o, logging, stdout)
	defer d.stop()
	defer d.shut()
	defer d.hurry()
	if d.dump != nil {
		defer d.dump.Close()
	}
	if err != nil {
		d.closeCounters()
		return d.refuse(err, exit.System, stderr)
	}
	var listening sync.WaitGroup
	defer listening.Wait()
	done := make(chan struct{})
	defer close(done)
	listening.Go(func() { d.heed(signals, done) })
	if code, started := d.start(stderr); !started {
		return code
	}
	if report != nil {
		if o.Debug {
			fmt.Fprintf(report, "balance: debug messages go to syslog, as %s[%d]\n", syslogTag, os.Getpid())
		}
		io.WriteString(report, readyMark)
		report.Close()
	}
	d.run()
	return exit.OK
}

func newDaemon(ctx context.Context, o Options, logging *logging, stdout io.Writer) (*daemon, error) {
	d := &daemon{options: o, logging: logging, started: time.Now(), hangUps: make(chan struct{}, 1)}
	d.life, d.stop = context.WithCancel(ctx)
	d.open, d.shut = context.WithCancel(context.Background())
	d.patience, d.hurry = context.WithCancel(context.Background())
	d.log = d.logging.logger()
	engineOptions := engine.Options{Log: d.log, SessionLog: d.logging.sessionLogger(), DataPlane: o.Document.Config.DataPlane, Loops: o.Document.Config.Loops}
	if o.Dump {
		d.dump = plane.NewDump(stdout, d.log)
		engineOptions.Dump = d.dump
	}
	if d.openCounters(); d.counters != nil {
		engineOptions.Counters, engineOptions.Observed = d.counters.Lookup, d.counters.Observed
	}
	var err error
	if d.engine, err = engine.New(engineOptions); err != nil {
		return d, err
	}
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), d.engine.Processors()))
	d.reloader = &reloader{
		path: o.File, debug: o.Debug, life: d.life,
		check: d.checkControl, prepare: d.prepare, engine: d.engine, logging: d.logging, log: d.log,
		seen: sha256.Sum256(o.Document.Data),
	}
	if o.File != "" {
		d.reloader.filed.Store(o.Document.Config)
		d.reloader.tried.Store(o.Document.Config)
		d.reloader.sum(d.life, o.Document.Config.Files())
	}
	d.reloader.history.Store(history.New(d.log))
	d.face = d.controls()
	d.http = web.NewServer(d.face, d.log)
	return d, nil
}

// heed acts on signals until done is closed: one to stop ends the daemon's life,
// another its shutdown_delay, if there is one, and the next its patience with
// sessions.
func (d *daemon) heed(signals <-chan os.Signal, done <-chan struct{}) {
	for {
		select {
		case s := <-signals:
			switch {
			case s == syscall.SIGHUP:
				select {
				case d.hangUps <- struct{}{}:
				default:
				}
			case d.life.Err() == nil:
				d.stop()
			case d.open.Err() == nil && d.shutdownDelay() > 0:
				d.shut()
			default:
				d.hurry()
			}
		case <-done:
			return
		}
	}
}

// start puts the first configuration in force. If it cannot, or if the daemon
// is to stop before, the engine is shut down. The control socket is there
// before the first listener, so whoever was served can ask, and is answered
// when all listeners are there.
func (d *daemon) start(stderr io.Writer) (code int, started bool) {
	c := d.options.Document.Config
	d.logging.set(c.Log)
	d.openControl(c.Control, stderr)
	finish, err := d.prepareHTTP(c.Control)
	if err == nil {
		finish(true) // so that it can be asked whether the daemon is ready
		_, err = d.engine.Apply(d.life, c)
	}
	if err == nil {
		if d.counters != nil {
			d.counters.Start(d.engine)
		}
		d.reloader.begin(d.options.Document, !d.options.Forgetful)
		if d.control != nil {
			d.control.Serve()
		}
		return exit.OK, true
	}
	if d.control != nil {
		d.control.Close()
	}
	d.http.Close()
	d.engine.Shutdown(d.life)
	d.closeCounters()
	if d.life.Err() != nil {
		return exit.OK, false
	}
	switch {
	case errors.Is(err, engine.ErrUnresolved):
		code = exit.Address
	case errors.Is(err, errToken):
		code = exit.Config
	default:
		code = exit.System
	}
	d.refuse(err, code, stderr)
	if errors.Is(err, syscall.EADDRINUSE) {
		tellHolders(c, stderr)
	}
	return code, false
}

// refuse says why the daemon does not start, with the lines of the file, and
// returns the code.
func (d *daemon) refuse(err error, code int, stderr io.Writer) int {
	err = d.options.Document.Locate(err)
	d.logging.close() // what it says comes first
	// Nobody may read this; a signal is to end the wait.
	signal.Reset(syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT)
	return exit.Because(err, code, stderr)
}

// run serves until the daemon is to stop, then lets the sessions finish.
func (d *daemon) run() {
	var working sync.WaitGroup
	if d.options.File != "" {
		working.Go(d.watch)
	}
	working.Go(func() {
		for {
			select {
			case <-d.hangUps:
				d.hangUp()
			case <-d.life.Done():
				return
			}
		}
	})
	<-d.life.Done()
	d.reloader.end()
	d.linger()
	d.shutdown()
	working.Wait()
	d.http.Close()
	if d.control != nil {
		d.control.Close()
	}
	d.closeCounters() // nothing runs any more
}

// watch reloads the file when it changes, or a file that is watched with it, unless
// the configuration in force says that it is not to be watched.
func (d *daemon) watch() {
	config.Watch(d.life, d.reloader.files,
		func() {
			if d.engine.Config().Control.Watch {
				d.reloader.changed(d.life)
			}
		},
		func(err error) { d.log.Warn("cannot watch", "error", err) })
}

// hangUp is what SIGHUP asks for: with a file a reload, else the names of the
// channels are resolved again.
func (d *daemon) hangUp() {
	if d.options.File != "" {
		d.reloader.reload(d.life, engine.Actor{UID: -1, Door: "signal"}) // logs what it did
		return
	}
	failed := d.engine.Resolve(d.life)
	d.log.Info("names resolved again", "by", "signal", "failed", failed)
}

// shutdownDelay returns how long the daemon is still open when it is to stop.
func (d *daemon) shutdownDelay() time.Duration {
	if config := d.engine.Config(); config != nil {
		return config.ShutdownDelay
	}
	return 0
}

// linger accepts clients for a while longer, so that those who send them learn
// that the daemon is not ready any more before it refuses one.
func (d *daemon) linger() {
	delay := d.shutdownDelay()
	if delay <= 0 {
		return
	}
	d.log.Info("not ready any more, accepting clients for a while", "delay", delay)
	timer := time.AfterFunc(delay, d.shut)
	defer timer.Stop()
	<-d.open.Done()
}

// shutdown stops accepting, and waits for the sessions as long as the
// configuration says, or until patience ends.
func (d *daemon) shutdown() {
	timeout := d.engine.Config().ShutdownTimeout
	d.log.Info("shutting down", "timeout", timeout)
	ctx, cancel := context.WithTimeout(d.patience, timeout)
	defer cancel()
	d.engine.Shutdown(ctx)
}
