package config

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"balance/engine/admit"
	"balance/engine/balancer"
	"balance/engine/spec"
)

func TestDecode(t *testing.T) {
	c, err := Decode("balance.toml", []byte(`
[defaults]
connect_timeout = "250ms"
user_timeout = "1m"
idle_timeout = "0"
on_remove = "drain"
shutdown_timeout = "1m30s"
[log]
level = "warn"
format = "json"
sessions = true
[control]
watch = false
mode = "0660"
group = "adm"
read_group = "staff"
stats_file = "/x"
http = "localhost:8404"
http_token_file = "/t"
http_write = true
pprof = true
[process]
max_buffered = "64MiB"
[[listener]]
name = "pop3"
listen = ["0.0.0.0:pop3", "[0::1]:0110"]
source = "192.0.2.1"
connect_timeout = "2s"
half_close_timeout = "0s"
keepalive = "1h"
user_timeout = "auto"
auto_disable = true
  [[listener.group]]
  channels = ["h1", "h2:25:16", "h3::7", "h4:smtp", "[2001:db8::1]", "[2001:db8::2]:80:3", "db::16",
    {host = "h5"}, {host = "2001:db8::3", port = 26, maxc = 4, disabled = true}, {host = "h6", port = "smtp"}]
[[listener]]
listen = ":8080"
hash_failover = true
on_remove = "close"
drain_timeout = "1s"
group = [{mode = "hash", channels = ["h1"]}, {mode = "rr", channels = ["h1"]}]
`))
	if err != nil {
		t.Fatal(err)
	}
	want := &spec.Config{
		Control:         spec.Control{Mode: 0o660, Group: "adm", ReadGroup: "staff", StatsFile: "/x", HTTP: "localhost:8404", HTTPTokenFile: "/t", HTTPWrite: true, PProf: true},
		Process:         spec.Process{MaxBuffered: 64 << 20},
		ShutdownTimeout: 90 * time.Second,
		Log:             spec.Log{Level: spec.LogWarn, Format: spec.LogJSON, Sessions: spec.AllSessions},
		Listeners: []spec.Listener{{
			Name:           "pop3",
			Listen:         []string{"0.0.0.0:110", "[::1]:110"},
			Source:         netip.MustParseAddr("192.0.2.1"),
			ConnectTimeout: 2 * time.Second,
			KeepAlive:      time.Hour,
			UserTimeout:    spec.AutoUserTimeout,
			AutoDisable:    true,
			OnRemove:       spec.Drain,
			DrainTimeout:   30 * time.Second,
			HoldOff:        time.Second,
			HoldOffMax:     30 * time.Second,
			StallAfter:     10 * time.Second,
			QueueTimeout:   10 * time.Second,
			MaxAgeJitter:   10,
			PrefaceTimeout: 3 * time.Second,
			Unix:           spec.Unix{Mode: 0o660},
			ProxyProtocol:  spec.ProxyProtocol{Timeout: 3 * time.Second},
			Groups: []spec.Group{{Channels: []spec.Channel{
				{Host: "h1", Port: 110}, {Host: "h2", Port: 25, MaxConns: 16}, {Host: "h3", Port: 110, MaxConns: 7},
				{Host: "h4", Port: 25}, {Host: "2001:db8::1", Port: 110}, {Host: "2001:db8::2", Port: 80, MaxConns: 3},
				{Host: "db", Port: 110, MaxConns: 16}, {Host: "h5", Port: 110},
				{Host: "2001:db8::3", Port: 26, MaxConns: 4, Disabled: true}, {Host: "h6", Port: 25},
			}}},
		}, {
			Name:             ":8080",
			Listen:           []string{":8080"},
			ConnectTimeout:   250 * time.Millisecond,
			HalfCloseTimeout: time.Hour,
			KeepAlive:        15 * time.Second,
			UserTimeout:      spec.UserTimeout(time.Minute),
			HashFailover:     true,
			OnRemove:         spec.Close,
			DrainTimeout:     time.Second,
			HoldOff:          time.Second,
			HoldOffMax:       30 * time.Second,
			StallAfter:       10 * time.Second,
			QueueTimeout:     10 * time.Second,
			MaxAgeJitter:     10,
			PrefaceTimeout:   3 * time.Second,
			Unix:             spec.Unix{Mode: 0o660},
			ProxyProtocol:    spec.ProxyProtocol{Timeout: 3 * time.Second},
			Groups: []spec.Group{
				{Mode: balancer.Hash, Channels: []spec.Channel{{Host: "h1", Port: 8080}}},
				{Channels: []spec.Channel{{Host: "h1", Port: 8080}}},
			},
		}},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got\n%+v\nwant\n%+v", c, want)
	}
}

