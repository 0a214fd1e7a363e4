package config

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"balance/engine/spec"
)

// The nearest table that has a key counts, for each key by itself; headers and
// commands are whole values.
func TestNearestCheckCounts(t *testing.T) {
	c, err := Decode("f", []byte(`
[defaults.check]
type = "http"
interval = "10s"
timeout = "1s"
path = "/defaults"
headers = { A = "1", B = "2" }
status = 204
port = "http"
tls = true

[[listener]]
name = "a"
listen = ":1"
check = { timeout = "3s", path = "/listener", headers = { C = "3" }, status = [200, "301-302"], command = ["check", "listener"] }
[[listener.group]]
channels = ["h1"]
[[listener.group]]
channels = [{ host = "h2", check_host = "c2", check_port = "smtp" }]
[listener.group.check]
path = "/group"
port = 0
headers = {}
status = "200, 201"
[[listener.group]]
channels = ["h3"]
check = { type = "exec" }
[[listener.group]]
channels = ["h4"]
check = { type = "exec", command = "other" }
[[listener.group]]
channels = ["h5"]
check = { type = "none" }

[[listener]]
name = "b"
listen = ":2"
[[listener.group]]
channels = ["h1"]
[[listener.group]]
channels = ["h2"]
check.tls = false
[listener.check]
fall = 9
`))
	if err != nil {
		t.Fatal(err)
	}
	base := spec.DefaultCheck()
	base.Type, base.Interval, base.Timeout, base.TLS, base.Port = spec.CheckHTTP, 10*time.Second, time.Second, true, 80
	base.Path, base.Headers, base.Status = "/defaults", map[string]string{"A": "1", "B": "2"}, spec.StatusRanges{{First: 204, Last: 204}}
	with := func(edit func(*spec.Check)) spec.Check {
		c := base
		edit(&c)
		return c.Plain()
	}
	want := [][]spec.Check{{
		with(func(c *spec.Check) {
			c.Timeout, c.Path, c.Headers = 3*time.Second, "/listener", map[string]string{"C": "3"}
			c.Status = spec.StatusRanges{{First: 200, Last: 200}, {First: 301, Last: 302}}
		}),
		with(func(c *spec.Check) {
			c.Timeout, c.Path, c.Headers, c.Port = 3*time.Second, "/group", nil, 0
			c.Status = spec.StatusRanges{{First: 200, Last: 200}, {First: 201, Last: 201}}
		}),
		with(func(c *spec.Check) {
			c.Type, c.Timeout, c.Command = spec.CheckExec, 3*time.Second, []string{"check", "listener"}
		}),
		with(func(c *spec.Check) { c.Type, c.Timeout, c.Command = spec.CheckExec, 3*time.Second, []string{"other"} }),
		{},
	}, {
		with(func(c *spec.Check) { c.Fall = 9 }),
		with(func(c *spec.Check) { c.Fall, c.TLS = 9, false }),
	}}
	for i, checks := range want {
		for g, want := range checks {
			if got := c.Listeners[i].Groups[g].Check; !reflect.DeepEqual(got, want) {
				t.Errorf("listener %d group %d: got\n%+v\nwant\n%+v", i, g, got, want)
			}
		}
	}
	if got := c.Listeners[0].Groups[1].Channels[0]; got != (spec.Channel{Host: "h2", Port: 1, CheckHost: "c2", CheckPort: 25}) {
		t.Errorf("got %+v", got)
	}
	roundTrip(t, c)
}

func TestHealthKeys(t *testing.T) {
	c, err := Decode("f", []byte(`
[defaults]
queue = 7
hold_off = "2s"
on_down = "close"
panic = 50
shutdown_delay = "5s"
[[listener]]
listen = ":1"
hold_off = "0s"
hold_off_max = "1m"
queue_timeout = "3s"
connect_deadline = "20s"
on_down = "keep"
on_return = "close"
close_spread = "10s"
when_unusable = "reset"
stall_after = "0s"
max_age = "1h"
max_sessions = 7
rebalance = "5%"
group = [{channels = ["h1"]}]
`))
	if err != nil {
		t.Fatal(err)
	}
	l := spec.Defaults()
	l.Name, l.Listen, l.Groups = ":1", []string{":1"}, []spec.Group{{Channels: []spec.Channel{{Host: "h1", Port: 1}}}}
	l.Queue, l.QueueTimeout, l.ConnectDeadline = 7, 3*time.Second, 20*time.Second
	l.HoldOff, l.HoldOffMax, l.CloseSpread, l.StallAfter, l.Panic = 0, time.Minute, 10*time.Second, 0, 50
	l.OnReturn, l.WhenUnusable = spec.CloseSessions, spec.UnusableReset
	l.MaxAge, l.MaxSessions, l.Rebalance = time.Hour, 7, 5
	want := spec.DefaultConfig()
	want.ShutdownDelay, want.Listeners = 5*time.Second, []spec.Listener{l}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got\n%+v\nwant\n%+v", c, want)
	}
}

