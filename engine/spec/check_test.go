package spec_test

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"balance/engine/spec"
)

// checkTypes are all, as TestCheckWords has it.
var checkTypes = []spec.CheckType{spec.CheckNone, spec.CheckTCP, spec.CheckHTTP, spec.CheckExec, spec.CheckRedis,
	spec.CheckPostgres, spec.CheckMySQL, spec.CheckSMTP, spec.CheckLDAP}

// checkOf returns a valid check that uses all that its type can.
func checkOf(kind spec.CheckType) spec.Check {
	c := spec.DefaultCheck()
	c.Type, c.TLS, c.Send, c.Expect, c.Command = kind, true, "PING\r\n", "^.PONG", []string{"/bin/true"}
	return c.Plain()
}

func TestCheckWords(t *testing.T) {
	words := func(want string, values ...encoding.TextUnmarshaler) {
		t.Helper()
		for i, word := range strings.Fields(want) {
			into := reflect.New(reflect.TypeOf(values[0]).Elem())
			if err := into.Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(word)); err != nil {
				t.Error(err)
			}
			if got := into.Elem().Uint(); got != uint64(i) {
				t.Errorf("%s is number %d, want %d", word, got, i)
			}
			if text := fmt.Sprint(into.Elem().Interface()); text != word {
				t.Errorf("%s is printed as %s", word, text)
			}
		}
		if err := values[0].UnmarshalText([]byte("x")); err == nil || !strings.Contains(err.Error(), `"x" is none of "`) {
			t.Errorf("a word that is none: %v", err)
		}
	}
	words("none tcp http exec redis postgres mysql smtp ldap", new(spec.CheckType))
	words("up down", new(spec.CheckInit))
	words("keep close", new(spec.KeepOrClose))
	words("close reset refuse", new(spec.WhenUnusable))
}

func TestStatusRanges(t *testing.T) {
	for text, want := range map[string]spec.StatusRanges{
		"200-399":          {{First: 200, Last: 399}},
		"100":              {{First: 100, Last: 100}},
		"200,204, 300-599": {{First: 200, Last: 200}, {First: 204, Last: 204}, {First: 300, Last: 599}},
	} {
		var got spec.StatusRanges
		if err := got.UnmarshalText([]byte(text)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s is read as %v: %v", text, got, err)
		}
		if again := got.String(); again != strings.ReplaceAll(text, " ", "") {
			t.Errorf("%s is printed as %s", text, again)
		}
	}
	for _, text := range []string{"", ",", "200,", "99", "600", "200-", "-200", "399-200", "200-600", "+20", "0200", "2 00", "200-300-400", "2xx", strings.Repeat("200,", 100) + "200"} {
		got := spec.StatusRanges{{First: 1, Last: 2}}
		if err := got.UnmarshalText([]byte(text)); err == nil || len(err.Error()) > 300 || got[0].First != 1 {
			t.Errorf("%q is read as %v: %v", text, got, err)
		}
	}
	ranges := spec.StatusRanges{{First: 200, Last: 200}, {First: 300, Last: 302}}
	for status, want := range map[int]bool{199: false, 200: true, 201: false, 300: true, 302: true, 303: false} {
		if ranges.Contains(status) != want {
			t.Errorf("%d is among %s: %t", status, ranges, !want)
		}
	}
}

