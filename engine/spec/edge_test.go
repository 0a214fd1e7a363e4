package spec_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"balance/engine/admit"
	"balance/engine/spec"
)

// edge is pop3 with something of each key of the edge.
func edge() *spec.Config {
	c := pop3()
	l := &c.Listeners[0]
	l.Listen = append(l.Listen, "unix:/run/pop3.sock")
	l.ProxyProtocol.Accept = []string{"10.0.0.0/8"}
	l.Admit = spec.Admit{Allow: []string{"192.0.2.0/24"}, Deny: []string{"192.0.2.1"}, AllowFile: "/a", DenyFile: "/d", MaxSessions: 3, Rate: admit.Rate{Count: 20, Per: time.Second}}
	g := &l.Groups[0]
	g.ServerName, g.ALPN, g.From = []string{"a.example"}, []string{"h2"}, []string{"::1"}
	g.Channels = append(g.Channels, spec.Channel{Host: "unix:/run/app.sock", MaxConns: 3})
	return c
}

func TestDiffOfTheEdge(t *testing.T) {
	for _, test := range []struct {
		name     string
		old, new func() *spec.Config
		want     string
	}{
		{"all of it", pop3, edge, `
			+ pop3 listen unix:/run/pop3.sock
			~ pop3 proxy_protocol.accept none → 10.0.0.0/8
			~ pop3 admit.allow none → 192.0.2.0/24
			~ pop3 admit.deny none → 192.0.2.1
			~ pop3 admit.allow_file none → /a
			~ pop3 admit.deny_file none → /d
			~ pop3 admit.max_sessions 0 → 3
			~ pop3 admit.rate 0/s → 20/s
			~ pop3 group 0 server_name none → a.example
			~ pop3 group 0 alpn none → h2
			~ pop3 group 0 from none → ::1
			+ pop3 group 0 channel unix:/run/app.sock maxc 3`},
		{"a unix socket goes", edge, func() *spec.Config {
			c := edge()
			c.Listeners[0].Listen = []string{"unix:/run/other.sock"}
			c.Listeners[0].Groups[0].Channels[2].Host = "unix:/run/other.sock"
			return c
		}, `
			- pop3 listen 127.0.0.1:110
			- pop3 listen unix:/run/pop3.sock
			+ pop3 listen unix:/run/other.sock
			- pop3 group 0 channel unix:/run/app.sock
			+ pop3 group 0 channel unix:/run/other.sock maxc 3`},
		{"the header of a group", pop3, func() *spec.Config {
			c := pop3()
			g := &c.Listeners[0].Groups[0]
			g.SendProxy = spec.ProxyV2
			g.Channels[0].SendProxy, g.Channels[1].SendProxy = spec.ProxyV2, spec.ProxyV1
			g.Channels = append(g.Channels, spec.Channel{Host: "h3", Port: 1, SendProxy: spec.ProxyV2}, spec.Channel{Host: "h4", Port: 1})
			return c
		}, `
			~ pop3 group 0 send_proxy none → v2
			~ pop3 group 0 channel h2:110 send_proxy none → v1
			+ pop3 group 0 channel h3:1
			+ pop3 group 0 channel h4:1 send_proxy none`},
		{"a group for some", pop3, func() *spec.Config {
			c := pop3()
			c.Listeners[0].Groups = append(c.Listeners[0].Groups, spec.Group{From: []string{"::1", "127.0.0.1"}, ServerName: []string{"*.b"}, Channels: []spec.Channel{{Host: "h9", Port: 1}}})
			return c
		}, `
			+ pop3 group 2 rr server_name *.b from ::1 127.0.0.1
			+ pop3 group 2 channel h9:1`},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := strings.TrimSpace(strings.ReplaceAll(test.want, "\t", ""))
			if got := strings.TrimSpace(spec.Diff(test.old(), test.new()).String()); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// The listener goes on where it has the socket, whatever its name and its other
// addresses are; two unix sockets have nothing in common, nor one and a port that the
// kernel picks.
func TestMatchingOfUnixSockets(t *testing.T) {
	at := func(name string, listen ...string) *spec.Config {
		c := pop3()
		c.Listeners[0].Name, c.Listeners[0].Listen = name, listen
		return c
	}
	goesOn := func(old, new *spec.Config) bool {
		return !slices.ContainsFunc(spec.Diff(old, new), func(c spec.Change) bool {
			return c.Sign == spec.Added && c.Key == "" && c.Channel == "" && c.Group == nil
		})
	}
	for _, test := range []struct {
		old, new *spec.Config
		want     bool
	}{
		{at("a", "unix:/a", ":1"), at("b", ":2", "unix:/a"), true},
		{at("a", "unix:/a"), at("b", "unix:/b"), false},
		{at("a", "unix:/a"), at("b", ":0"), false},
		{at("a", ":0"), at("b", "unix:/a"), false},
	} {
		if got := goesOn(test.old, test.new); got != test.want {
			t.Errorf("%q goes on as %q: %t", test.old.Listeners[0].Listen, test.new.Listeners[0].Listen, got)
		}
	}
}

func TestListenKeys(t *testing.T) {
	for listen, want := range map[string]spec.ListenKey{
		":80":                 {Port: 80},
		"[0::1]:80":           {Host: "::1", Port: 80},
		"unix:/run/app.sock":  {Host: "unix:/run/app.sock"},
		"unix:80":             {Host: "unix", Port: 80},
		"unix:/a b:80":        {Host: "unix:/a b:80"},
		"unix:/run//app.sock": {},
		"unix:run/app.sock":   {},
	} {
		l := &spec.Listener{Listen: []string{listen}}
		keys := l.ListenKeys()
		if want == (spec.ListenKey{}) {
			if len(keys) > 0 {
				t.Errorf("%q is %v", listen, keys)
			}
			continue
		}
		if len(keys) != 1 || keys[0] != want {
			t.Errorf("%q is %v, want %v", listen, keys, want)
			continue
		}
		if again, err := spec.ParseListen(keys[0].String()); err != nil || again != want {
			t.Errorf("%q is printed as %s: %v", listen, keys[0], err)
		}
		path, unix := keys[0].Unix()
		if unix != strings.HasPrefix(listen, "unix:/") || unix && "unix:"+path != listen {
			t.Errorf("%q is the unix socket %q, %t", listen, path, unix)
		}
	}
}

// Nobody asks the name service for a unix socket.
func TestNamesWithoutUnixSockets(t *testing.T) {
	c := edge()
	if got, want := c.ChannelNames(), []string{"h1", "h2", "fo1"}; !slices.Equal(got, want) {
		t.Errorf("channels %q, want %q", got, want)
	}
	if got := c.ListenNames(); len(got) > 0 {
		t.Errorf("to listen on: %q", got)
	}
	if !spec.IsName("unix") || spec.IsName("unix:/a") || spec.IsName("") || spec.IsName("::1") {
		t.Error("what a name is")
	}
}

func TestUnixChannel(t *testing.T) {
	c := spec.Channel{Host: "unix:/run/app.sock"}
	if c.String() != "unix:/run/app.sock" || !c.IsUnix() || (&spec.Channel{Host: "unix", Port: 80}).IsUnix() {
		t.Errorf("the channel %s", c)
	}
	for _, test := range []struct {
		channel spec.Channel
		want    string
	}{
		{c, "unix:/run/app.sock 0"},
		{spec.Channel{Host: c.Host, CheckHost: "h"}, "h 77"},
		{spec.Channel{Host: c.Host, CheckHost: "h", CheckPort: 3}, "h 3"},
	} {
		g := spec.Group{Check: spec.Check{Type: spec.CheckTCP, Port: 77}}
		host, port := g.CheckOf(&test.channel)
		if got := fmt.Sprint(host, " ", port); got != test.want {
			t.Errorf("%+v is checked at %s, want %s", test.channel, got, test.want)
		}
	}
	edge := edge()
	if faults := edge.Validate(); len(faults) > 0 {
		t.Error(faults)
	}
	edge.Listeners[0].Groups[0].Channels[2].Port = 80
	if faults := edge.Validate(); len(faults) != 1 || faults[0].Path != spec.ListenerAt(0).Group(0).Channel(2).Key(spec.KeyPort) {
		t.Error(faults)
	}
}

// A clone shares no array with the original: each is written to.
func TestCloneOfTheEdge(t *testing.T) {
	c := edge()
	copied := c.Clone()
	var arrays func(of reflect.Value)
	written := 0
	arrays = func(of reflect.Value) {
		for i := range of.NumField() {
			switch field := of.Field(i); {
			case field.Kind() == reflect.Struct && field.Type().PkgPath() == of.Type().PkgPath():
				arrays(field)
			case field.Type() == reflect.TypeFor[[]string]() && field.Len() > 0:
				field.Index(0).SetString("x")
				written++
			}
		}
	}
	arrays(reflect.ValueOf(&c.Listeners[0]).Elem())
	arrays(reflect.ValueOf(&c.Listeners[0].Groups[0]).Elem())
	if !reflect.DeepEqual(copied, edge()) || written < 7 {
		t.Errorf("the clone changed along with %d arrays: %+v", written, copied)
	}
}

func TestFiles(t *testing.T) {
	c := edge()
	c.Listeners = append(c.Listeners, c.Listeners[0], listener("x", ":1"))
	c.Listeners[1].Admit.AllowFile = "/b"
	if got, want := c.Files(), []string{"/a", "/d", "/b"}; !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
}

func TestListChange(t *testing.T) {
	changes := spec.Changes{
		spec.ListChange("web", 0, spec.KeyDenyFile, "/etc/balance/deny", 3, 1),
		spec.ListChange("web", 0, spec.KeyAllowFile, "/a \x1b", 1, 0),
	}
	changes = append(changes, spec.Diff(pop3(), edge())[:1]...)
	const want = `~ web admit.deny_file "/etc/balance/deny": 3 networks added, 1 gone
~ web admit.allow_file "/a \x1b": 1 network added, 0 gone
+ pop3 listen unix:/run/pop3.sock
`
	if got := changes.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if declared := changes.Declared(); len(declared) != 1 || declared[0].Sign != spec.Added || len(changes) != 3 {
		t.Errorf("declared are\n%s", declared)
	}
}
