package daemon

import (
	"context"
	"errors"
	"fmt"

	"balance/config"
	"balance/control"
	"balance/control/web"
	"balance/engine/spec"
)

// prepareHTTP opens what a new configuration wants served. The function that
// it returns is to be called once, with whether that is to come into force.
func (d *daemon) prepareHTTP(settings spec.Control) (finish func(commit bool), err error) {
	token, err := Token(d.life, settings)
	if err != nil {
		return nil, err
	}
	finishServer, err := d.http.Prepare(d.life, web.Settings{Address: settings.HTTP, PProf: settings.PProf, Token: token, Write: settings.HTTPWrite})
	if err != nil {
		return nil, fault(spec.KeyHTTP, err)
	}
	warning := Exposure(d.life, settings)
	return func(commit bool) {
		finishServer(commit)
		if !commit {
			return
		}
		if warning != "" && warning != d.exposure {
			d.log.Warn(warning)
		}
		d.exposure = warning
	}, nil
}

// errToken is behind what is wrong with the file of the token: a fault of the
// configuration, though it shows outside of it.
var errToken = errors.New("http_token_file")

// Token reads the token that settings ask for; empty for none. It gives up when
// ctx ends.
func Token(ctx context.Context, settings spec.Control) (string, error) {
	if settings.HTTPTokenFile == "" {
		return "", nil
	}
	token, err := config.Within(ctx, func() (string, error) { return web.ReadToken(settings.HTTPTokenFile) })
	if err != nil {
		err = fault(spec.KeyHTTPTokenFile, fmt.Errorf("control: %w %q: %w", errToken, settings.HTTPTokenFile, err))
	}
	return token, err
}

// Exposure warns of settings that let other machines ask without a token, or
// other users have the place of the unix socket; empty if they do not. It gives
// up when ctx ends.
func Exposure(ctx context.Context, settings spec.Control) string {
	if path, ok := spec.UnixPath(settings.HTTP); ok {
		if err := control.CheckUnix(ctx, path); err != nil {
			return fmt.Sprintf("control http %q: others could put a socket of their own in its place, or keep it from being made: %v", settings.HTTP, err)
		}
		return ""
	}
	if !settings.HTTPExposed() || settings.HTTPTokenFile != "" {
		return ""
	}
	return fmt.Sprintf("control http %q can be reached from other machines and asks for no token: set http_token_file, or serve on 127.0.0.1 or a unix socket", settings.HTTP)
}