// What is of use to a check, and that alone, is a change, makes it another one,
// and is left in it.
func TestEachFieldOfACheckIsAChange(t *testing.T) {
	varied := map[string]bool{}
	for _, kind := range checkTypes {
		for i, s := range spec.CheckSettings {
			old, changed := pop3(), pop3()
			old.Listeners[0].Groups[1].Check, changed.Listeners[0].Groups[1].Check = checkOf(kind), checkOf(kind)
			was, is := &old.Listeners[0].Groups[1].Check, &changed.Listeners[0].Groups[1].Check
			vary(t, reflect.ValueOf(spec.CheckSettings[i].Field(is)).Elem())
			_, useless := was.Useless(s.Key)
			if used := slices.ContainsFunc(was.Settings(), func(one spec.Setting[spec.Check]) bool { return one.Key == s.Key }); used == useless {
				t.Errorf("%s of type %s is of use: %t, and is not: %t", s.Name(), kind, used, useless)
			}
			differs := len(spec.Diff(old, changed)) > 0 && len(spec.Diff(changed, old)) > 0
			if differs == useless || was.Equal(is) != useless || is.Equal(was) != useless ||
				(was.Text() == is.Text()) != useless || reflect.DeepEqual(was.Plain(), is.Plain()) != useless {
				t.Errorf("%s of type %s (of no use: %t): differs %t, equal %t, texts\n%s\n%s", s.Name(), kind, useless, differs, was.Equal(is), was.Text(), is.Text())
			}
			if !useless {
				varied[s.Name()] = true
			}
		}
	}
	for _, s := range spec.CheckSettings {
		if !varied[s.Name()] {
			t.Errorf("%s is of use to no type", s.Name())
		}
	}
}

// Texts of different checks differ, however their values are cut.
func TestCheckText(t *testing.T) {
	texts := map[string]int{}
	for i, edit := range []func(*spec.Check){
		func(c *spec.Check) {},
		func(c *spec.Check) { c.Path = `/" method="GET` },
		func(c *spec.Check) { c.Headers = map[string]string{"A": "b", "C": "d"} },
		func(c *spec.Check) { c.Headers = map[string]string{"A": `b" "C":"d`} },
		func(c *spec.Check) { c.Headers = map[string]string{"A": "b"} },
		func(c *spec.Check) { c.Headers = map[string]string{"A": "c"} },
		func(c *spec.Check) { c.Type, c.Command = spec.CheckExec, []string{"a b"} },
		func(c *spec.Check) { c.Type, c.Command = spec.CheckExec, []string{"a", "b"} },
		func(c *spec.Check) { c.Type, c.Command = spec.CheckExec, []string{`a" "b`} },
	} {
		c := checkOf(spec.CheckHTTP)
		edit(&c)
		if other, taken := texts[c.Text()]; taken {
			t.Errorf("%d and %d have the text %s", other, i, c.Text())
		}
		texts[c.Text()] = i
	}
}