// Each case asserts the whole of the error.
func TestCheckFaults(t *testing.T) {
	const listener = "[[listener]]\nlisten = \":80\"\n"
	const group = "[[listener.group]]\nchannels = [\"h1\"]\n"
	for _, c := range []struct{ name, data, want string }{{
		"types of values", `[defaults.check]
type = "htpp"
interval = 2
timeout = "2"
rise = "2"
init = "on"
port = 65536
send = 5
headers = "a"
status = 1.5
tls = "yes"
command = 5
[[listener]]
listen = ":80"
[listener.check]
headers = { a = 1, "b.c" = "x" }
status = [200, true]
command = ["a", 5]
` + group, `
f:2: defaults check: type "htpp" is none of "none", "tcp", "http", "exec", "redis", "postgres", "mysql", "smtp", "ldap"
f:3: defaults check: interval is the integer 2, not a duration such as "2s"
f:4: defaults check: timeout "2" is not a duration such as "1m30s"
f:5: defaults check: rise is the string "2", not an integer
f:6: defaults check: init "on" is none of "up", "down"
f:7: defaults check: port "65536" is not one of 0 to 65535 or the name of a TCP service
f:8: defaults check: send is the integer 5, not a string
f:9: defaults check: headers is the string "a", not a table of strings
f:10: defaults check: status is the float 1.5, not a list of numbers and ranges such as [200, "300-399"]
f:11: defaults check: tls is the string "yes", not true or false
f:12: defaults check: command is the integer 5, not a string or an array of strings
f:16: listener ":80" check: headers: "a" is the integer 1, not a string
f:17: listener ":80" check: status is the boolean true, not a list of numbers and ranges such as [200, "300-399"]
f:18: listener ":80" check: command is the integer 5, not a string`,
	}, {
		"no tables", "defaults = {check = 5}\n" + listener + "check = [1]\n" + group + "check = \"tcp\"\n", `
f:1: defaults check: the integer 5, not a table
f:4: listener ":80" check: an array, not a table
f:7: listener ":80" group 0 check: the string "tcp", not a table`,
	}, {
		"unknown keys, and in inline tables", "[defaults]\ncheck = {\n  tpe = \"tcp\",\n  intervall = \"1s\"}\n" + listener + "check.hots = \"x\"\n" + group + "check = {type = \"http\", pth = \"/x\"}\n", `
f:3: defaults check: unknown key "tpe": did you mean "type"?
f:4: defaults check: unknown key "intervall": did you mean "interval"?
f:7: listener ":80" check: unknown key "hots": did you mean "host"?
f:10: listener ":80" group 0 check: unknown key "pth": did you mean "path"?`,
	}, {
		// What is wrong in a table is told there, and of no group.
		"once", "[defaults.check]\ntype = \"http\"\npath = \"x\"\ncert_file = \"c\"\nkey_file = \"/k\"\n" + listener + group + group, `
f:3: defaults check: path "x" is not the path of a request, such as "/health?full=1": it begins with "/", and what is not printable ASCII is written as %20
f:4: defaults check: cert_file "c" is not the absolute path of a file
f:5: defaults check: key_file is of no use without tls = true`,
	}, {
		"of no use to the type", `[defaults.check]
type = "tcp"
path = "/"
method = "HEAD"
command = ["a"]
role = "master"
status = 200
[[listener]]
listen = ":80"
[listener.check]
type = "exec"
expect = "x"
tls = true
server_name = "h"
port = 5
command = ["a"]
[[listener.group]]
channels = ["h1"]
check = {type = "redis", role = "slave", send = "x", headers = {a = "b"}}
`, `
f:4: defaults check: method is of no use to type "tcp"
f:5: defaults check: command is of no use to type "tcp"
f:6: defaults check: role is of no use to type "tcp"
f:7: defaults check: status is of no use to type "tcp"
f:12: listener ":80" check: expect is of no use to type "exec"
f:13: listener ":80" check: tls is of no use to type "exec"
f:14: listener ":80" check: server_name is of no use to type "exec"
f:19: listener ":80" group 0 check: send is of no use to type "redis"
f:19: listener ":80" group 0 check: headers is of no use to type "redis"`,
	}, {
		"of no use without tls", `[defaults.check]
type = "http"
ca_file = "/ca"
[[listener]]
listen = ":80"
[listener.check]
tls = true
[[listener.group]]
channels = ["h1"]
check = {tls = false, insecure = true}
`, `
f:3: defaults check: ca_file is of no use without tls = true
f:10: listener ":80" group 0 check: insecure is of no use without tls = true`,
	}, {
		"one to another", "[defaults.check]\nsend = \"x\"\n" + listener + group + `
[listener.group.check]
type = "exec"
` + group + `[listener.group.check]
type = "tcp"
send_hex = "00"
` + group + `[listener.group.check]
interval = "1s"
type = "http"
tls = true
cert_file = "/c"
` + group + `check = {interval = "5s"}
`, `
f:8: listener ":80" group 0 check: command is missing: type "exec" needs one
f:14: listener ":80" group 1 check: send and send_hex are both set: one says what is sent, the other has to be ""
f:21: listener ":80" group 2 check: cert_file needs key_file
f:24: listener ":80" group 3 check: type is missing: without one nothing is checked`,
	}, {
		"no type anywhere", listener + `[listener.check]
interval = "5s"
` + group + group + strings.Replace(listener, "80", "81", 1) + `[listener.check]
interval = "5s"
` + group + `check = {type = "none"}
` + group + strings.Replace(listener, "80", "82", 1) + `[listener.check]
interval = "5s"
` + group + `check = {timeout = "1s"}
`, `
f:3: listener ":80" check: type is missing: without one nothing is checked
f:24: listener ":82" group 0 check: type is missing: without one nothing is checked`,
	}, {
		"hold-off", "[defaults]\nhold_off = \"1m\"\n" + listener + group + strings.Replace(listener, "80", "83", 1) + "listen2 = 1\nhold_off_max = \"10s\"\n" + group + strings.Replace(listener, "80", "81", 1) + "hold_off = \"31s\"\n" + group + strings.Replace(listener, "80", "82", 1) + "hold_off_max = \"1h\"\n" + group, `
f:2: listener ":80": hold_off "1m" is longer than hold_off_max "30s"
f:9: listener ":83": unknown key "listen2": did you mean "listen"?
f:10: listener ":83": hold_off "1m" is longer than hold_off_max "10s"
f:15: listener ":81": hold_off "31s" is longer than hold_off_max "30s"`,
	}, {
		"channels", listener + `[[listener.group]]
channels = [{host = "h1", check_host = "", check_port = 0}, {host = "h1", check_host = 5, check_port = -1}, {host = "h1", check_host = "a b", check_port = "nosuch"}]
`, `
f:4: listener ":80" group 0 channel 1: check_host is the integer 5, not a string
f:4: listener ":80" group 0 channel 1: check_port "-1" is not one of 0 to 65535 or the name of a TCP service
f:4: listener ":80" group 0 channel 2: check_port "nosuch" is not one of 0 to 65535 or the name of a TCP service
f:4: listener ":80" group 0 channel 2: check_host "a b" is neither an IP address nor a host name`,
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

// What serves some groups, or nobody while checks are switched off, is no fault.
func TestUselessIsLeftAlone(t *testing.T) {
	c, err := Decode("f", []byte(`
[defaults.check]
type = "none"
path = "/x"
ca_file = "/ca"
[[listener]]
listen = ":80"
[listener.check]
send = "x"
server_name = "h"
[[listener.group]]
channels = ["h1"]
[[listener.group]]
channels = ["h1"]
check = {type = "smtp"}
[[listener.group]]
channels = ["h1"]
check = {type = "http", tls = true, interval = "2s", send = ""}
`))
	if err != nil {
		t.Fatal(err)
	}
	smtp, http := spec.DefaultCheck(), spec.DefaultCheck()
	smtp.Type = spec.CheckSMTP
	http.Type, http.TLS, http.Path, http.CAFile, http.ServerName = spec.CheckHTTP, true, "/x", "/ca", "h"
	for g, want := range []spec.Check{{}, smtp.Plain(), http.Plain()} {
		if got := c.Listeners[0].Groups[g].Check; !reflect.DeepEqual(got, want) {
			t.Errorf("group %d: got\n%+v\nwant\n%+v", g, got, want)
		}
	}
}