// Each case asserts the whole of the error.
func TestDecodeFaults(t *testing.T) {
	const group = "[[listener.group]]\nchannels = [\"h1\"]\n"
	for _, c := range []struct{ name, data, want string }{{
		"empty file", "", `
f: there is no listener: at least one is needed`,
	}, {
		"syntax", "[[listener]]\nlisten = \":80\"\nname = pop3\n", `
f:3: not valid TOML: expected value but found "pop" instead`,
	}, {
		"key twice", "[log]\nlevel = \"info\"\n\nlevel = \"info\"\n", `
f:4: not valid TOML: Key 'log.level' has already been defined.`,
	}, {
		"syntax with a character that cannot be printed", "[log]\nlevel = \"\\\u202ex\"\n", `
f:2: not valid TOML: invalid escape in string '\\u202e'`,
	}, {
		"unknown keys", `[lgo]
[log]
lvel = "info"
[defaults]
conn_timeout = "5s"
time = "5s"
[control]
"wat\u001b" = true
"a.b".c = 1
[[listener]]
listen = ":80"
Name = "x"
shutdown_timeout = "5s"
  [[listener.group]]
  chanels = ["h1"]
  [[listener.group]]
  mod = "rr"
  channels = [
    {host = "h1", maxcon = 1},
    {hots = "h1"},
  ]
`, `
f:1: unknown key "lgo": did you mean "log"?
f:3: log: unknown key "lvel": did you mean "level"?
f:5: defaults: unknown key "conn_timeout": did you mean "connect_timeout"?
f:6: defaults: unknown key "time": known here are connect_timeout, connect_deadline, queue, queue_timeout, idle_timeout, half_close_timeout, keepalive, user_timeout, auto_disable, hash_failover, on_remove, drain_timeout, hold_off, hold_off_max, on_down, on_return, close_spread, panic, when_unusable, stall_after, max_age, max_age_jitter, max_sessions, rebalance, preface_timeout, transparent, shutdown_timeout, shutdown_delay, data_plane, loops, check
f:8: control: unknown key "wat\x1b": did you mean "watch"?
f:9: control: unknown key "a.b": known here are watch, confirm_within, mode, group, read_group, stats_file, http, http_token_file, http_write, pprof
f:12: listener ":80": unknown key "Name": did you mean "name"?
f:13: listener ":80": unknown key "shutdown_timeout": known here are name, listen, source, group, unix, proxy_protocol, admit, check, connect_timeout, connect_deadline, queue, queue_timeout, idle_timeout, half_close_timeout, keepalive, user_timeout, auto_disable, hash_failover, on_remove, drain_timeout, hold_off, hold_off_max, on_down, on_return, close_spread, panic, when_unusable, stall_after, max_age, max_age_jitter, max_sessions, rebalance, preface_timeout, transparent
f:15: listener ":80" group 0: unknown key "chanels": did you mean "channels"?
f:17: listener ":80" group 1: unknown key "mod": did you mean "mode"?
f:19: listener ":80" group 1 channel 0: unknown key "maxcon": did you mean "maxc"?
f:20: listener ":80" group 1 channel 1: unknown key "hots": did you mean "host"?`,
	}, {
		"mistyped listener", "[[listner]]\nlisten = \":80\"\n", `
f:1: unknown key "listner": did you mean "listener"?`,
	}, {
		"types of settings", `[defaults]
connect_timeout = 5
idle_timeout = 1.5
half_close_timeout = "5"
keepalive = "5 s"
auto_disable = "yes"
hash_failover = 1
on_remove = "kept"
drain_timeout = 2020-01-01
shutdown_timeout = true
data_plane = "fast"
loops = "2"
[log]
level = 7
format = ["text"]
sessions = "no"
[control]
watch = {}
mode = 0o660
group = 0
stats_file = 0
[[listener]]
name = 5
listen = ":80"
source = 1
connect_timeout = [5]
on_remove = false
` + group, `
f:2: defaults: connect_timeout is the integer 5, not a duration such as "5s"
f:3: defaults: idle_timeout is the float 1.5, not a duration such as "1m30s"
f:4: defaults: half_close_timeout "5" is not a duration such as "1m30s"
f:5: defaults: keepalive "5 s" is not a duration such as "1m30s"
f:6: defaults: auto_disable is the string "yes", not true or false
f:7: defaults: hash_failover is the integer 1, not true or false
f:8: defaults: on_remove "kept" is none of "keep", "drain", "close"
f:9: defaults: drain_timeout is a date or time, not a duration such as "1m30s"
f:10: defaults: shutdown_timeout is the boolean true, not a duration such as "1m30s"
f:11: defaults: data_plane "fast" is none of "auto", "portable", "eventloop"
f:12: defaults: loops is the string "2", not an integer
f:14: log: level "the integer 7" is none of "debug", "info", "warn", "error"
f:15: log: format "an array" is none of "text", "json"
f:16: log: sessions "no" is none of "all", "failed", "none"
f:18: control: watch is a table, not true or false
f:19: control: mode "the integer 432" is not a file mode such as "0660"
f:20: control: group is the integer 0, not a string
f:21: control: stats_file is the integer 0, not a string
f:23: listener ":80": name is the integer 5, not a string
f:25: listener ":80": source is the integer 1, not a string
f:26: listener ":80": connect_timeout is an array, not a duration such as "1m30s"
f:27: listener ":80": on_remove "the boolean false" is none of "keep", "drain", "close"`,
	}, {
		"ranges of settings", `[defaults]
connect_timeout = "0s"
idle_timeout = "-1s"
shutdown_timeout = "-1s"
[[listener]]
listen = ":80"
source = "localhost"
` + group + `[[listener]]
listen = ":81"
connect_timeout = "1us"
keepalive = "-1h"
source = "fe80::1%\u001b"
` + group + `[[listener]]
listen = ":82"
connect_timeout = "2562047h47m16s"
idle_timeout = "87600h1s"
half_close_timeout = "2562047h47m16s"
drain_timeout = "2562047h47m16s"
keepalive = "32767.001s"
user_timeout = "597h"
` + group + `[[listener]]
listen = ":83"
connect_timeout = "1h"
idle_timeout = "87600h"
half_close_timeout = "87600h"
drain_timeout = "87600h"
keepalive = "32767s"
user_timeout = "-1ns"
` + group, `
f:2: defaults: connect_timeout "0s" is not one of "1ms" to "1h"
f:3: defaults: idle_timeout "-1s" is not one of "0s" to "87600h"
f:4: defaults: shutdown_timeout "-1s" is not one of "0s" to "87600h"
f:7: listener ":80": source "localhost" is not an IP address
f:12: listener ":81": connect_timeout "1µs" is not one of "1ms" to "1h"
f:13: listener ":81": keepalive "-1h" is not one of "0s" to "9h6m7s"
f:14: listener ":81": source "fe80::1%\x1b" has a zone that is not the name of a network interface
f:19: listener ":82": connect_timeout "2562047h47m16s" is not one of "1ms" to "1h"
f:20: listener ":82": idle_timeout "87600h0m1s" is not one of "0s" to "87600h"
f:21: listener ":82": half_close_timeout "2562047h47m16s" is not one of "0s" to "87600h"
f:22: listener ":82": drain_timeout "2562047h47m16s" is not one of "0s" to "87600h"
f:23: listener ":82": keepalive "9h6m7.001s" is not one of "0s" to "9h6m7s"
f:24: listener ":82": user_timeout "597h" is not one of "0s" to "596h31m23.647s"
f:34: listener ":83": user_timeout "-1ns" is neither "auto" nor a duration such as "1m30s"`,
	}, {
		"types of tables", "defaults = 5\nlog = [1]\nlistener = \"x\"\n[[control]]\n", `
f:1: defaults: the integer 5, not a table
f:2: log: an array, not a table
f:3: listener is the string "x", not an array of tables: write [[listener]]
f:4: control: an array, not a table`,
	}, {
		"table for an array of tables", "[listener]\nlisten = \":80\"\n", `
f:1: listener is a table, not an array of tables: write [[listener]]`,
	}, {
		"types in arrays", `listener = [
  5,
  {listen = 80, group = {channels = ["h1"]}},
  {name = "a", listen = [":81", 82], group = [{channels = "h1"}, 7,
    {channels = [8,
      [9]]}]},
  {listen = [], group = []}]
`, `
f:2: listener 0: the integer 5, not a table
f:3: listener 1: listen is the integer 80, not a string or an array of strings
f:3: listener 1: group is a table, not an array of tables: write [[listener.group]]
f:4: listener "a": listen is the integer 82, not a string
f:4: listener "a" group 0: channels is the string "h1", not an array of channels
f:4: listener "a" group 1: the integer 7, not a table
f:5: listener "a" group 2 channel 0: the channel is the integer 8, not a string such as "host:port:maxc" or a table such as {host = "host"}
f:6: listener "a" group 2 channel 1: the channel is an array, not a string such as "host:port:maxc" or a table such as {host = "host"}
f:7: listener 3: listen is missing: at least one "host:port" is needed
f:7: listener 3: there is no group: at least one [[listener.group]] is needed`,
	}, {
		"addresses to listen on", `[[listener]]
name = "a"
listen = [
  ":nosuch",
  ":65536",
  ":-1",
  ":",
  "80",
  "::1:80",
  "a b:80",
  "1.2.3:80",
  "127.0.0.1:80",
  "localhost:80",
  "127.0.0.2: 80",
  "127.0.0.2:\t80",
]
` + group + `[[listener]]
listen = "0.0.0.0:80"
` + group + `[[listener]]
listen = "127.0.0.1:80"
` + group, `
f:4: listener "a": listen ":nosuch": port "nosuch" is not one of 0 to 65535 or the name of a TCP service
f:5: listener "a": listen ":65536": port "65536" is not one of 0 to 65535 or the name of a TCP service
f:6: listener "a": listen ":-1": port "-1" is not one of 0 to 65535 or the name of a TCP service
f:7: listener "a": listen ":": port "" is not one of 0 to 65535 or the name of a TCP service
f:8: listener "a": listen "80": it must be host:port, [IPv6 address]:port or :port
f:9: listener "a": listen "::1:80": it must be host:port, [IPv6 address]:port or :port
f:10: listener "a": listen "a b:80": host "a b" is neither an IP address nor a host name
f:11: listener "a": listen "1.2.3:80": host "1.2.3" is neither an IP address nor a host name
f:14: listener "a": listen "127.0.0.2: 80": port " 80" is not one of 0 to 65535 or the name of a TCP service
f:15: listener "a": listen "127.0.0.2:\t80": port "\t80" is not one of 0 to 65535 or the name of a TCP service
f:20: listener "0.0.0.0:80": listen "0.0.0.0:80" overlaps "127.0.0.1:80" of listener "a"
f:24: listener "127.0.0.1:80": listen "127.0.0.1:80" is the same as "127.0.0.1:80" of listener "a"`,
	}, {
		"names", `[[listener]]
name = "a"
listen = ":80"
` + group + `[[listener]]
name = "a"
listen = ":81"
` + group + `[[listener]]
name = ""
listen = ":82"
` + group + `[[listener]]
name = "a\u0007"
listen = ":83"
` + group + `[[listener]]
listen = ":0"
` + group + `[[listener]]
listen = ":0"
` + strings.ReplaceAll(group, "h1", "h1:80"), `
f:7: listener "a": the name "a" is taken by listener 0 already
f:12: listener 2: the name is empty
f:17: listener "a\a": the name "a\a" has characters that cannot be printed
f:24: listener ":0" group 0 channel 0: the port is missing, and the listener's first address has port 0
f:26: listener ":0": the name ":0" is taken by listener 4 already`,
	}, {
		"groups", `[[listener]]
name = "a"
listen = ":80"
[[listener]]
name = "b"
listen = ":81"
  [[listener.group]]
  [[listener.group]]
  mode = "fastest"
  channels = []
`, `
f:1: listener "a": there is no group: at least one [[listener.group]] is needed
f:7: listener "b" group 0: the group is empty: at least one channel is needed
f:9: listener "b" group 1: mode "fastest" is none of "rr", "hash", "leastconn", "random", "first"
f:10: listener "b" group 1: the group is empty: at least one channel is needed`,
	}, {
		"modes and weights", `[[listener]]
listen = ":80"
group = [
  {mode = "hash", slow_start = "-1s",
   hash_ipv4_bits = 0,
   hash_ipv6_bits = 129,
   hash_load = 100,
   channels = [
     {host = "h1", weight = -1},
     {host = "h2", weight = 1001},
     {host = "h3", weight = "3"},
     {host = "h4", weight = 0}, {host = "h5", weight = 1000}]},
  {hash_load = 150, hash_ipv4_bits = 24,
   hash_ipv6_bits = 128, channels = ["h1"]},
  {hash_load = 0, channels = ["h1"], slow_start = 5,
   mode = "leastconn", hash_ipv6_bits = 64},
  {mode = "random", hash_ipv4_bits = 33, hash_load = "10%", channels = ["h1"]},
  {mode = "fist", hash_load = 150, channels = ["h1"]},
  {mode = "hash", hash_load = -1, channels = ["h1"]},
  {mode = "hash", hash_load = 10001, wieght = 1, channels = [{host = "h1", wieght = 1}]},
]
`, `
f:4: listener ":80" group 0: slow_start "-1s" is not one of "0s" to "87600h"
f:5: listener ":80" group 0: hash_ipv4_bits 0 is not one of 1 to 32
f:6: listener ":80" group 0: hash_ipv6_bits 129 is not one of 1 to 128
f:7: listener ":80" group 0: hash_load 100 is neither 0 (no bound) nor one of 101 to 10000
f:9: listener ":80" group 0 channel 0: weight -1 is not one of 0 (no new clients) to 1000
f:10: listener ":80" group 0 channel 1: weight 1001 is not one of 0 (no new clients) to 1000
f:11: listener ":80" group 0 channel 2: weight is the string "3", not an integer
f:13: listener ":80" group 1: hash_ipv4_bits is of no use to mode "rr"
f:13: listener ":80" group 1: hash_load is of no use to mode "rr"
f:15: listener ":80" group 2: slow_start is the integer 5, not a duration such as "5s"
f:16: listener ":80" group 2: hash_ipv6_bits is of no use to mode "leastconn"
f:17: listener ":80" group 3: hash_load is the string "10%", not an integer
f:17: listener ":80" group 3: hash_ipv4_bits is of no use to mode "random"
f:18: listener ":80" group 4: mode "fist" is none of "rr", "hash", "leastconn", "random", "first"
f:19: listener ":80" group 5: hash_load -1 is neither 0 (no bound) nor one of 101 to 10000
f:20: listener ":80" group 6: unknown key "wieght": known here are mode, hash_ipv4_bits, hash_ipv6_bits, hash_load, slow_start, server_name, alpn, from, send_proxy, channels, check
f:20: listener ":80" group 6 channel 0: unknown key "wieght": did you mean "weight"?
f:20: listener ":80" group 6: hash_load 10001 is neither 0 (no bound) nor one of 101 to 10000`,
	}, {
		"channels in short form", `[[listener]]
listen = ":80"
[[listener.group]]
channels = [
  "",
  ":80",
  "h1:99999",
  "h1:0",
  "h1:nosuch:x",
  "h1:80:4294967296",
  "h1:80:-1",
  "h1:80:1:1",
  "::1",
  "2001:db8::1",
  "fe80::1",
  "fe80::1%eth0",
  "[::1",
  "[::1]80",
  "[h1]:80",
  "[127.0.0.1]",
  "a\u001b:80",
  "a b:0:x",
  "1.2.3:80",
]
`, `
f:5: listener ":80" group 0 channel 0: host "" is empty
f:6: listener ":80" group 0 channel 1: host "" is empty
f:7: listener ":80" group 0 channel 2: port "99999" is not one of 1 to 65535 or the name of a TCP service
f:8: listener ":80" group 0 channel 3: port "0" is not one of 1 to 65535 or the name of a TCP service
f:9: listener ":80" group 0 channel 4: port "nosuch" is not one of 1 to 65535 or the name of a TCP service
f:9: listener ":80" group 0 channel 4: maxc "x" is not one of 0 (no limit) to 4294967295
f:10: listener ":80" group 0 channel 5: maxc "4294967296" is not one of 0 (no limit) to 4294967295
f:11: listener ":80" group 0 channel 6: maxc "-1" is not one of 0 (no limit) to 4294967295
f:12: listener ":80" group 0 channel 7: "h1:80:1:1" is not host[:port[:maxc]] or [IPv6 address][:port[:maxc]]
f:13: listener ":80" group 0 channel 8: the IPv6 address "::1" must stand in brackets: "[::1]", "[::1]:port"
f:14: listener ":80" group 0 channel 9: the IPv6 address "2001:db8::1" must stand in brackets: "[2001:db8::1]", "[2001:db8::1]:port"
f:15: listener ":80" group 0 channel 10: the IPv6 address "fe80::1" must stand in brackets: "[fe80::1]", "[fe80::1]:port"
f:16: listener ":80" group 0 channel 11: the IPv6 address "fe80::1%eth0" must stand in brackets: "[fe80::1%eth0]", "[fe80::1%eth0]:port"
f:17: listener ":80" group 0 channel 12: "[::1" is not host[:port[:maxc]] or [IPv6 address][:port[:maxc]]: the ] is missing
f:18: listener ":80" group 0 channel 13: "[::1]80" is not host[:port[:maxc]] or [IPv6 address][:port[:maxc]]
f:19: listener ":80" group 0 channel 14: "h1" in brackets is not an IPv6 address
f:20: listener ":80" group 0 channel 15: "127.0.0.1" in brackets is not an IPv6 address
f:21: listener ":80" group 0 channel 16: host "a\x1b" is neither an IP address nor a host name
f:22: listener ":80" group 0 channel 17: port "0" is not one of 1 to 65535 or the name of a TCP service
f:22: listener ":80" group 0 channel 17: maxc "x" is not one of 0 (no limit) to 4294967295
f:22: listener ":80" group 0 channel 17: host "a b" is neither an IP address nor a host name
f:23: listener ":80" group 0 channel 18: host "1.2.3" is neither an IP address nor a host name`,
	}, {
		"channels in long form", `[[listener]]
name = "a"
listen = ":nosuch"
[[listener.group]]
channels = [
  {},
  {host = 1, port = 1.5, maxc = "16", disabled = 1},
  {host = "h1", port = 65536},
  {host = "h1", port = "nosuch", maxc = -1},
  {host = "h1", port = 80, maxc = 4294967296},
  {host = "[::1]"},
  "h1",
]
[[listener]]
name = "b"
listen = ":0"
[[listener.group]]
channels = [{host = "h1"}, "h2", "h3::16", "h4:80", {host = "h1", port = 0}]
`, `
f:3: listener "a": listen ":nosuch": port "nosuch" is not one of 0 to 65535 or the name of a TCP service
f:6: listener "a" group 0 channel 0: host is missing
f:7: listener "a" group 0 channel 1: host is the integer 1, not a string
f:7: listener "a" group 0 channel 1: port is the float 1.5, not a number or the name of a service
f:7: listener "a" group 0 channel 1: maxc is the string "16", not an integer
f:7: listener "a" group 0 channel 1: disabled is the integer 1, not true or false
f:8: listener "a" group 0 channel 2: port "65536" is not one of 1 to 65535 or the name of a TCP service
f:9: listener "a" group 0 channel 3: port "nosuch" is not one of 1 to 65535 or the name of a TCP service
f:9: listener "a" group 0 channel 3: maxc -1 is not one of 0 (no limit) to 4294967295
f:10: listener "a" group 0 channel 4: maxc 4294967296 is not one of 0 (no limit) to 4294967295
f:11: listener "a" group 0 channel 5: host "[::1]" is neither an IP address nor a host name
f:18: listener "b" group 0 channel 0: the port is missing, and the listener's first address has port 0
f:18: listener "b" group 0 channel 1: the port is missing, and the listener's first address has port 0
f:18: listener "b" group 0 channel 2: the port is missing, and the listener's first address has port 0
f:18: listener "b" group 0 channel 4: port "0" is not one of 1 to 65535 or the name of a TCP service`,
	}, {
		"lines end with CR LF", strings.ReplaceAll("\n[log]\nlevel = 'x'\n", "\n", "\r\n"), `
f: there is no listener: at least one is needed
f:3: log: level "x" is none of "debug", "info", "warn", "error"`,
	}} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Decode("f", []byte(c.data))
			if err == nil {
				t.Fatal("no error")
			}
			if want := strings.TrimPrefix(c.want, "\n"); err.Error() != want {
				t.Errorf("got\n%s\nwant\n%s", err, want)
			}
		})
	}
}