func TestDiffOfChecks(t *testing.T) {
	web := checkOf(spec.CheckHTTP)
	web.Headers = map[string]string{"Authorization": "Bearer secret"}
	for _, test := range []struct {
		name     string
		old, new func(*spec.Group)
		want     string
	}{
		{"a key", func(g *spec.Group) { g.Check = web }, func(g *spec.Group) { g.Check = web; g.Check.Interval = 3 * time.Second },
			"~ pop3 group 0 check.interval 2s → 3s"},
		{"checked now", func(*spec.Group) {}, func(g *spec.Group) { g.Check = checkOf(spec.CheckTCP); g.Check.Rise = 5 }, `
			~ pop3 group 0 check.type none → tcp
			~ pop3 group 0 check.rise 2 → 5
			~ pop3 group 0 check.send none → "PING\r\n"
			~ pop3 group 0 check.expect none → ^.PONG
			~ pop3 group 0 check.tls false → true`},
		{"no more", func(g *spec.Group) { g.Check = checkOf(spec.CheckExec) }, func(*spec.Group) {}, `
			~ pop3 group 0 check.type exec → none
			~ pop3 group 0 check.command /bin/true → none`},
		{"defaults of no type", func(*spec.Group) {}, func(g *spec.Group) { g.Check = spec.DefaultCheck() }, ""},
		{"a secret", func(g *spec.Group) { g.Check = web }, func(g *spec.Group) { g.Check = web; g.Check.Headers = map[string]string{"Authorization": "x"} },
			"~ pop3 group 0 check.headers Authorization → Authorization (other values)"},
		{"statuses and headers", func(g *spec.Group) { g.Check = web }, func(g *spec.Group) {
			g.Check = web
			g.Check.Headers, g.Check.Status = map[string]string{"B": "", "A": ""}, spec.StatusRanges{{First: 204, Last: 204}}
		}, `
			~ pop3 group 0 check.headers Authorization → A B
			~ pop3 group 0 check.status 200-399 → 204`},
		{"of a channel", func(*spec.Group) {}, func(g *spec.Group) { g.Channels[1].CheckHost, g.Channels[1].CheckPort = "c", 8008 }, `
			~ pop3 group 0 channel h2:110 check_host none → c
			~ pop3 group 0 channel h2:110 check_port 0 → 8008`},
	} {
		old, changed := pop3(), pop3()
		test.old(&old.Listeners[0].Groups[0])
		test.new(&changed.Listeners[0].Groups[0])
		want := strings.TrimSpace(strings.ReplaceAll(test.want, "\t", ""))
		if got := strings.TrimSpace(spec.Diff(old, changed).String()); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", test.name, got, want)
		}
	}
	added := pop3()
	added.Listeners[0].Groups = append(added.Listeners[0].Groups, spec.Group{Check: web})
	if got, want := strings.TrimSpace(spec.Diff(pop3(), added).String()), "+ pop3 group 2 rr check http"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDiffOfHealthSettings(t *testing.T) {
	changed := pop3()
	l := &changed.Listeners[0]
	l.HoldOff, l.HoldOffMax, l.CloseSpread, l.StallAfter, l.Panic = 0, time.Minute, time.Second, 0, 50
	l.OnDown, l.OnReturn, l.WhenUnusable = spec.CloseSessions, spec.CloseSessions, spec.UnusableRefuse
	l.ConnectDeadline, l.Queue, l.QueueTimeout = time.Minute, 100, time.Second
	l.MaxAge, l.MaxAgeJitter, l.MaxSessions, l.Rebalance = time.Hour, 0, 7, 10
	changed.ShutdownDelay = 5 * time.Second
	const want = `~ shutdown_delay 0s → 5s
~ pop3 connect_deadline 0s → 1m
~ pop3 queue 0 → 100
~ pop3 queue_timeout 10s → 1s
~ pop3 hold_off 1s → 0s
~ pop3 hold_off_max 30s → 1m
~ pop3 on_down keep → close
~ pop3 on_return keep → close
~ pop3 close_spread 0s → 1s
~ pop3 panic 0 → 50
~ pop3 when_unusable close → refuse
~ pop3 stall_after 10s → 0s
~ pop3 max_age 0s → 1h
~ pop3 max_age_jitter 10 → 0
~ pop3 max_sessions 0 → 7
~ pop3 rebalance 0% → 10%
`
	if got := spec.Diff(pop3(), changed).String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestCloneOfChecks(t *testing.T) {
	c := pop3()
	check := &c.Listeners[0].Groups[0].Check
	*check = checkOf(spec.CheckHTTP)
	check.Headers, check.Command = map[string]string{"A": "b"}, []string{"x"}
	copied := c.Clone()
	if !reflect.DeepEqual(c, copied) {
		t.Fatal("a clone differs")
	}
	check.Headers["A"], check.Command[0], check.Status[0].First = "c", "y", 100
	if got := copied.Listeners[0].Groups[0].Check; got.Headers["A"] != "b" || got.Command[0] != "x" || got.Status[0].First != 200 {
		t.Errorf("the clone changed along: %+v", got)
	}
}

func TestCheckOf(t *testing.T) {
	for _, test := range []struct {
		check   uint16
		channel spec.Channel
		want    string
	}{
		{0, spec.Channel{Host: "h", Port: 1}, "h 1"},
		{2, spec.Channel{Host: "h", Port: 1}, "h 2"},
		{2, spec.Channel{Host: "h", Port: 1, CheckPort: 3}, "h 3"},
		{0, spec.Channel{Host: "h", Port: 1, CheckHost: "c"}, "c 1"},
		{2, spec.Channel{Host: "h", Port: 1, CheckHost: "c", CheckPort: 3}, "c 3"},
		{2, spec.Channel{Host: "unix:/s", CheckPort: 3}, "unix:/s 0"},
		{0, spec.Channel{Host: "unix:/s", CheckHost: "c", CheckPort: 3}, "c 3"},
	} {
		g := spec.Group{Check: spec.Check{Type: spec.CheckTCP, Port: test.check}}
		host, port := g.CheckOf(&test.channel)
		if got := fmt.Sprint(host, " ", port); got != test.want {
			t.Errorf("port %d, %+v: %s, want %s", test.check, test.channel, got, test.want)
		}
	}
}

func TestCheckNames(t *testing.T) {
	c := pop3()
	for g := range c.Listeners[0].Groups {
		c.Listeners[0].Groups[g].Channels[0].CheckHost = "c"
	}
	if got := c.CheckNames(); len(got) != 0 {
		t.Errorf("without checks: %q", got)
	}
	for g := range c.Listeners[0].Groups {
		c.Listeners[0].Groups[g].Check = checkOf(spec.CheckTCP)
	}
	c.Listeners[0].Groups[0].Channels[1].CheckHost = "192.0.2.1"
	if got := c.CheckNames(); !slices.Equal(got, []string{"c"}) {
		t.Errorf("got %q", got)
	}
}

// Each edit of a valid check is one fault, and the bounds themselves are none.
func TestValidateChecks(t *testing.T) {
	long := func(n int) string { return strings.Repeat("a", n) }
	for _, test := range []struct {
		kind spec.CheckType
		edit func(*spec.Check)
		key  spec.Key
		want string // the beginning of the problem; empty if nothing is wrong
	}{
		{spec.CheckNone, func(c *spec.Check) { *c = spec.Check{Interval: -1, Path: "x", CertFile: "x"} }, spec.KeyCheckType, ""},
		{spec.CheckTCP, func(c *spec.Check) { c.Path, c.Command, c.Role = "x", []string{""}, "x" }, spec.KeyPath, ""},
		{spec.CheckTCP, func(c *spec.Check) { c.TLS, c.CertFile = false, "x" }, spec.KeyCertFile, ""},
		{spec.CheckTCP, func(c *spec.Check) { c.Interval, c.FastInterval = spec.MinCheckInterval, spec.MaxTimeout }, spec.KeyCheckType, ""},
		{spec.CheckTCP, func(c *spec.Check) { c.Timeout, c.Rise, c.Fall = time.Millisecond, 1, 1000 }, spec.KeyCheckType, ""},
		{spec.CheckTCP, func(c *spec.Check) { c.Send, c.SendHex = "", "00fF" }, spec.KeySendHex, ""},
		{spec.CheckTCP, func(c *spec.Check) { c.SendHex = "00" }, spec.KeySendHex, "send and send_hex are both set"},
		{spec.CheckTCP, func(c *spec.Check) { c.Send, c.SendHex = "", "0" }, spec.KeySendHex, `send_hex "0" is not pairs of hexadecimal digits`},
		{spec.CheckTCP, func(c *spec.Check) { c.Send, c.SendHex = "", "0g" }, spec.KeySendHex, `send_hex "0g" is not pairs`},
		{spec.CheckTCP, func(c *spec.Check) { c.Send, c.SendHex = "", strings.Repeat("00", 16385) }, spec.KeySendHex, `send_hex has 32770 digits`},
		{spec.CheckTCP, func(c *spec.Check) { c.Send = long(16385) }, spec.KeySend, `send has 16385 bytes`},
		{spec.CheckTCP, func(c *spec.Check) { c.Send = "\xff" }, spec.KeySend, `send "\xff" is not UTF-8`},
		{spec.CheckTCP, func(c *spec.Check) { c.Expect = "a(" }, spec.KeyExpect, "expect \"a(\" is not a regular expression: missing closing ): `a(`"},
		{spec.CheckTCP, func(c *spec.Check) { c.Expect = "\x1b(" }, spec.KeyExpect, "expect \"\\x1b(\" is not a regular expression: "},
		{spec.CheckHTTP, func(c *spec.Check) { c.Expect = long(1025) }, spec.KeyExpect, "expect has 1025 bytes"},
		{spec.CheckHTTP, func(c *spec.Check) { c.Expect = "a{1001}" }, spec.KeyExpect, `expect "a{1001}" is not`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Path = "/a%20b?c=d&e=~" }, spec.KeyPath, ""},
		{spec.CheckHTTP, func(c *spec.Check) { c.Path = "" }, spec.KeyPath, `path "" is not the path of a request`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Path = "a" }, spec.KeyPath, `path "a" is`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Path = "http://h/" }, spec.KeyPath, `path "http://h/" is`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Path = "/ b" }, spec.KeyPath, `path "/ b" is`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Path = "/\r\n" }, spec.KeyPath, `path "/\r\n" is`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Path = "/é" }, spec.KeyPath, `path "/é" is`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Path = "/%zz" }, spec.KeyPath, `path "/%zz" is`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Path = "/#x" }, spec.KeyPath, `path "/#x" is`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Path = "/" + long(4096) }, spec.KeyPath, `path "/aaa`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Method = "" }, spec.KeyMethod, `method "" is not the method of a request`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Method = "GET /" }, spec.KeyMethod, `method "GET /" is`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Method = "X-Y" }, spec.KeyMethod, ""},
		{spec.CheckHTTP, func(c *spec.Check) { c.Host = "[::1]:80" }, spec.KeyRequestHost, ""},
		{spec.CheckHTTP, func(c *spec.Check) { c.Host = "[::1]" }, spec.KeyRequestHost, ""},
		{spec.CheckHTTP, func(c *spec.Check) { c.Host = "www.example.net:8080" }, spec.KeyRequestHost, ""},
		{spec.CheckHTTP, func(c *spec.Check) { c.Host = "::1" }, spec.KeyRequestHost, `host "::1" is not host or host:port`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Host = "h\r\nX: y" }, spec.KeyRequestHost, `host "h\r\nX: y" is`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Host = ":80" }, spec.KeyRequestHost, `host ":80" is`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Host = "h:x" }, spec.KeyRequestHost, `host "h:x" is`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Host = "[fe80::1%eth0]" }, spec.KeyRequestHost, `host "[fe80::1%eth0]" is`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Headers = map[string]string{"A!#": "a\té", "B": ""} }, spec.KeyHeaders, ""},
		{spec.CheckHTTP, func(c *spec.Check) { c.Headers = map[string]string{"": "a"} }, spec.KeyHeaders, `headers "" is not the name of a header`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Headers = map[string]string{"A:": "a"} }, spec.KeyHeaders, `headers "A:" is not`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Headers = map[string]string{"É": "a"} }, spec.KeyHeaders, `headers "É" is not`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Headers = map[string]string{"A": "a\r\nB: c"} }, spec.KeyHeaders, `headers "A" has control characters in its value`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Headers = map[string]string{"A": "\xff"} }, spec.KeyHeaders, `headers "A" has control`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Headers = map[string]string{"A": long(4097)} }, spec.KeyHeaders, `headers "A" has 4097 bytes`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Headers = map[string]string{"A": "", "a": ""} }, spec.KeyHeaders, `headers "a" is there twice`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Headers = map[string]string{"Host": ""} }, spec.KeyHeaders, `headers "Host" is not for you to set`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Headers = map[string]string{"content-length": "5"} }, spec.KeyHeaders, `headers "content-length" is not for you`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Headers = map[string]string{"Transfer-Encoding": ""} }, spec.KeyHeaders, `headers "Transfer-Encoding" is not for you`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Headers = map[string]string{"Connection": ""} }, spec.KeyHeaders, `headers "Connection" is not for you`},
		{spec.CheckHTTP, func(c *spec.Check) {
			c.Headers = map[string]string{}
			for i := range 101 {
				c.Headers[fmt.Sprint(i)] = ""
			}
		}, spec.KeyHeaders, "headers has 101 of them"},
		{spec.CheckHTTP, func(c *spec.Check) { c.Status = nil }, spec.KeyStatus, `status "" is not a list of statuses`},
		{spec.CheckHTTP, func(c *spec.Check) { c.Status = spec.StatusRanges{{First: 200, Last: 600}} }, spec.KeyStatus, `status "200-600" is not`},
		{spec.CheckHTTP, func(c *spec.Check) { c.ServerName = "a b" }, spec.KeyServerName, `server_name "a b" is neither`},
		{spec.CheckHTTP, func(c *spec.Check) { c.CAFile = "ca.pem" }, spec.KeyCAFile, `ca_file "ca.pem" is not the absolute path of a file`},
		{spec.CheckHTTP, func(c *spec.Check) { c.CertFile, c.KeyFile = "/c", "/k" }, spec.KeyKeyFile, ""},
		{spec.CheckHTTP, func(c *spec.Check) { c.CertFile = "/c" }, spec.KeyCertFile, "cert_file needs key_file"},
		{spec.CheckTCP, func(c *spec.Check) { c.KeyFile = "/k" }, spec.KeyKeyFile, "key_file needs cert_file"},
		{spec.CheckRedis, func(c *spec.Check) { c.Role = "master" }, spec.KeyRole, ""},
		{spec.CheckRedis, func(c *spec.Check) { c.Role = "king" }, spec.KeyRole, `role "king" is none of "", "master", "slave"`},
		{spec.CheckExec, func(c *spec.Check) { c.Command = nil }, spec.KeyCommand, `command is missing: type "exec" needs one`},
		{spec.CheckExec, func(c *spec.Check) { c.Command = []string{"check_http", "", "a\nb", "./c/d"} }, spec.KeyCommand, ""},
		{spec.CheckExec, func(c *spec.Check) { c.Command = []string{"./check"} }, spec.KeyCommand, `command "./check" is neither the absolute path`},
		{spec.CheckExec, func(c *spec.Check) { c.Command = []string{""} }, spec.KeyCommand, `command "" is neither`},
		{spec.CheckExec, func(c *spec.Check) { c.Command = []string{"/bin/"} }, spec.KeyCommand, `command "/bin/" is neither`},
		{spec.CheckExec, func(c *spec.Check) { c.Command = []string{"a", "b\x00"} }, spec.KeyCommand, `command "b\x00" is not text`},
		{spec.CheckExec, func(c *spec.Check) { c.Command = []string{"a", long(4097)} }, spec.KeyCommand, `command has a word of 4097 bytes`},
		{spec.CheckExec, func(c *spec.Check) { c.Command = slices.Repeat([]string{"a"}, 101) }, spec.KeyCommand, `command has 101 words`},
	} {
		c := pop3()
		check := &c.Listeners[0].Groups[1].Check
		*check = checkOf(test.kind)
		if test.kind != spec.CheckNone && len(c.Validate()) > 0 {
			t.Fatalf("%s: %v", test.kind, c.Validate())
		}
		test.edit(check)
		faults := c.Validate()
		path := spec.ListenerAt(0).Group(1).Key(spec.KeyCheck).Key(test.key)
		switch {
		case test.want == "" && len(faults) == 0:
		case len(faults) != 1 || test.want == "" || !strings.HasPrefix(faults[0].Problem, test.want):
			t.Errorf("%s: got %v, want %q", test.kind, faults, test.want)
		case faults[0].Path != path || faults[0].Where != `listener "pop3" group 1 check`:
			t.Errorf("%s: the fault is at %s, %q", test.want, faults[0].Path, faults[0].Where)
		case strings.ContainsFunc(faults[0].Problem, func(r rune) bool { return r < ' ' }):
			t.Errorf("cannot be printed: %q", faults[0].Problem)
		}
	}
}

