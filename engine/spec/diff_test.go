package spec_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"balance/engine/balancer"
	"balance/engine/spec"
)

// pop3 is the configuration that the tests of Diff start from.
func pop3() *spec.Config {
	l := spec.Defaults()
	l.Name = "pop3"
	l.Listen = []string{"127.0.0.1:110"}
	l.Groups = []spec.Group{
		{Channels: []spec.Channel{{Host: "h1", Port: 110}, {Host: "h2", Port: 110, MaxConns: 16}}},
		{Channels: []spec.Channel{{Host: "fo1", Port: 110}}},
	}
	return declare(l)
}

func TestDiff(t *testing.T) {
	tests := []struct {
		name string
		edit func(*spec.Config)
		want string
	}{
		{"nothing", func(*spec.Config) {}, ""},
		{"a listener", func(c *spec.Config) {
			c.Listeners = append(c.Listeners, listener("web", "127.0.0.1:80"))
			c.Listeners[1].Groups = []spec.Group{{Mode: balancer.Hash, Channels: []spec.Channel{{Host: "::1", Port: 80, MaxConns: 3, Disabled: true}}}}
		}, `
			+ listener web 127.0.0.1:80
			+ web group 0 hash
			+ web group 0 channel [::1]:80 maxc 3 disabled true`},
		{"all listeners", func(c *spec.Config) { c.Listeners = nil }, `- listener pop3 127.0.0.1:110`},
		{"maxc", func(c *spec.Config) { c.Listeners[0].Groups[0].Channels[1].MaxConns = 32 }, `~ pop3 group 0 channel h2:110 maxc 16 → 32`},
		{"name", func(c *spec.Config) {
			g := c.Listeners[0].Groups
			g[0].Channels[0].Name = "w1"
			g[1].Channels = append(g[1].Channels, spec.Channel{Name: "w2", Host: "fo2", Port: 1})
		}, `
			~ pop3 group 0 channel h1:110 name none → w1
			+ pop3 group 1 channel fo2:1 name w2`},
		{"weight", func(c *spec.Config) {
			g := c.Listeners[0].Groups[0].Channels
			g[0].Weight = spec.WeightOf(3)
			c.Listeners[0].Groups[1].Channels = append(c.Listeners[0].Groups[1].Channels, spec.Channel{Host: "fo2", Port: 1, Weight: spec.WeightOf(0)})
		}, `
			~ pop3 group 0 channel h1:110 weight 1 → 3
			+ pop3 group 1 channel fo2:1 weight 0`},
		{"mode", func(c *spec.Config) {
			g := c.Listeners[0].Groups
			g[0].Mode, g[0].SlowStart = balancer.First, time.Minute
			g[1].Mode, g[1].HashLoad = balancer.Hash, 150
			g[1].HashIPv4Bits.SetInt(24)
			g[1].HashIPv6Bits.SetInt(64)
		}, `
			~ pop3 group 0 mode rr → first
			~ pop3 group 0 slow_start 0s → 1m
			~ pop3 group 1 mode rr → hash
			~ pop3 group 1 hash_ipv4_bits 32 → 24
			~ pop3 group 1 hash_ipv6_bits 128 → 64
			~ pop3 group 1 hash_load 0 → 150`},
		{"disabled", func(c *spec.Config) { c.Listeners[0].Groups[1].Channels[0].Disabled = true }, `~ pop3 group 1 channel fo1:110 disabled false → true`},
		{"port", func(c *spec.Config) { c.Listeners[0].Groups[0].Channels[0].Port = 111 }, `
			- pop3 group 0 channel h1:110
			+ pop3 group 0 channel h1:111`},
		{"a repeat", func(c *spec.Config) {
			g := &c.Listeners[0].Groups[0]
			g.Channels = append(g.Channels, spec.Channel{Host: "h1", Port: 110})
		}, `+ pop3 group 0 channel h1:110#2`},
		{"order", func(c *spec.Config) {
			g := c.Listeners[0].Groups[0].Channels
			g[0], g[1] = g[1], g[0]
		}, `~ pop3 group 0 order h1:110 h2:110 → h2:110 h1:110`},
		{"moved", func(c *spec.Config) {
			g := c.Listeners[0].Groups
			g[1].Channels = append(g[1].Channels, g[0].Channels[1])
			g[0].Channels = g[0].Channels[:1]
		}, `~ pop3 channel h2:110 group 0 → 1`},
		{"group inserted", func(c *spec.Config) {
			c.Listeners[0].Groups = append([]spec.Group{{Mode: balancer.Hash, Channels: []spec.Channel{{Host: "h0", Port: 1}}}}, c.Listeners[0].Groups...)
		}, `
			~ pop3 group 0 mode rr → hash
			+ pop3 group 2 rr
			+ pop3 group 0 channel h0:1
			~ pop3 channel h1:110 group 0 → 1
			~ pop3 channel h2:110 group 0 → 1
			~ pop3 channel fo1:110 group 1 → 2`},
		{"group removed", func(c *spec.Config) { c.Listeners[0].Groups = c.Listeners[0].Groups[:1] }, `
			- pop3 group 1 channel fo1:110
			- pop3 group 1 rr`},
		{"renamed", func(c *spec.Config) { c.Listeners[0].Name = "mail" }, `~ mail name pop3 → mail`},
		{"address added", func(c *spec.Config) { c.Listeners[0].Listen = append(c.Listeners[0].Listen, "[::1]:110") }, `+ pop3 listen [::1]:110`},
		{"address changed, name kept", func(c *spec.Config) { c.Listeners[0].Listen = []string{":995"} }, `
			- pop3 listen 127.0.0.1:110
			+ pop3 listen :995`},
		{"address widened, name changed", func(c *spec.Config) {
			c.Listeners[0].Name, c.Listeners[0].Listen = "all", []string{"0.0.0.0:110"}
		}, `
			- all listen 127.0.0.1:110
			+ all listen 0.0.0.0:110
			~ all name pop3 → all`},
		{"settings", func(c *spec.Config) {
			l := &c.Listeners[0]
			l.Source = netip.MustParseAddr("192.0.2.1")
			l.ConnectTimeout, l.IdleTimeout, l.HalfCloseTimeout, l.KeepAlive, l.UserTimeout = time.Second, time.Minute, 2*time.Hour, 0, 0
			l.AutoDisable, l.HashFailover, l.OnRemove, l.DrainTimeout = true, true, spec.Drain, 90*time.Second
			c.ShutdownTimeout = 0
			c.Log = spec.Log{Level: spec.LogDebug, Format: spec.LogJSON, Sessions: spec.AllSessions, SessionStart: true, SessionInterval: time.Minute}
			c.Control = spec.Control{Mode: 0o660, Group: "adm", ReadGroup: "staff", StatsFile: "x", HTTP: "[::1]:8404", HTTPTokenFile: "/t", HTTPWrite: true, PProf: true}
		}, `
			~ shutdown_timeout 10s → 0s
			~ log level info → debug
			~ log format text → json
			~ log sessions none → all
			~ log session_start false → true
			~ log session_interval 0s → 1m
			~ control watch true → false
			~ control mode 0600 → 0660
			~ control group none → adm
			~ control read_group none → staff
			~ control stats_file none → x
			~ control http none → [::1]:8404
			~ control http_token_file none → /t
			~ control http_write false → true
			~ control pprof false → true
			~ pop3 source none → 192.0.2.1
			~ pop3 connect_timeout 5s → 1s
			~ pop3 idle_timeout 0s → 1m
			~ pop3 half_close_timeout 1h → 2h
			~ pop3 keepalive 15s → 0s
			~ pop3 user_timeout auto → 0s
			~ pop3 auto_disable false → true
			~ pop3 hash_failover false → true
			~ pop3 on_remove keep → drain
			~ pop3 drain_timeout 30s → 1m30s`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			edited := pop3()
			test.edit(edited)
			want := strings.TrimSpace(strings.ReplaceAll(test.want, "\t", ""))
			if got := strings.TrimSpace(spec.Diff(pop3(), edited).String()); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// TestMatching is about which old listener a new one continues: that tells who
// keeps sessions, counters and sockets.
func TestMatching(t *testing.T) {
	parse := func(text string) *spec.Config {
		c := declare()
		for one := range strings.SplitSeq(text, "; ") {
			words := strings.Fields(one)
			l := spec.Defaults()
			l.Name, l.Listen = words[0], words[1:]
			l.Groups = []spec.Group{{Channels: []spec.Channel{{Host: "h", Port: 80}}}}
			c.Listeners = append(c.Listeners, l)
		}
		return c
	}
	for _, test := range []struct{ name, old, new, want string }{
		{"an address moves", "b :3; a :1 :2", "b :2 :3; a :1", `
			+ b listen :2
			- a listen :2`},
		{"the only address moves", "a :1; b :2", "b :1", `
			- listener b :2
			~ b name a → b`},
		{"addresses are exchanged", "a :1; b :2", "a :2; b :1", `
			~ a name b → a
			~ b name a → b`},
		{"a listener is split", "a :1 :2", "b :1; c :2", `
			- b listen :2
			~ b name a → b
			+ listener c :2
			+ c group 0 rr
			+ c group 0 channel h:80`},
		{"two become one", "a :1; b :2", "c :1 :2", `
			- listener b :2
			+ c listen :2
			~ c name a → c`},
		{"one overlaps, one has the address", "a 0.0.0.0:1; b 127.0.0.1:1", "c 127.0.0.2:1; b 127.0.0.1:1", `
			- c listen 0.0.0.0:1
			+ c listen 127.0.0.2:1
			~ c name a → c`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := spec.Diff(parse(test.old), parse(test.new)).String()
			if want := strings.TrimSpace(strings.ReplaceAll(test.want, "\t", "")); strings.TrimSpace(got) != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	bad := spec.DefaultConfig()
	bad.ShutdownTimeout = -1
	bad.Control = spec.Control{Mode: 0o440, Group: "a\x07", ReadGroup: "\x1b", StatsFile: "a/b", HTTP: "8404"}
	bad.Process.MaxBuffered = spec.MinBuffered - 1024
	l := spec.Defaults()
	l.Name = "x"
	l.Listen = []string{"127.0.0.1:80", "0.0.0.0:80", "nonsense", "[::1]:99999"}
	l.ConnectTimeout = 0
	l.IdleTimeout = -time.Second
	l.UserTimeout = spec.UserTimeout(spec.MaxUserTimeout + 1)
	l.Groups = []spec.Group{{}, {Channels: []spec.Channel{{Host: "1.2.3", Port: 0, MaxConns: -1}, {Host: "a..b", Port: 1}, {Host: "-f", Port: 1}, {Host: "fe80::1%a\x1b", Port: 1}}}}
	l.Source = netip.MustParseAddr("fe80::1%e]:1")
	second := spec.Defaults()
	second.Name = "x"
	third := spec.Defaults()
	third.Name = "a\x1b[2J"
	bad.Listeners = []spec.Listener{l, second, third}
	var got []string
	for _, fault := range bad.Validate() {
		got = append(got, fault.Path.String()+" | "+fault.Error())
	}
	want := []string{
		`defaults.shutdown_timeout | shutdown_timeout "-1ns" is not one of "0s" to "87600h"`,
		`process.max_buffered | process: max_buffered "1023KiB" is neither "0B" (no limit) nor at least "1MiB"`,
		`control.mode | control: mode "0440" is not one of "0600" to "0660": readable and writable for the owner, and nothing for others, whom only control.group and control.read_group let in`,
		`control.group | control: group "a\a" is not the name of a group`,
		`control.read_group | control: read_group "\x1b" is not the name of a group`,
		`control.stats_file | control: stats_file "a/b" is neither an absolute path nor the name of a file`,
		`control.http | control: http "8404": it must be host:port, [IPv6 address]:port or :port`,
		`listener[0].listen[1] | listener "x": listen "0.0.0.0:80" overlaps "127.0.0.1:80" of listener "x"`,
		`listener[0].listen[2] | listener "x": listen "nonsense": it must be host:port, [IPv6 address]:port or :port`,
		`listener[0].listen[3] | listener "x": listen "[::1]:99999": port "99999" is not one of 0 to 65535`,
		`listener[0].source | listener "x": source "fe80::1%e]:1" has a zone that is not the name of a network interface`,
		`listener[0].connect_timeout | listener "x": connect_timeout "0s" is not one of "1ms" to "1h"`,
		`listener[0].idle_timeout | listener "x": idle_timeout "-1s" is not one of "0s" to "87600h"`,
		`listener[0].user_timeout | listener "x": user_timeout "596h31m23.647000001s" is not one of "0s" to "596h31m23.647s"`,
		`listener[0].group[0].channels | listener "x" group 0: the group is empty: at least one channel is needed`,
		`listener[0].group[1].channels[0].host | listener "x" group 1 channel 0: host "1.2.3" is neither an IP address nor a host name`,
		`listener[0].group[1].channels[0].port | listener "x" group 1 channel 0: port 0 is not one of 1 to 65535`,
		`listener[0].group[1].channels[0].maxc | listener "x" group 1 channel 0: maxc -1 is not one of 0 (no limit) to 4294967295`,
		`listener[0].group[1].channels[1].host | listener "x" group 1 channel 1: host "a..b" is neither an IP address nor a host name`,
		`listener[0].group[1].channels[2].host | listener "x" group 1 channel 2: host "-f" is neither an IP address nor a host name`,
		`listener[0].group[1].channels[3].host | listener "x" group 1 channel 3: host "fe80::1%a\x1b" has a zone that is not the name of a network interface`,
		`listener[1].name | listener "x": the name "x" is taken by listener 0 already`,
		`listener[1].listen | listener "x": listen is missing: at least one "host:port" is needed`,
		`listener[1].group | listener "x": there is no group: at least one [[listener.group]] is needed`,
		`listener[2].name | listener "a\x1b[2J": the name "a\x1b[2J" has characters that cannot be printed`,
		`listener[2].listen | listener "a\x1b[2J": listen is missing: at least one "host:port" is needed`,
		`listener[2].group | listener "a\x1b[2J": there is no group: at least one [[listener.group]] is needed`,
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

func TestValidateHTTPAddress(t *testing.T) {
	longest := len(syscall.RawSockaddrUnix{}.Path) - 1
	for _, test := range []struct{ http, listen, want string }{
		{"127.0.0.1:80", "127.0.0.2:80", ""},
		{"127.0.0.1:0", "127.0.0.1:0", ""},
		{"127.0.0.1:80", ":80", `listener "x": listen ":80" overlaps "127.0.0.1:80" of control http`},
		{"[::1]:80", "[0::1]:80", `listener "x": listen "[0::1]:80" is the same as "[::1]:80" of control http`},
		{"unix:/run/balance/http.sock", ":80", ""},
		{"unix:/" + strings.Repeat("x", longest-1), ":80", ""},
		{"unix:http.sock", ":80", `control: http "unix:http.sock": the path of a unix socket must be absolute, as in "unix:/run/balance/http.sock"`},
		{"unix:80", ":80", `control: http "unix:80": the path of a unix socket must be absolute, as in "unix:/run/balance/http.sock"`},
		{"unix:/run/", ":80", `control: http "unix:/run/": the path of a unix socket must be absolute, as in "unix:/run/balance/http.sock"`},
		{"unix:/a\x1b[2J", ":80", `control: http "unix:/a\x1b[2J" has characters that cannot be printed`},
		{"unix:/" + strings.Repeat("x", longest), ":80", `control: http "unix:/` + strings.Repeat("x", 54) + fmt.Sprintf(`": the path of a unix socket has at most %d bytes, this one %d`, longest, longest+1)},
		{"a:b:c", ":80", `control: http "a:b:c": it must be host:port, [IPv6 address]:port or :port`},
	} {
		c := spec.DefaultConfig()
		c.Control.HTTP = test.http
		l := spec.Defaults()
		l.Name, l.Listen = "x", []string{test.listen}
		l.Groups = []spec.Group{{Channels: []spec.Channel{{Host: "h", Port: 1}}}}
		c.Listeners = []spec.Listener{l}
		got := ""
		for _, fault := range c.Validate() {
			got += fault.Error()
		}
		if got != test.want {
			t.Errorf("http %q, listen %q: got %q, want %q", test.http, test.listen, got, test.want)
		}
	}
}

func TestHTTPExposed(t *testing.T) {
	for http, want := range map[string]bool{
		"":                       false,
		"unix:/run/x.sock":       false,
		"127.0.0.1:80":           false,
		"127.9.9.9:80":           false,
		"[::1]:80":               false,
		"[::ffff:127.0.0.1]:80":  false,
		"LocalHost:80":           false,
		":80":                    true,
		"0.0.0.0:80":             true,
		"[::]:80":                true,
		"192.0.2.1:80":           true,
		"balance.example:80":     true,
		"ip6-localhost:80":       true,
		"localhost.example.":     false, // a fault, which is told as one
		"localhost.localdomain:": false,
	} {
		c := spec.DefaultConfig()
		c.Control.HTTP, c.Control.PProf = http, true
		if got := c.Control.HTTPExposed(); got != want {
			t.Errorf("%q: exposed %t, want %t", http, got, want)
		}
		faulty := func() bool {
			return slices.ContainsFunc(c.Validate(), func(f spec.Fault) bool {
				return f.Error() == fmt.Sprintf("control: pprof on %q needs http_token_file: other machines can reach it", http)
			})
		}
		if got := faulty(); got != want {
			t.Errorf("%q: profiles without a token are a fault: %t, want %t", http, got, want)
		}
		c.Control.HTTPTokenFile = "/t"
		if faulty() {
			t.Errorf("%q: profiles with a token are a fault", http)
		}
	}
}

func TestValidateWrite(t *testing.T) {
	for token, good := range map[string]bool{"": false, "/t": true} {
		c := spec.DefaultConfig()
		c.Control.HTTP, c.Control.HTTPTokenFile, c.Control.HTTPWrite = "127.0.0.1:8404", token, true
		faulty := slices.ContainsFunc(c.Validate(), func(f spec.Fault) bool {
			return f.Error() == "control: http_write needs http_token_file: whoever reaches the page could change what is served"
		})
		if faulty == good {
			t.Errorf("with the token file %q it is a fault: %t", token, faulty)
		}
	}
}

func TestValidateTokenFile(t *testing.T) {
	for name, good := range map[string]bool{"": true, "/run/token": true, "token": false, "./token": false, "/run/": false, "/a\x1b[2J": false, "/" + strings.Repeat("x", 4095): false} {
		c := spec.DefaultConfig()
		c.Control.HTTPTokenFile = name
		faults := slices.DeleteFunc(c.Validate(), func(f spec.Fault) bool { return f.Path != spec.KeyHTTPTokenFile.Path() })
		if (len(faults) == 0) != good {
			t.Errorf("%.20q: %v", name, faults)
		}
	}
}

func BenchmarkDiff(b *testing.B) {
	many := func(groups, channels, limit int) *spec.Config {
		l := spec.Defaults()
		l.Name, l.Listen = "web", []string{"127.0.0.1:80"}
		for g := range groups {
			var group spec.Group
			for c := range channels {
				group.Channels = append(group.Channels, spec.Channel{Host: fmt.Sprintf("h%d.%d.example", g, c), Port: 80, MaxConns: limit})
			}
			l.Groups = append(l.Groups, group)
		}
		return declare(l)
	}
	for _, size := range []struct{ groups, channels int }{{1, 10000}, {100, 100}, {10000, 1}} {
		b.Run(fmt.Sprintf("%dx%d", size.groups, size.channels), func(b *testing.B) {
			old, new := many(size.groups, size.channels, 0), many(size.groups, size.channels, 1)
			for b.Loop() {
				if changes := spec.Diff(old, new); len(changes) != 10000 {
					b.Fatalf("%d changes", len(changes))
				}
			}
		})
	}
}

func declare(listeners ...spec.Listener) *spec.Config {
	c := spec.DefaultConfig()
	c.Listeners = listeners
	return c
}

// listener declares a listener with one group of one channel.
func listener(name, address string) spec.Listener {
	l := spec.Defaults()
	l.Name, l.Listen = name, []string{address}
	l.Groups = []spec.Group{{Channels: []spec.Channel{{Host: "127.0.0.1", Port: 1}}}}
	return l
}

// What touches routing is what clients can notice; the log and who may ask are not.
func TestRouting(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*spec.Config)
		want bool
	}{
		{"nothing", func(*spec.Config) {}, false},
		{"level", func(c *spec.Config) { c.Log.Level = spec.LogDebug }, false},
		{"control", func(c *spec.Config) { c.Control.ConfirmWithin, c.Control.Watch = time.Minute, false }, false},
		{"listener", func(c *spec.Config) { c.Listeners = append(c.Listeners, listener("web", "127.0.0.1:80")) }, true},
		{"no listener", func(c *spec.Config) { c.Listeners = nil }, true},
		{"timeout", func(c *spec.Config) { c.Listeners[0].IdleTimeout = time.Hour }, true},
		{"mode", func(c *spec.Config) { c.Listeners[0].Groups[0].Mode = balancer.Hash }, true},
		{"channel", func(c *spec.Config) { c.Listeners[0].Groups[0].Channels[0].MaxConns = 1 }, true},
		{"shutdown", func(c *spec.Config) { c.ShutdownTimeout = time.Hour }, true},
		{"process", func(c *spec.Config) { c.Process.MaxSessions = 7 }, true},
	} {
		next := pop3()
		c.edit(next)
		if got := spec.Diff(pop3(), next).Routing(); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}