// What the keys of the edge come to, however their tables are written.
func TestDecodeEdge(t *testing.T) {
	const tables = `
[defaults]
preface_timeout = "5s"
transparent = true
[[listener]]
listen = ["unix:/run/app/in.sock", "0.0.0.0:443"]
preface_timeout = "7s"
transparent = false
[listener.unix]
mode = "0666"
group = "adm"
[listener.proxy_protocol]
accept = ["10.0.0.0/8", "192.0.2.1"]
timeout = "2s"
[listener.admit]
allow = "192.0.2.0/24"
deny = ["2001:db8::/32", "192.0.2.7"]
allow_file = "/etc/allow"
deny_file = "/etc/deny"
max_sessions = 10
rate = "100/m"
burst = 50
ipv4_bits = 24
ipv6_bits = 56
refuse = "close"
[[listener.group]]
server_name = ["WWW.Example.Net", "*.example.net"]
alpn = ["h2", "acme-tls/1"]
from = "10.1.0.0/16"
send_proxy = "v2"
channels = ["unix:/run/app.sock", "h1", { host = "h1", port = 80, send_proxy = "v1" }, { host = "unix:/run/b.sock", maxc = 3, send_proxy = "" }]
[[listener.group]]
channels = ["unix", "unix:80:3"]
[[listener]]
listen = "unix:99"
group = [{channels = ["h1"]}]
`
	const inline = `
defaults = {preface_timeout = "5s", transparent = true}
listener = [{listen = ["unix:/run/app/in.sock", "0.0.0.0:443"], preface_timeout = "7s", transparent = false,
  unix = {mode = "0666", group = "adm"}, proxy_protocol = {accept = ["10.0.0.0/8", "192.0.2.1"], timeout = "2s"},
  admit = {allow = ["192.0.2.0/24"], deny = ["2001:db8::/32", "192.0.2.7"], allow_file = "/etc/allow", deny_file = "/etc/deny",
    max_sessions = 10, rate = "100/m", burst = 50, ipv4_bits = 24, ipv6_bits = 56, refuse = "close"},
  group = [{server_name = ["www.example.net", "*.example.net"], alpn = ["h2", "acme-tls/1"], from = ["10.1.0.0/16"], send_proxy = "v2",
    channels = [{host = "unix:/run/app.sock"}, "h1:443", "h1:80", {host = "unix:/run/b.sock", maxc = 3, send_proxy = ""}]},
    {channels = ["unix:443", {host = "unix", port = 80, maxc = 3}]}]},
  {listen = "unix:99", group = [{channels = ["h1"]}]}]
`
	l := spec.Defaults()
	l.Name, l.Listen = "unix:/run/app/in.sock", []string{"unix:/run/app/in.sock", "0.0.0.0:443"}
	l.PrefaceTimeout = 7 * time.Second
	l.Unix = spec.Unix{Mode: 0o666, Group: "adm"}
	l.ProxyProtocol = spec.ProxyProtocol{Accept: []string{"10.0.0.0/8", "192.0.2.1"}, Timeout: 2 * time.Second}
	l.Admit = spec.Admit{Allow: []string{"192.0.2.0/24"}, Deny: []string{"2001:db8::/32", "192.0.2.7"}, AllowFile: "/etc/allow", DenyFile: "/etc/deny",
		MaxSessions: 10, Rate: admit.Rate{Count: 100, Per: time.Minute}, Burst: 50, Refuse: spec.ByClose}
	l.Admit.IPv4Bits.SetInt(24)
	l.Admit.IPv6Bits.SetInt(56)
	l.Groups = []spec.Group{{ServerName: []string{"www.example.net", "*.example.net"}, ALPN: []string{"h2", "acme-tls/1"}, From: []string{"10.1.0.0/16"}, SendProxy: spec.ProxyV2,
		Channels: []spec.Channel{{Host: "unix:/run/app.sock", SendProxy: spec.ProxyV2}, {Host: "h1", Port: 443, SendProxy: spec.ProxyV2},
			{Host: "h1", Port: 80, SendProxy: spec.ProxyV1}, {Host: "unix:/run/b.sock", MaxConns: 3}},
	}, {Channels: []spec.Channel{{Host: "unix", Port: 443}, {Host: "unix", Port: 80, MaxConns: 3}}}}
	other := spec.Defaults()
	other.Name, other.Listen, other.PrefaceTimeout, other.Transparent = "unix:99", []string{"unix:99"}, 5*time.Second, true
	other.Groups = []spec.Group{{Channels: []spec.Channel{{Host: "h1", Port: 99}}}}
	for name, text := range map[string]string{"tables": tables, "inline": strings.Replace(inline, `"h1:80"`, `{host = "h1", port = 80, send_proxy = "v1"}`, 1)} {
		c, err := Decode(name, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if want := []spec.Listener{l, other}; !reflect.DeepEqual(c.Listeners, want) {
			t.Errorf("%s: got\n%+v\nwant\n%+v", name, c.Listeners, want)
		}
		roundTrip(t, c)
		if got, want := c.Files(), []string{"/etc/allow", "/etc/deny"}; !slices.Equal(got, want) {
			t.Errorf("files %q, want %q", got, want)
		}
	}
}

// Each case asserts the whole of the error.
func TestDecodeEdgeFaults(t *testing.T) {
	const group = "[[listener.group]]\nchannels = [\"h1:1\"]\n"
	for _, c := range []struct{ name, data, want string }{{
		"unknown keys and types", `[defaults]
transparent = 1
preface_timeout = "0s"
admit = {}
[[listener]]
listen = ":80"
unix = 5
proxy_protocl = {}
preface_timeout = "99999h"
[listener.proxy_protocol]
acept = []
[listener.admit]
alow = []
deny = [5, "::1", ["x"]]
allow = 7
rate = 20
burst = "5"
ipv4_bits = "24"
max_sessions = "all"
refuse = "drop"
allow_file = ["/x"]
[[listener.group]]
server_names = []
alpn = "h2"
from = [1]
send_proxy = 2
channels = [{host = "h1", send_prox = "v1"}, {host = "h2", send_proxy = "v3"}]
`, `
f:2: defaults: transparent is the integer 1, not true or false
f:3: defaults: preface_timeout "0s" is not one of "1ms" to "87600h"
f:4: defaults: unknown key "admit": KNOWN
f:7: listener ":80" unix: the integer 5, not a table
f:8: listener ":80": unknown key "proxy_protocl": did you mean "proxy_protocol"?
f:9: listener ":80": preface_timeout "99999h" is not one of "1ms" to "87600h"
f:11: listener ":80" proxy_protocol: unknown key "acept": did you mean "accept"?
f:13: listener ":80" admit: unknown key "alow": did you mean "allow"?
f:14: listener ":80" admit: deny is the integer 5, not a string
f:14: listener ":80" admit: deny is an array, not a string
f:15: listener ":80" admit: allow is the integer 7, not a string or an array of strings
f:16: listener ":80" admit: rate "the integer 20" is not a rate such as "20/s", "100/m" or "1000/h"
f:17: listener ":80" admit: burst is the string "5", not an integer
f:18: listener ":80" admit: ipv4_bits is the string "24", not an integer
f:19: listener ":80" admit: max_sessions is the string "all", not an integer
f:20: listener ":80" admit: refuse "drop" is none of "reset", "close"
f:21: listener ":80" admit: allow_file is an array, not a string
f:23: listener ":80" group 0: unknown key "server_names": did you mean "server_name"?
f:25: listener ":80" group 0: from is the integer 1, not a string
f:26: listener ":80" group 0: send_proxy "the integer 2" is none of "", "v1", "v2"
f:27: listener ":80" group 0 channel 0: unknown key "send_prox": did you mean "send_proxy"?
f:27: listener ":80" group 0 channel 1: send_proxy "v3" is none of "", "v1", "v2"`,
	}, {
		"values", `[[listener]]
listen = [":80", "unix:/s"]
unix = {mode = "0777", group = "a\u001b"}
[listener.proxy_protocol]
accept = [
  "10.0.0.0/8",
  "10.0.0.1/8",
  "h1",
  "",
]
timeout = "0s"
[listener.admit]
allow = ["2001:db8::1/64", "fe80::1%eth0", "1.2.3.4/33"]
deny = ["0.0.0.0/0", "::/0", "\u001b[2J"]
allow_file = "allow"
deny_file = "/etc/"
max_sessions = -1
rate = "20/d"
burst = 1000001
ipv4_bits = 0
ipv6_bits = 129
[[listener.group]]
from = ["10.0.0.0/8", "any"]
channels = ["h1"]
[[listener.group]]
channels = ["h1"]
[[listener]]
listen = ":81"
[listener.admit]
max_sessions = 4294967296
rate = "1000001/s"
burst = -1
` + group, `
f:3: listener ":80" unix: mode "0777" is not one of "0600" to "0666": readable and writable for the owner at least
f:3: listener ":80" unix: group "a\x1b" is not the name of a group
f:7: listener ":80" proxy_protocol: accept "10.0.0.1/8" is an address in the network "10.0.0.0/8": one or the other is meant
f:8: listener ":80" proxy_protocol: accept "h1" is neither a network such as "10.0.0.0/8" nor an address
f:9: listener ":80" proxy_protocol: accept "" is neither a network such as "10.0.0.0/8" nor an address
f:11: listener ":80" proxy_protocol: timeout "0s" is not one of "1ms" to "87600h"
f:13: listener ":80" admit: allow "2001:db8::1/64" is an address in the network "2001:db8::/64": one or the other is meant
f:13: listener ":80" admit: allow "fe80::1%eth0" is neither a network such as "10.0.0.0/8" nor an address
f:13: listener ":80" admit: allow "1.2.3.4/33" is neither a network such as "10.0.0.0/8" nor an address
f:14: listener ":80" admit: deny "\x1b[2J" is neither a network such as "10.0.0.0/8" nor an address
f:15: listener ":80" admit: allow_file "allow" is not the absolute path of a file
f:16: listener ":80" admit: deny_file "/etc/" is not the absolute path of a file
f:17: listener ":80" admit: max_sessions -1 is not one of 0 (no limit) to 4294967295
f:18: listener ":80" admit: rate "20/d" is not a rate such as "20/s", "100/m" or "1000/h"
f:19: listener ":80" admit: burst 1000001 is not one of 0 (as many as the rate counts) to 1000000
f:20: listener ":80" admit: ipv4_bits 0 is not one of 1 to 32
f:21: listener ":80" admit: ipv6_bits 129 is not one of 1 to 128
f:23: listener ":80" group 0: from "any" is neither a network such as "10.0.0.0/8" nor an address
f:30: listener ":81" admit: max_sessions 4294967296 is not one of 0 (no limit) to 4294967295
f:31: listener ":81" admit: rate "1000001/s" is more than 1000000
f:32: listener ":81" admit: burst -1 is not one of 0 (as many as the rate counts) to 1000000`,
	}, {
		"names of servers and protocols", `[[listener]]
listen = ":80"
[[listener.group]]
server_name = [
  "",
  "*",
  "*.",
  "a.*.b",
  "*.*.b",
  "*a.b",
  "192.0.2.1",
  "[2001:db8::1]",
  "m\u00fcller.example",
  "example.net.",
  "a b",
  "-a.b",
  "*.example.net",
  "Example.NET",
  "\u001b.b",
]
alpn = ["", "h2", "a\u0000b"]
channels = ["h1"]
`, `
f:5: listener ":80" group 0: server_name "" is no name: without server_name the group is for everybody
f:6: listener ":80" group 0: server_name "*" is every name: without server_name the group is for everybody
f:7: listener ":80" group 0: server_name "*." ends with a dot: a ClientHello has it without
f:8: listener ":80" group 0: server_name "a.*.b" has a "*" that does not stand for the first label, as in "*.example.net"
f:9: listener ":80" group 0: server_name "*.*.b" has a "*" that does not stand for the first label, as in "*.example.net"
f:10: listener ":80" group 0: server_name "*a.b" has a "*" that does not stand for the first label, as in "*.example.net"
f:11: listener ":80" group 0: server_name "192.0.2.1" is an address: a ClientHello names hosts only, see from for the addresses of clients
f:12: listener ":80" group 0: server_name "[2001:db8::1]" is an address: a ClientHello names hosts only, see from for the addresses of clients
f:13: listener ":80" group 0: server_name "müller.example" is not ASCII: a ClientHello has it in punycode, as in "xn--mller-kva.example"
f:14: listener ":80" group 0: server_name "example.net." ends with a dot: a ClientHello has it without
f:15: listener ":80" group 0: server_name "a b" is neither the name of a host nor one such as "*.example.net"
f:16: listener ":80" group 0: server_name "-a.b" is neither the name of a host nor one such as "*.example.net"
f:19: listener ":80" group 0: server_name "\x1b.b" is neither the name of a host nor one such as "*.example.net"
f:21: listener ":80" group 0: alpn "" is no protocol: without alpn the group is for everybody
f:21: listener ":80" group 0: alpn "a\x00b" has characters that cannot be printed`,
	}, {
		"what is of no use", `[[listener]]
listen = ":80"
[listener.unix]
mode = "0600"
group = "adm"
[listener.proxy_protocol]
timeout = "1s"
[listener.admit]
burst = 5
ipv4_bits = 24
ipv6_bits = 48
` + group + `[[listener]]
listen = ":81"
[listener.unix]
mode = "0660"
group = ""
[listener.proxy_protocol]
timeout = "3s"
accept = []
[listener.admit]
burst = 0
ipv4_bits = 32
ipv6_bits = 64
` + group + `[[listener]]
listen = ":82"
[listener.admit]
max_sessions = 1
ipv4_bits = 24
rate = "x"
burst = 5
` + group + `[[listener]]
listen = ":83"
source = "192.0.2.1"
transparent = true
` + group, `
f:4: listener ":80" unix: mode is of no use without a unix socket in listen
f:5: listener ":80" unix: group is of no use without a unix socket in listen
f:7: listener ":80" proxy_protocol: timeout is of no use without accept
f:9: listener ":80" admit: burst is of no use without rate
f:10: listener ":80" admit: ipv4_bits is of no use without max_sessions or rate
f:11: listener ":80" admit: ipv6_bits is of no use without max_sessions or rate
f:33: listener ":82" admit: rate "x" is not a rate such as "20/s", "100/m" or "1000/h"
f:39: listener ":83": source and transparent are both set: one says the address to dial from, the other that it is the client's`,
	}, {
		"unix sockets to listen on", `[control]
http = "unix:/run//http.sock"
[[listener]]
listen = [
  "unix:run/x",
  "unix:/run/",
  "unix:/run//x",
  "unix:/run/../x",
  "unix:/\u001b",
  "unix:/` + strings.Repeat("x", 107) + `",
  "unix:/run/a b:80",
  "unix:/run/http.sock",
  "unix:/x",
  "unix:/x",
]
` + group + `[[listener]]
name = "b"
listen = ["unix:/y", "unix:/x", ":0"]
[[listener.group]]
channels = ["h1"]
[[listener]]
listen = ["unix:/z"]
[[listener.group]]
channels = ["h1", {host = "h1"}, "unix:/app"]
`, `
f:5: listener "unix:run/x": listen "unix:run/x": the path of a unix socket must be absolute, as in "unix:/run/balance/http.sock"
f:6: listener "unix:run/x": listen "unix:/run/": the path of a unix socket must be absolute, as in "unix:/run/balance/http.sock"
f:7: listener "unix:run/x": listen "unix:/run//x": the path of a unix socket has to be in its shortest form, "/run/x"
f:8: listener "unix:run/x": listen "unix:/run/../x": the path of a unix socket has to be in its shortest form, "/x"
f:9: listener "unix:run/x": listen "unix:/\x1b": the path has characters that cannot be printed
f:10: listener "unix:run/x": listen "unix:/` + strings.Repeat("x", 107) + `": the path of a unix socket has at most 107 bytes, this one 108
f:12: listener "unix:run/x": listen "unix:/run/http.sock" is the same as "unix:/run/http.sock" of control http
f:14: listener "unix:run/x": listen "unix:/x" is the same as "unix:/x" of listener "unix:run/x"
f:20: listener "b": listen "unix:/x" is the same as "unix:/x" of listener "unix:run/x"
f:22: listener "b" group 0 channel 0: the port is missing, and the listener's first address has port 0
f:26: listener "unix:/z" group 0 channel 0: the port is missing, and the listener has unix sockets only
f:26: listener "unix:/z" group 0 channel 1: the port is missing, and the listener has unix sockets only`,
	}, {
		"unix sockets as channels", `[[listener]]
listen = ":80"
[[listener.group]]
channels = [
  "unix:/app:3",
  "unix:/app:80:3",
  "unix:/app::3",
  "unix:app/x",
  "unix:/a//b",
  {host = "unix:/app", port = 80},
  {host = "unix:app"},
  {host = "unix:/app", check_port = 80},
  {host = "unix:/app", check_host = "h1"},
  {host = "unix:/app:3", maxc = 3, weight = 2},
  {host = "h1", check_host = "unix:/app"},
]
[[listener.group]]
check = {type = "http", tls = true}
channels = [
  "unix:/app",
  {host = "unix:/app", check_host = "h1"},
  {host = "unix:/app", check_host = "h1", check_port = 80},
  {host = "unix:/app", check_port = 80}]
[[listener.group]]
check = {type = "http", tls = true, server_name = "h1", port = 80}
channels = ["unix:/app", {host = "unix:/app", check_host = "h1"}]
[[listener.group]]
check = {type = "tcp", tls = true, insecure = true}
channels = ["unix:/app"]
`, `
f:5: listener ":80" group 0 channel 0: "unix:/app:3" has no port and no maxc in the short form: write {host = "unix:/app", maxc = 3}
f:6: listener ":80" group 0 channel 1: "unix:/app:80:3" has no port and no maxc in the short form: write {host = "unix:/app", maxc = 3}
f:7: listener ":80" group 0 channel 2: "unix:/app::3" has no port and no maxc in the short form: write {host = "unix:/app", maxc = 3}
f:8: listener ":80" group 0 channel 3: host "unix:app/x": the path of a unix socket must be absolute, as in "unix:/run/balance/http.sock"
f:9: listener ":80" group 0 channel 4: host "unix:/a//b": the path of a unix socket has to be in its shortest form, "/a/b"
f:10: listener ":80" group 0 channel 5: port is of no use to a unix socket
f:11: listener ":80" group 0 channel 6: host "unix:app": the path of a unix socket must be absolute, as in "unix:/run/balance/http.sock"
f:12: listener ":80" group 0 channel 7: check_port is of no use to a unix socket without check_host
f:15: listener ":80" group 0 channel 10: check_host "unix:/app" is neither an IP address nor a host name
f:20: listener ":80" group 1 channel 0: its check with tls needs server_name: a unix socket has no name that a certificate could have
f:21: listener ":80" group 1 channel 1: check_host needs check_port: a unix socket has no port
f:23: listener ":80" group 1 channel 3: check_port is of no use to a unix socket without check_host
f:23: listener ":80" group 1 channel 3: its check with tls needs server_name: a unix socket has no name that a certificate could have`,
	}} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Decode("f", []byte(c.data))
			if err == nil {
				t.Fatal("no error")
			}
			known := "known here are " + strings.Join(spec.DefaultsTable.Keys(), ", ")
			if want := strings.TrimPrefix(strings.Replace(c.want, "KNOWN", known, 1), "\n"); err.Error() != want {
				t.Errorf("got\n%s\nwant\n%s", err, want)
			}
		})
	}
}

