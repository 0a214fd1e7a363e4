package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"balance/config"
	"balance/control"
	"balance/control/web"
	"balance/engine"
	"balance/engine/plane"
)

// daemon is a running balance.
type daemon struct {
	options  *options
	engine   *engine.Engine
	logging  *logging
	log      *slog.Logger
	reloader *reloader             // nil without a file
	counters *control.CountersFile // nil if they are in memory
	control  *control.Server       // nil if its socket cannot be had
	http     *web.Server
	started  time.Time
	stopping chan struct{} // closed when the end has begun
	stopOnce sync.Once
}

// serve runs a configuration until a signal or the end of ctx. The content is
// that of the file, if there is one.
func serve(ctx context.Context, o *options, c *engine.Config, content []byte, stdout, stderr io.Writer) int {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)

	var report *os.File
	logging := newLogging(stderr)
	if isBackgroundChild() {
		report = reportPipe()
		stderr = report
		err := os.Chdir("/")
		if err != nil {
			fmt.Fprintf(stderr, "balance: %v\n", err)
			return exitSystem
		}
		if logging, err = newSyslogging(); err != nil {
			fmt.Fprintf(stderr, "balance: warning: there is no syslog, messages are lost: %v\n", err)
		}
	}
	d := newDaemon(o, c, content, logging, stdout)
	if code := d.start(ctx, c, stderr); code != exitOK {
		return code
	}
	if report != nil {
		io.WriteString(report, readyMark)
		report.Close()
	}
	d.run(ctx, signals)
	return exitOK
}

func newDaemon(o *options, c *engine.Config, content []byte, logging *logging, stdout io.Writer) *daemon {
	d := &daemon{options: o, logging: logging, started: time.Now(), stopping: make(chan struct{})}
	d.log = d.logging.logger()
	engineOptions := engine.Options{Log: d.log, DataPlane: c.DataPlane, Loops: c.Loops}
	if o.dump {
		engineOptions.Dump = plane.NewDump(stdout)
	}
	if d.openCounters(c) {
		engineOptions.Counters = d.claimCounters
	}
	d.engine = engine.New(engineOptions)
	if o.config != "" {
		d.reloader = &reloader{
			path: o.config, debug: o.classic.Debug,
			check: d.checkControl, prepare: d.prepare, engine: d.engine, logging: d.logging, log: d.log,
			seen: sha256.Sum256(content), applied: c,
		}
	}
	d.http = d.newHTTP()
	return d
}

// start puts the first configuration in force. On an error the engine is shut
// down. The control socket is there before the first listener, so whoever was
// served can ask, and is answered when all listeners are there.
func (d *daemon) start(ctx context.Context, c *engine.Config, stderr io.Writer) int {
	d.logging.set(c.Log)
	d.openControl(c.Control, stderr)
	finish, err := d.prepareHTTP(c.Control)
	if err == nil {
		finish(true) // so that it can be asked whether the daemon is ready
		_, err = d.engine.Apply(ctx, c)
	}
	if err == nil {
		if d.counters != nil {
			d.counters.Update(d.engine)
		}
		if d.control != nil {
			d.control.Serve()
		}
		return exitOK
	}
	if d.control != nil {
		d.control.Close()
	}
	printErrors(stderr, err)
	if errors.Is(err, syscall.EADDRINUSE) {
		tellHolders(c, stderr)
	}
	d.http.Close()
	d.engine.Shutdown(ctx)
	if code := exitCode(err, d.options); code == exitAddress {
		return code
	}
	return exitSystem
}

// run serves until a signal to stop or the end of ctx, then lets the sessions
// finish.
func (d *daemon) run(ctx context.Context, signals <-chan os.Signal) {
	life, end := context.WithCancel(ctx)
	defer end()
	var watching sync.WaitGroup
	if d.counters != nil {
		watching.Go(func() { d.counters.Follow(life, d.engine) })
	}
	if d.reloader != nil {
		watching.Go(func() { d.watch(life) })
	}
	for stop := false; !stop; {
		select {
		case <-ctx.Done():
			stop = true
		case <-d.stopping:
			stop = true
		case s := <-signals:
			if s == syscall.SIGHUP {
				d.hangUp(ctx)
			} else {
				stop = true
			}
		}
	}
	end()
	watching.Wait()
	d.shutdown(signals)
}

// stop asks run to come to its end.
func (d *daemon) stop() { d.stopOnce.Do(func() { close(d.stopping) }) }

// watch reloads the file when it changes, unless the configuration in force
// says that it is not to be watched.
func (d *daemon) watch(ctx context.Context) {
	config.Watch(ctx, d.options.config,
		func() {
			if d.engine.Config().Control.Watch {
				d.reloader.changed()
			}
		},
		func(err error) { d.log.Warn("cannot watch", "error", err) })
}

// hangUp is what SIGHUP asks for: with a file a reload, else the names of the
// channels are resolved again.
func (d *daemon) hangUp(ctx context.Context) {
	if d.reloader != nil {
		d.reloader.reload() // logs what it did
		return
	}
	failed := d.engine.Resolve(ctx)
	d.log.Info("names resolved again", "failed", failed)
}

func (d *daemon) shutdown(signals <-chan os.Signal) {
	d.stop()
	timeout := d.engine.Config().ShutdownTimeout
	d.log.Info("shutting down", "timeout", timeout)
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	done := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() { awaitSignal(signals, cancel, done) })
	d.engine.Shutdown(ctx)
	close(done)
	waiting.Wait()
	d.http.Close()
	if d.control != nil {
		d.control.Close()
	}
	if d.counters != nil {
		d.counters.Update(d.engine) // nothing runs any more
	}
}

// awaitSignal ends the waiting for sessions at a second signal to stop.
func awaitSignal(signals <-chan os.Signal, cancel context.CancelFunc, done <-chan struct{}) {
	for {
		select {
		case s := <-signals:
			if s != syscall.SIGHUP {
				cancel()
			}
		case <-done:
			return
		}
	}
}
