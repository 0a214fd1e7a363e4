package main

import (
	"balance/control/web"
	"balance/engine"
)

// newHTTP returns the server of the status page and the metrics, which serves
// nothing yet.
func (d *daemon) newHTTP() *web.Server {
	page := web.Daemon{
		Engine:   d.engine,
		Version:  version(),
		Started:  d.started,
		File:     d.options.config,
		Stopping: func() bool { return d.life.Err() != nil },

		MessagesLost: d.logging.lost,
	}
	if d.reloader != nil {
		page.LastReload = func() web.Reload {
			last := d.reloader.status()
			return web.Reload{Time: last.Time, Err: oneALine(last.Err), Hash: last.Hash}
		}
	}
	return web.NewServer(page, d.log)
}

// prepareHTTP opens what a new configuration wants served. The function that
// it returns is to be called once, with whether that is to come into force.
func (d *daemon) prepareHTTP(settings engine.Control) (finish func(commit bool), err error) {
	finish, err = d.http.Prepare(web.Settings{Address: settings.HTTP, PProf: settings.PProf})
	if err != nil {
		err = fault("control.http", err)
	}
	return finish, err
}