// The numbers of checks and of what comes of them have bounds.
func TestValidateRanges(t *testing.T) {
	c := pop3()
	l := &c.Listeners[0]
	l.HoldOff, l.HoldOffMax, l.CloseSpread, l.Panic, l.StallAfter = -1, spec.MaxTimeout+1, -1, 101, -1
	l.ConnectDeadline, l.Queue, l.QueueTimeout = -1, spec.MaxQueue+1, -1
	l.MaxAge, l.MaxAgeJitter, l.MaxSessions, l.Rebalance = -1, 101, -1, 101
	c.ShutdownDelay = -1
	check := checkOf(spec.CheckTCP)
	check.Interval, check.FastInterval, check.DownInterval = spec.MinCheckInterval-1, 0, spec.MaxTimeout+1
	check.Timeout, check.Rise, check.Fall = spec.MaxConnectTimeout+1, 0, 1001
	l.Groups[0].Check = check
	l.Groups[0].Channels[0].CheckHost = "a b"
	const want = `shutdown_delay "-1ns" is not one of "0s" to "87600h"
listener "pop3": connect_deadline "-1ns" is not one of "0s" to "87600h"
listener "pop3": queue 1000001 is not one of 0 (nobody waits) to 1000000
listener "pop3": queue_timeout "-1ns" is not one of "0s" to "87600h"
listener "pop3": hold_off "-1ns" is not one of "0s" to "87600h"
listener "pop3": hold_off_max "87600h0m0.000000001s" is not one of "0s" to "87600h"
listener "pop3": close_spread "-1ns" is not one of "0s" to "87600h"
listener "pop3": panic 101 is not one of 0 (never) to 100
listener "pop3": stall_after "-1ns" is not one of "0s" to "87600h"
listener "pop3": max_age "-1ns" is not one of "0s" to "87600h"
listener "pop3": max_age_jitter 101 is not one of 0 to 100
listener "pop3": max_sessions -1 is not one of 0 (no limit) to 4294967295
listener "pop3": rebalance "101%" is not one of "0%" to "100%"
listener "pop3" group 0 check: interval "9.999999ms" is not one of "10ms" to "87600h"
listener "pop3" group 0 check: fast_interval "0s" is not one of "10ms" to "87600h"
listener "pop3" group 0 check: down_interval "87600h0m0.000000001s" is not one of "10ms" to "87600h"
listener "pop3" group 0 check: timeout "1h0m0.000000001s" is not one of "1ms" to "1h"
listener "pop3" group 0 check: rise 0 is not one of 1 to 1000
listener "pop3" group 0 check: fall 1001 is not one of 1 to 1000
listener "pop3" group 0 channel 0: check_host "a b" is neither an IP address nor a host name`
	var got []string
	for _, fault := range c.Validate() {
		got = append(got, fault.Error())
	}
	if got := strings.Join(got, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, test := range []struct {
		first, most time.Duration
		want        int
	}{{0, 0, 0}, {time.Second, time.Second, 0}, {2 * time.Second, time.Second, 1}, {1, 0, 1}, {0, time.Second, 0}} {
		c := pop3()
		c.Listeners[0].HoldOff, c.Listeners[0].HoldOffMax = test.first, test.most
		if faults := c.Validate(); len(faults) != test.want {
			t.Errorf("hold_off %s, hold_off_max %s: %v", test.first, test.most, faults)
		}
	}
}
