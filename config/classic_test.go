package config

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"balance/engine/balancer"
	"balance/engine/spec"
)

func args(line string) Classic { return Classic{Args: strings.Fields(line)} }

func TestParse(t *testing.T) {
	rr := func(channels ...spec.Channel) spec.Group { return spec.Group{Channels: channels} }
	hash := func(channels ...spec.Channel) spec.Group {
		return spec.Group{Mode: balancer.Hash, Channels: channels}
	}
	ch := func(host string, port uint16, maxc int) spec.Channel {
		return spec.Channel{Host: host, Port: port, MaxConns: maxc}
	}
	for _, c := range []struct {
		line   string
		name   string
		listen string
		groups []spec.Group
	}{
		{"8888 localhost::12 ! localhost::4 ! localhost::2 localhost::2 ! localhost:25", ":8888", ":8888", []spec.Group{
			rr(ch("localhost", 8888, 12)), rr(ch("localhost", 8888, 4)),
			rr(ch("localhost", 8888, 2), ch("localhost", 8888, 2)), rr(ch("localhost", 25, 0)),
		}},
		{"pop3 h1 h2 ! fo1", ":pop3", ":110", []spec.Group{rr(ch("h1", 110, 0), ch("h2", 110, 0)), rr(ch("fo1", 110, 0))}},
		{"80 h1", ":80", ":80", []spec.Group{rr(ch("h1", 80, 0))}},
		{"80 h1 %", ":80", ":80", []spec.Group{hash(ch("h1", 80, 0))}},
		{"80 h1 !", ":80", ":80", []spec.Group{rr(ch("h1", 80, 0))}},
		{"80 h1 % h2 ! h3 %", ":80", ":80", []spec.Group{hash(ch("h1", 80, 0)), rr(ch("h2", 80, 0)), hash(ch("h3", 80, 0))}},
		{"80 h1 % h2", ":80", ":80", []spec.Group{hash(ch("h1", 80, 0)), rr(ch("h2", 80, 0))}},
		{"80 h1:81 h1:smtp h1::0 h1: h1:: h1:82: a::16 db::16", ":80", ":80", []spec.Group{rr(
			ch("h1", 81, 0), ch("h1", 25, 0), ch("h1", 80, 0), ch("h1", 80, 0), ch("h1", 80, 0), ch("h1", 82, 0), ch("a", 80, 16), ch("db", 80, 16),
		)}},
		{"80 [2001:db8::1]:81:16 [::1] [::1]::4 [fe80::1%eth0]", ":80", ":80", []spec.Group{rr(
			ch("2001:db8::1", 81, 16), ch("::1", 80, 0), ch("::1", 80, 4), ch("fe80::1%eth0", 80, 0),
		)}},
		{"0 h1:80", ":0", ":0", []spec.Group{rr(ch("h1", 80, 0))}},
	} {
		l := spec.Defaults()
		l.HoldOff = 0
		l.Name, l.Listen, l.Groups = c.name, []string{c.listen}, c.groups
		want := spec.DefaultConfig()
		want.Listeners = []spec.Listener{l}
		for _, ipv6 := range []bool{false, true} {
			classic := args(c.line)
			classic.IPv6 = ipv6
			got, err := Parse(classic)
			if err != nil || !reflect.DeepEqual(got, Document{Config: want}) {
				t.Errorf("%s: %v\ngot\n%+v\nwant\n%+v", c.line, err, got.Config, want)
			}
		}
	}
}

