package daemon

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"balance/config"
	"balance/control"
	"balance/engine"
	"balance/engine/spec"
)

// openControl opens the control socket. Without it, or with one that only its
// owners may use, the daemon runs all the same: it says so once.
func (d *daemon) openControl(settings spec.Control, stderr io.Writer) {
	warn := func(what string, err error) {
		d.log.Warn(what, "error", err)
		if isBackgroundChild() {
			fmt.Fprintf(stderr, "balance: warning: %s: %v\n", what, err)
		}
	}
	server, err := control.Listen(control.Directory(), d.face, d.log)
	if err != nil {
		warn("there is no control socket", err)
		return
	}
	d.control = server
	access, err := accessOf(settings)
	if err == nil {
		err = server.SetAccess(access)
	}
	if err != nil {
		warn("the control socket is for its owner and root alone", err)
	}
}

// accessOf returns who may use the control socket.
func accessOf(settings spec.Control) (control.Access, error) {
	group, err := control.LookupGroup(settings.Group)
	if err != nil {
		return control.Access{}, fault(spec.KeyControlGroup, err)
	}
	readers, err := control.LookupGroup(settings.ReadGroup)
	if err != nil {
		return control.Access{}, fault(spec.KeyReadGroup, err)
	}
	access, err := control.NewAccess(fs.FileMode(settings.Mode), group, readers)
	if err != nil {
		return control.Access{}, fault(spec.KeyReadGroup, err)
	}
	return access, nil
}

// fault says what of the file an error is about.
func fault(key spec.Key, err error) error {
	return spec.Refuse(key.Path(), "", err)
}

func (d *daemon) checkControl(settings spec.Control) error {
	if _, err := d.prepareControl(settings); err != nil {
		return err
	}
	_, err := Token(d.life, settings)
	return err
}

// prepareControl checks what the control socket needs of a new configuration.
// The function that it returns puts that in force.
func (d *daemon) prepareControl(settings spec.Control) (commit func(), err error) {
	if now := d.engine.Config().Control.StatsFile; settings.StatsFile != now {
		return nil, fault(spec.KeyStatsFile, fmt.Errorf("control: stats_file changes from %q to %q: that needs a restart", now, settings.StatsFile))
	}
	access, err := accessOf(settings)
	if err != nil {
		return nil, err
	}
	return func() {
		if d.control == nil {
			return
		}
		if err := d.control.SetAccess(access); err != nil {
			d.log.Error("cannot change who may use the control socket", "error", err)
		}
	}, nil
}

// tellHolders names the daemons that listen on addresses of the configuration.
func tellHolders(c *spec.Config, stderr io.Writer) {
	found := control.Search()
	for _, client := range found.Clients {
		defer client.Close()
		for _, l := range c.Listeners {
			for _, listen := range l.Listen {
				host, port, err := spec.SplitListen(listen)
				if err != nil {
					continue
				}
				for _, name := range client.Identity.Match(host, int(port)) {
					fmt.Fprintf(stderr, "balance: %s is taken by listener %q of balance, process %d\n", listen, name, client.Identity.PID)
				}
			}
		}
	}
}

// controls is what control clients can do to the daemon, and the status page
// shows of it.
func (d *daemon) controls() control.Daemon {
	c := control.Daemon{
		Engine:  d.engine,
		Version: d.options.Version,
		Started: d.started,
		File:    d.options.File,
		Marshal: config.Marshal,
		Stop:    d.stop,

		MessagesLost: d.logging.lost,
		Stopping:     func() bool { return d.life.Err() != nil },
	}
	d.undoing(&c)
	if d.options.File != "" {
		c.Reload = func(by engine.Actor) (spec.Changes, error) {
			changes, err := d.reloader.reload(d.life, by)
			return changes, oneALine(err)
		}
		c.Preview = func() (spec.Changes, error) {
			changes, err := d.reloader.preview(d.life)
			return changes, oneALine(err)
		}
		c.LastReload, c.FileDiffers = d.reloader.status, d.reloader.fileDiffers
	}
	return c
}

// undoing is what they can do about configurations that were in force.
func (d *daemon) undoing(c *control.Daemon) {
	c.History, c.Edited = d.reloader.list, d.reloader.edited
	c.Compare = func(number int) (control.Comparison, error) {
		found, err := d.reloader.compare(number)
		return found, oneALine(err)
	}
	c.Rollback = func(by engine.Actor, number int, write bool) (control.Rollback, error) {
		done, err := d.reloader.rollback(by, number, write)
		return done, oneALine(err)
	}
	c.Apply = func(by engine.Actor, name string, data []byte, within time.Duration) (spec.Changes, error) {
		changes, err := d.reloader.applyText(by, name, data, within)
		return changes, oneALine(err)
	}
	c.Confirm, c.Unconfirmed = d.reloader.confirm, d.reloader.unconfirmed.Load
}

// oneALine makes an error print one of those that were joined in it a line.
func oneALine(err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(config.Flatten(err)...)
}