func TestDecodeFaultsAreValues(t *testing.T) {
	_, err := Decode("f", []byte("[[listener]]\nlisten = \":80\"\n"))
	fault, ok := errors.AsType[spec.Fault](err)
	if !ok || fault.Path != spec.ListenerAt(0).Key(spec.KeyGroups) {
		t.Errorf("%v holds the fault %+v", err, fault)
	}
}

// Faults have the right lines however their places are spelled.
func TestLines(t *testing.T) {
	for _, c := range []struct{ name, data, want string }{
		{"quoted keys", "\n[\"defaults\"]\n\n'idle_timeout' = 5", "f:4: "},
		{"dotted keys", "\n\ndefaults . \"idle_timeout\" = 5", "f:3: "},
		{"inline table", "defaults = {\nkeepalive = '5s',\nidle_timeout = 5}", "f:3: "},
		{"behind a multi-line string", "[log]\nlevel = '''\n\n\n'''\n[defaults]\nidle_timeout = 5", "f:7: "},
		{"CR LF", "[log]\r\n[defaults]\r\nidle_timeout = 5", "f:3: "},
		{"header with spaces", "#\n[ defaults ]\nidle_timeout = 5", "f:3: "},
	} {
		_, err := Decode("f", []byte(c.data))
		want := c.want + "defaults: idle_timeout is the integer 5, not a duration such as \"5s\""
		if err == nil || !strings.Contains("\n"+err.Error()+"\n", "\n"+want+"\n") {
			t.Errorf("%s: got\n%v\nwithout\n%s", c.name, err, want)
		}
	}
}

func TestLocate(t *testing.T) {
	data := []byte("[[listener]]\nname = \"x\"\nlisten = [\":1\",\n  \":2\"]\n")
	cause := errors.New("it is taken")
	document := Document{Name: "f", Data: data}
	err := document.Locate(errors.Join(
		spec.Fault{Path: spec.ListenerAt(0).Key(spec.KeyListen).Element(1), Where: `listener "x"`, Problem: "it is taken", Cause: cause},
		spec.Fault{Path: spec.KeyHTTP.Path(), Problem: "not in the file"},
		errors.New("no fault")))
	if want := "f:4: listener \"x\": it is taken\nf: not in the file\nno fault"; err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if !errors.Is(err, cause) {
		t.Error("the cause is lost")
	}
	if err := document.Locate(nil); err != nil {
		t.Errorf("nothing is wrong: %v", err)
	}
	if got := (Document{}).Locate(cause); got != cause {
		t.Errorf("without a file: %v", got)
	}
}
