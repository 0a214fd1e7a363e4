package control

import (
	"errors"
	"testing"
	"time"

	"balance/engine"
)

func TestReadyCommand(t *testing.T) {
	r := newRig(t, declare([]string{"web", "my mail"}, []string{"127.0.0.1:80"}))
	client := r.dial()
	r.expect(client, []exchange{
		{"ready", OK, "ready"},
		{`ready "my mail"`, OK, "ready"},
		{"ready nobody", Failed, `"nobody" is no listener: known here are web, my mail`},
		{"ready web mail", Misused, "syntax error"},
		{`listener "my mail"`, OK, ""},
		{"disable 0", OK, "channel 0 disabled"},
		{"ready", Failed, `listener "my mail" has no usable channel`},
		{`ready "my mail"`, Failed, `listener "my mail" has no usable channel`},
		{"ready web", OK, "ready"},
	})
	r.last.Store(&Reload{Time: time.Now(), Errs: []error{errors.New("f:1: a"), errors.New("f:2: b")}})
	r.expect(client, []exchange{
		{"ready web", OK, "ready\nwarning: the last reload failed: f:1: a; f:2: b"},
		{"ready", Failed, "listener \"my mail\" has no usable channel\nwarning: the last reload failed: f:1: a; f:2: b"},
	})
	r.stopping.Store(true)
	r.expect(client, []exchange{
		{"ready web", Failed, "the daemon is shutting down\nwarning: the last reload failed: f:1: a; f:2: b"},
	})
}

func TestListenerWithoutAddresses(t *testing.T) {
	if got := obstacle(&engine.ListenerStatus{Usable: true}); got != "listens on no address" {
		t.Errorf("%q", got)
	}
}
