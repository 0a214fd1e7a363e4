package daemon

import (
	"net/netip"
	"testing"
	"time"

	"balance/engine"
	"balance/engine/balancer"
	"balance/engine/health"
	"balance/engine/socket"
	"balance/engine/spec"
)

func picture(name, address string, states ...balancer.State) engine.ListenerStatus {
	l := engine.ListenerStatus{Name: name, Addresses: []socket.Address{{TCP: netip.MustParseAddrPort(address)}}}
	for _, state := range states {
		l.Groups = append(l.Groups, engine.GroupStatus{Channels: []engine.ChannelStatus{{State: state}}})
	}
	return l
}

func unchecked(l engine.ListenerStatus) engine.ListenerStatus {
	l.Groups[0].Channels[0].Check = &health.Status{}
	return l
}

func checkedOnce(l engine.ListenerStatus) engine.ListenerStatus {
	l.Groups[0].Channels[0].Check = &health.Status{Last: health.Result{Time: time.Unix(1, 0)}}
	return l
}

// What is undone at once: a listener that served before has no channel any more
// that does.
func TestLost(t *testing.T) {
	const web, mail = "127.0.0.1:80", "127.0.0.1:25"
	up, down := picture("web", web, balancer.StateUp), picture("web", web, balancer.StateDown)
	for _, c := range []struct {
		name   string
		before []engine.ListenerStatus
		after  []engine.ListenerStatus
		want   string
	}{
		{"still up", []engine.ListenerStatus{up}, []engine.ListenerStatus{up}, ""},
		{"down", []engine.ListenerStatus{up}, []engine.ListenerStatus{down}, "web"},
		{"down before", []engine.ListenerStatus{down}, []engine.ListenerStatus{down}, ""},
		{"another name", []engine.ListenerStatus{up}, []engine.ListenerStatus{picture("www", web, balancer.StateHeld)}, "www"},
		{"another address", []engine.ListenerStatus{up}, []engine.ListenerStatus{picture("web", mail, balancer.StateUnresolved)}, "web"},
		{"a new one", []engine.ListenerStatus{up}, []engine.ListenerStatus{up, picture("mail", mail, balancer.StateDown)}, ""},
		{"removed", []engine.ListenerStatus{up}, nil, ""},
		{"one of two", []engine.ListenerStatus{up}, []engine.ListenerStatus{picture("web", web, balancer.StateDown, balancer.StateUntested)}, ""},
		{"full", []engine.ListenerStatus{up}, []engine.ListenerStatus{picture("web", web, balancer.StateFull, balancer.StateSlow)}, ""},
		{"failing", []engine.ListenerStatus{up}, []engine.ListenerStatus{picture("web", web, balancer.StateFailing, balancer.StateWeightless)}, "web"},
		{"disabled", []engine.ListenerStatus{up}, []engine.ListenerStatus{picture("web", web, balancer.StateDisabled, balancer.StateAutoDisabled)}, "web"},
		{"not checked yet", []engine.ListenerStatus{up}, []engine.ListenerStatus{unchecked(picture("web", web, balancer.StateDown))}, ""},
		{"checked", []engine.ListenerStatus{up}, []engine.ListenerStatus{checkedOnce(picture("web", web, balancer.StateDown))}, "web"},
		{"untested before", []engine.ListenerStatus{picture("web", web, balancer.StateUntested)}, []engine.ListenerStatus{down}, "web"},
	} {
		w := &waiting{served: serving(engine.Snapshot{Listeners: c.before})}
		if got := w.lost(engine.Snapshot{Listeners: c.after}); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// Daemons are told apart by the path of their file, or by where they listen.
func TestHistoryKey(t *testing.T) {
	c := spec.DefaultConfig()
	c.Listeners = []spec.Listener{{Listen: []string{"[::1]:80"}}}
	if got := historyKey("", c); got != "%5B::1%5D:80" {
		t.Errorf("%q", got)
	}
	one, two := historyKey("/etc/balance.toml", c), historyKey("/srv/balance.toml", c)
	if one == two || one[:13] != "balance.toml-" || len(one) != 25 {
		t.Errorf("%q, %q", one, two)
	}
}