func TestParseOptions(t *testing.T) {
	got, err := Parse(Classic{
		Bind: "::1", Source: "[2001:db8::1]", ConnectTimeout: 3 * time.Second, IdleTimeout: time.Minute,
		AutoDisable: true, HashFailover: true, Debug: true, Args: []string{"pop3", "h1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := spec.DefaultConfig()
	want.Log.Level = spec.LogDebug
	want.Listeners = []spec.Listener{{
		Name: "[::1]:pop3", Listen: []string{"[::1]:110"}, Source: netip.MustParseAddr("2001:db8::1"),
		ConnectTimeout: 3 * time.Second, IdleTimeout: time.Minute, HalfCloseTimeout: time.Hour,
		KeepAlive: 15 * time.Second, UserTimeout: spec.AutoUserTimeout, DrainTimeout: 30 * time.Second, AutoDisable: true, HashFailover: true,
		HoldOffMax: 30 * time.Second, StallAfter: 10 * time.Second, QueueTimeout: 10 * time.Second, MaxAgeJitter: 10,
		PrefaceTimeout: 3 * time.Second, Unix: spec.Unix{Mode: 0o660}, ProxyProtocol: spec.ProxyProtocol{Timeout: 3 * time.Second},
		Groups: []spec.Group{{Channels: []spec.Channel{{Host: "h1", Port: 110}}}},
	}}
	if !reflect.DeepEqual(got.Config, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got.Config, want)
	}
	for _, bind := range []string{"localhost", "[::1]", "127.0.0.1"} {
		if _, err := Parse(Classic{Bind: bind, Args: []string{"80", "h1"}}); err != nil {
			t.Errorf("-b %s: %v", bind, err)
		}
	}
}

// Each case asserts the whole of the error.
func TestParseFaults(t *testing.T) {
	for _, c := range []struct {
		name    string
		classic Classic
		want    string
		address bool
	}{
		{"nothing", args(""), `the port to listen on is missing`, false},
		{"no channel", args("80"), `port "80": no channel follows it: at least one host[:port[:maxc]] is needed`, false},
		{"port", args("nosuch h1"), `port "nosuch": port "nosuch" is not one of 0 to 65535 or the name of a TCP service`, false},
		{"port with a blank", Classic{Args: []string{" 80", "h1"}}, `port " 80": port " 80" is not one of 0 to 65535 or the name of a TCP service`, false},
		{"port of a channel with a blank", Classic{Args: []string{"80", "h1: 80"}}, `channel "h1: 80": port " 80" is not one of 1 to 65535 or the name of a TCP service`, true},
		{"port out of range", args("65536 h1"), `port "65536": port "65536" is not one of 0 to 65535 or the name of a TCP service`, false},
		{"leading !", args("80 ! h1"), `operand "!": group 0 is empty: at least one channel must stand before the !`, false},
		{"leading %", args("80 %"), `operand "%": group 0 is empty: at least one channel must stand before the %`, false},
		{"! !", args("80 h1 ! ! h2"), `operand "!": group 1 is empty: at least one channel must stand before the !`, false},
		{"maxc", args("80 h1:80:many"), `channel "h1:80:many": maxc "many" is not one of 0 (no limit) to 4294967295`, false},
		{"host", args("80 1.2.3"), `channel "1.2.3": host "1.2.3" is neither an IP address nor a host name`, true},
		{"bare IPv6 address", args("80 ::1"), `channel "::1": the IPv6 address "::1" must stand in brackets: "[::1]", "[::1]:port"`, true},
		{"port of a channel", args("80 h1:99999"), `channel "h1:99999": port "99999" is not one of 1 to 65535 or the name of a TCP service`, true},
		{"port 0", args("0 h1 h2:80"), `channel "h1": the port is missing, and the listener's first address has port 0`, true},
		{"-b", Classic{Bind: "a b", Args: []string{"80", "h1"}}, `-b "a b": host "a b" is neither an IP address nor a host name`, true},
		{"-b with a port", Classic{Bind: "h:80", Args: []string{"80", "h1"}}, `-b "h:80": host "h:80" is neither an IP address nor a host name`, true},
		{"-B", Classic{Source: "localhost", Args: []string{"80", "h1"}}, `-B "localhost": source "localhost" is not an IP address`, true},
		{"-t and -T", Classic{ConnectTimeout: -1, IdleTimeout: -1, Args: []string{"80", "h1"}}, `-T "-1ns": idle_timeout "-1ns" is not one of "0s" to "87600h"
-t "-1ns": connect_timeout "-1ns" is not one of "1ms" to "1h"`, false},
		{"all at once", Classic{Bind: "-x", Source: "?", Args: strings.Fields("nosuch h1 a\x1b:0:x ! ! 2001:db8::1")}, `-B "?": source "?" is not an IP address
-b "-x": host "-x" is neither an IP address nor a host name
port "nosuch": port "nosuch" is not one of 0 to 65535 or the name of a TCP service
channel "a\x1b:0:x": port "0" is not one of 1 to 65535 or the name of a TCP service
channel "a\x1b:0:x": maxc "x" is not one of 0 (no limit) to 4294967295
channel "a\x1b:0:x": host "a\x1b" is neither an IP address nor a host name
operand "!": group 1 is empty: at least one channel must stand before the !
channel "2001:db8::1": the IPv6 address "2001:db8::1" must stand in brackets: "[2001:db8::1]", "[2001:db8::1]:port"`, true},
	} {
		_, err := Parse(c.classic)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: got\n%v\nwant\n%s", c.name, err, c.want)
		}
		if errors.Is(err, ErrAddress) != c.address {
			t.Errorf("%s: the error is ErrAddress: %t", c.name, !c.address)
		}
	}
}
