package config

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"balance/engine/admit"
	"balance/engine/balancer"
	"balance/engine/spec"
)

func roundTrip(t *testing.T, c *spec.Config) {
	t.Helper()
	data := Marshal(c)
	again, err := Decode("marshalled", data)
	if err != nil {
		t.Fatalf("%v\nin\n%s\nof\n%+v", err, data, c)
	}
	if !reflect.DeepEqual(again, c) {
		t.Fatalf("got\n%+v\nwant\n%+v\nthrough\n%s", again, c, data)
	}
}

func TestMarshal(t *testing.T) {
	c, err := Decode("f", []byte(`
[defaults]
shutdown_timeout = "1h"
idle_timeout = "90m"
[log]
format = "json"
level = "info"
[control]
watch = false
[[listener]]
name = 'the "web" \ é'
listen = ["0.0.0.0:80", "[::]:80"]
source = "192.0.2.1"
keepalive = "15s"
group = [
  {channels = ["h1", "[2001:db8::1]:81:16", {host = "h2", disabled = true, maxc = 4}]},
  {mode = "hash", channels = ["h3::7"]},
]
[[listener]]
listen = ":8080"
idle_timeout = "0s"
panic = 50
when_unusable = "refuse"
check = {type = "http", interval = "1m", headers = {"X-A" = "b", Accept = "\"*/*\""}, status = [200, "204-206"], expect = "1"}
group = [{channels = ["h1", {host = "h2", check_host = "c", check_port = 81}]},
  {check = {type = "exec", command = ["/bin/x", "a b"], port = 9}, channels = ["h1"]},
  {check = {type = "tcp", send = "PING\r\n\u0000\u00e9"}, channels = ["h1"]},
  {check = {type = "none"}, channels = ["h1"]}]
`))
	if err != nil {
		t.Fatal(err)
	}
	const want = `[defaults]
shutdown_timeout = "1h"

[log]
format = "json"

[control]
watch = false

[[listener]]
name = "the \"web\" \\ é"
listen = ["0.0.0.0:80", "[::]:80"]
source = "192.0.2.1"
idle_timeout = "1h30m"

[[listener.group]]
channels = ["h1:80", "[2001:db8::1]:81:16", {host = "h2", port = 80, maxc = 4, disabled = true}]

[[listener.group]]
mode = "hash"
channels = ["h3:80:7"]

[[listener]]
listen = ":8080"
panic = 50
when_unusable = "refuse"

[[listener.group]]
channels = ["h1:8080", {host = "h2", port = 8080, check_host = "c", check_port = 81}]

[listener.group.check]
type = "http"
interval = "1m"
expect = "1"
headers = {"Accept" = "\"*/*\"", "X-A" = "b"}
status = "200,204-206"

[[listener.group]]
channels = ["h1:8080"]

[listener.group.check]
type = "exec"
interval = "1m"
port = 9
command = ["/bin/x", "a b"]

[[listener.group]]
channels = ["h1:8080"]

[listener.group.check]
type = "tcp"
interval = "1m"
send = "PING\r\n\U00000000é"
expect = "1"

[[listener.group]]
channels = ["h1:8080"]
`
	if got := string(Marshal(c)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	roundTrip(t, c)
}

// The tables of a listener stand before its groups, and only what is not the default.
func TestMarshalEdge(t *testing.T) {
	c, err := Decode("f", []byte(`
[[listener]]
listen = ["unix:/run/in.sock", ":443"]
preface_timeout = "5s"
unix = {mode = "0600"}
proxy_protocol = {accept = "10.0.0.0/8", timeout = "3s"}
admit = {rate = "20/s", deny = ["192.0.2.1", "::/0"], deny_file = "/etc/deny", ipv6_bits = 64}
[[listener.group]]
server_name = ["a.example", "*.b.example"]
send_proxy = "v2"
channels = ["unix:/run/a.sock", {host = "unix:/run/b.sock", send_proxy = ""}, "h1", {host = "h2", send_proxy = "v1"}, {host = "unix:/run/c.sock:3"}]
`))
	if err != nil {
		t.Fatal(err)
	}
	const want = `[[listener]]
listen = ["unix:/run/in.sock", ":443"]
preface_timeout = "5s"

[listener.unix]
mode = "0600"

[listener.proxy_protocol]
accept = "10.0.0.0/8"

[listener.admit]
deny = ["192.0.2.1", "::/0"]
deny_file = "/etc/deny"
rate = "20/s"

[[listener.group]]
server_name = ["a.example", "*.b.example"]
send_proxy = "v2"
channels = ["unix:/run/a.sock", {host = "unix:/run/b.sock", send_proxy = ""}, "h1:443", {host = "h2", port = 443, send_proxy = "v1"}, {host = "unix:/run/c.sock:3"}]
`
	if got := string(Marshal(c)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	roundTrip(t, c)
	c.Listeners[0].Admit.Burst, c.Listeners[0].Admit.Rate = 5, admit.Rate{} // of no use
	if _, err := Decode("f", Marshal(c)); err != nil {
		t.Error(err)
	}
}

// What a command left behind that is of no use to the mode is not written: it
// would be a fault.
func TestMarshalWithoutWhatIsUseless(t *testing.T) {
	c, err := Decode("f", []byte(`listener = [{listen = ":80", group = [{mode = "hash", hash_load = 150, hash_ipv4_bits = 24, slow_start = "1m",
		channels = [{host = "h1", weight = 3}, {host = "h2", weight = 0, maxc = 7}, {host = "h3", weight = 1}]}]}]`))
	if err != nil {
		t.Fatal(err)
	}
	roundTrip(t, c)
	c.Listeners[0].Groups[0].Mode = balancer.LeastConn
	const want = `[[listener]]
listen = ":80"

[[listener.group]]
mode = "leastconn"
slow_start = "1m"
channels = [{host = "h1", port = 80, weight = 3}, {host = "h2", port = 80, maxc = 7, weight = 0}, "h3:80"]
`
	data := Marshal(c)
	if string(data) != want {
		t.Errorf("got\n%s\nwant\n%s", data, want)
	}
	if _, err := Decode("f", data); err != nil {
		t.Error(err)
	}
}

func TestMarshalRoundTrip(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	g := generator{rand.New(rand.NewPCG(seed, 0))}
	for range 2000 {
		c := g.config()
		if faults := c.Validate(); len(faults) > 0 {
			t.Fatalf("generated an invalid configuration: %v", faults)
		}
		roundTrip(t, c)
	}
}

func TestClassicRoundTrip(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	g := generator{rand.New(rand.NewPCG(seed, 0))}
	for range 2000 {
		classic := g.classic()
		d, err := Parse(classic)
		if err != nil {
			t.Fatalf("%+v: %v", classic, err)
		}
		roundTrip(t, d.Config)
	}
}

// generator makes valid configurations and classic command lines.
type generator struct{ *rand.Rand }

func pick[T any](g generator, from ...T) T { return from[g.IntN(len(from))] }

func (g generator) bool() bool { return g.IntN(2) == 0 }

func (g generator) duration(most time.Duration) time.Duration {
	return min(most, pick(g, 0, 1, time.Duration(g.Int64N(int64(most))), time.Duration(g.IntN(100))*time.Second, time.Duration(g.IntN(100))*time.Minute, time.Duration(g.IntN(100))*time.Hour))
}

func (g generator) maxc() int {
	return pick(g, 0, 1, g.IntN(100), min(spec.MaxMaxConns, math.MaxInt))
}

func (g generator) host() string {
	return pick(g, "h1", "db", "a", "fe80", "localhost", "pop.example.net", "under_score", "dot.", "127.0.0.1", "::1", "2001:db8::1", "fe80::1%eth0.1", "::ffff:1.2.3.4")
}

func (g generator) config() *spec.Config {
	c := spec.DefaultConfig()
	c.ShutdownTimeout = g.duration(spec.MaxTimeout)
	c.ShutdownDelay = g.duration(spec.MaxTimeout)
	c.DataPlane = pick(g, spec.Auto, spec.Portable, spec.EventLoop)
	c.Loops = pick(g, 0, 1, 8)
	c.Log = spec.Log{Level: pick(g, spec.LogInfo, spec.LogDebug, spec.LogWarn, spec.LogError), Format: pick(g, spec.LogText, spec.LogJSON), Sessions: pick(g, spec.NoSessions, spec.FailedSessions, spec.AllSessions), SessionStart: g.bool(), SessionInterval: pick(g, 0, time.Second, time.Hour)}
	c.Process.MaxBuffered = pick(g, 0, spec.MinBuffered, spec.MinBuffered+1, 256<<20, 1<<30, 3<<10*1000, math.MaxInt64)
	c.Control.Watch = g.bool()
	c.Control.Mode = pick(g, spec.FileMode(0o600), 0o640, 0o660)
	c.Control.StatsFile = pick(g, "", "balance", "/var/lib/balance/stats")
	c.Control.HTTP = pick(g, "", "localhost:8404", "[::1]:0", ":8404", "unix:/run/a b/é.sock")
	c.Control.HTTPTokenFile = pick(g, "", "/etc/balance.token")
	c.Control.HTTPWrite = g.bool() && c.Control.HTTPTokenFile != ""
	c.Control.PProf = g.bool() && (c.Control.HTTPTokenFile != "" || !c.Control.HTTPExposed())
	c.Control.ReadGroup = pick(g, "", "staff", "28")
	c.Control.Group = pick(g, "", "adm", "27", "a \"b\" é")
	for i := range 1 + g.IntN(3) {
		l := spec.Listener{
			ConnectTimeout:   max(time.Millisecond, g.duration(spec.MaxConnectTimeout)),
			IdleTimeout:      g.duration(spec.MaxTimeout),
			HalfCloseTimeout: g.duration(spec.MaxTimeout),
			KeepAlive:        g.duration(spec.MaxKeepAlive),
			UserTimeout:      pick(g, spec.AutoUserTimeout, spec.UserTimeout(g.duration(spec.MaxUserTimeout))),
			AutoDisable:      g.bool(),
			HashFailover:     g.bool(),
			OnRemove:         pick(g, spec.Keep, spec.Drain, spec.Close),
			DrainTimeout:     g.duration(spec.MaxTimeout),
			HoldOff:          g.duration(spec.MaxTimeout),
			HoldOffMax:       spec.MaxTimeout,
			OnDown:           pick(g, spec.KeepSessions, spec.CloseSessions),
			OnReturn:         pick(g, spec.KeepSessions, spec.CloseSessions),
			CloseSpread:      g.duration(spec.MaxTimeout),
			Panic:            pick(g, 0, 1, 50, 100),
			WhenUnusable:     pick(g, spec.UnusableClose, spec.UnusableReset, spec.UnusableRefuse),
			StallAfter:       g.duration(spec.MaxTimeout),
			MaxAge:           g.duration(spec.MaxTimeout),
			MaxAgeJitter:     pick(g, 0, 10, 100),
			Rebalance:        pick(g, spec.Percent(0), 7, 100),
			MaxSessions:      pick(g, 0, 1, spec.MaxMaxConns),
			Source:           pick(g, netip.Addr{}, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fe80::1%eth0")),
			PrefaceTimeout:   max(time.Millisecond, g.duration(spec.MaxTimeout)),
			ProxyProtocol:    spec.ProxyProtocol{Accept: g.networks(), Timeout: max(time.Millisecond, g.duration(spec.MaxTimeout))},
			Admit: spec.Admit{Allow: g.networks(), Deny: g.networks(), AllowFile: pick(g, "", "/a"), DenyFile: pick(g, "", "/a b/é \"#"),
				MaxSessions: pick(g, 0, 1, spec.MaxMaxConns), Burst: pick(g, 0, 5), Refuse: pick(g, spec.ByReset, spec.ByClose)},
			Unix: spec.Unix{Mode: pick(g, spec.FileMode(0o660), 0o600, 0o666), Group: pick(g, "", "adm", "a \"b\" é")},
		}
		l.Transparent = g.bool() && !l.Source.IsValid()
		if err := l.Admit.Rate.UnmarshalText([]byte(pick(g, "0/s", "20/s", "100/m", "1000000/h"))); err != nil {
			panic(err)
		}
		l.Admit.IPv4Bits.SetInt(1 + g.IntN(32))
		l.Admit.IPv6Bits.SetInt(1 + g.IntN(128))
		for k := range 1 + g.IntN(2) {
			l.Listen = append(l.Listen, fmt.Sprintf("%s:%d", pick(g, "", "h1", "[::]", "0.0.0.0", "[fe80::1%eth0]"), 1000+10*i+k))
		}
		l.Name = pick(g, l.Listen[0], fmt.Sprint(i), fmt.Sprintf("\"l'%d\" \\n é #=[]", i))
		if g.bool() {
			l.Listen = append(l.Listen, fmt.Sprintf("unix:/run/%d é\".sock", i))
		}
		preset := spec.Defaults() // what is of no use is not written
		for _, s := range spec.ListenerSettings {
			if l.Useless(s.Key) != nil {
				s.Set(&l, &preset)
			}
		}
		for range 1 + g.IntN(3) {
			group := spec.Group{Mode: balancer.Mode(g.IntN(int(balancer.Modes))), SlowStart: g.duration(spec.MaxTimeout), Check: g.check(), SendProxy: g.sendProxy(),
				ServerName: pick(g, nil, []string{"example.net"}, []string{"*.a_b.example.net", "xn--mller-kva"}), ALPN: pick(g, nil, []string{"h2", "acme-tls/1"}, []string{`a "b"`}), From: g.networks()}
			if group.Mode == balancer.Hash {
				group.HashIPv4Bits.SetInt(1 + g.IntN(32))
				group.HashIPv6Bits.SetInt(1 + g.IntN(128))
				group.HashLoad = pick(g, 0, spec.MinHashLoad, spec.MaxHashLoad)
			}
			for range 1 + g.IntN(4) {
				if g.IntN(4) == 0 {
					channel := spec.Channel{Host: pick(g, "unix:/run/app.sock", "unix:/a b:3", "unix:/é\""), MaxConns: g.maxc(), CheckHost: pick(g, "", g.host()), SendProxy: g.sendProxy()}
					if channel.CheckHost != "" {
						channel.CheckPort = 77
					} else if group.Check.TLS {
						group.Check.ServerName = "h1"
					}
					group.Channels = append(group.Channels, channel)
					continue
				}
				group.Channels = append(group.Channels, spec.Channel{SendProxy: pick(g, group.SendProxy, g.sendProxy()), Host: g.host(), Port: uint16(1 + g.IntN(math.MaxUint16)), MaxConns: g.maxc(), Weight: pick(g, 0, spec.WeightOf(g.IntN(1+balancer.MaxWeight))), Disabled: g.bool(),
					CheckHost: pick(g, "", g.host()), CheckPort: uint16(pick(g, 0, g.IntN(math.MaxUint16)))})
			}
			l.Groups = append(l.Groups, group)
		}
		c.Listeners = append(c.Listeners, l)
	}
	return c
}

func (g generator) networks() []string {
	return pick(g, nil, []string{"10.0.0.0/8"}, []string{"192.0.2.7", "2001:db8::/32", "::/0", "::1"})
}

func (g generator) sendProxy() spec.SendProxy {
	return pick(g, spec.NoProxy, spec.ProxyV1, spec.ProxyV2)
}

func (g generator) check() spec.Check {
	text := func() string {
		return pick(g, "", "PING\r\n", "\x00\x7f\u2028\u202e\U0001f600\"'\\\t\b\f\v\a\x1b", "é")
	}
	c := spec.Check{
		Type: pick(g, spec.CheckNone, spec.CheckTCP, spec.CheckHTTP, spec.CheckExec, spec.CheckRedis, spec.CheckPostgres,
			spec.CheckMySQL, spec.CheckSMTP, spec.CheckLDAP),
		Interval:     max(spec.MinCheckInterval, g.duration(spec.MaxTimeout)),
		FastInterval: max(spec.MinCheckInterval, g.duration(spec.MaxTimeout)),
		DownInterval: max(spec.MinCheckInterval, g.duration(spec.MaxTimeout)),
		Timeout:      max(time.Millisecond, g.duration(spec.MaxConnectTimeout)),
		Rise:         pick(g, 1, 2, spec.MaxCheckCount),
		Fall:         pick(g, 1, 3, spec.MaxCheckCount),
		Init:         pick(g, spec.InitUp, spec.InitDown),
		Port:         pick(g, uint16(0), 1, math.MaxUint16),
		Expect:       pick(g, "", "^\\+PONG\r\n", `"[a-z]\d'`),
		Path:         pick(g, "/", "/primary?x=%20", "/*"),
		Method:       pick(g, "GET", "HEAD", "X-A"),
		Host:         pick(g, "", "h1", "h1:80", "[::1]", "[::1]:80", "192.0.2.1"),
		Headers:      pick(g, nil, map[string]string{"A": "b"}, map[string]string{"X.Y": "é \"\t\\", "Accept": ""}),
		Status:       pick(g, spec.StatusRanges{{First: 200, Last: 399}}, spec.StatusRanges{{First: 599, Last: 599}, {First: 100, Last: 102}}),
		TLS:          g.bool(),
		ServerName:   pick(g, "", "h1", "::1"),
		CAFile:       pick(g, "", "/a b/é.pem"),
		Insecure:     g.bool(),
		Role:         pick(g, "", "master", "slave"),
		Command:      pick(g, []string{"true"}, []string{"/bin/x", strings.ReplaceAll(text(), "\x00", ""), "{host}"}),
	}
	if g.bool() {
		c.Send = text()
	} else {
		c.SendHex = pick(g, "", "00fF")
	}
	if g.bool() {
		c.CertFile, c.KeyFile = "/c", "/k"
	}
	return c.Plain()
}

func (g generator) classic() Classic {
	port := pick(g, "80", "pop3", "65535", "0")
	c := Classic{
		Bind:           pick(g, "", "localhost", "::1", "127.0.0.1"),
		Source:         pick(g, "", "::1", "192.0.2.1"),
		ConnectTimeout: time.Duration(g.IntN(3)) * time.Second,
		IdleTimeout:    g.duration(spec.MaxTimeout),
		AutoDisable:    g.bool(),
		HashFailover:   g.bool(),
		IPv6:           g.bool(),
		Debug:          g.bool(),
		Args:           []string{port},
	}
	for range 1 + g.IntN(3) {
		for range 1 + g.IntN(3) {
			c.Args = append(c.Args, g.channel(port == "0"))
		}
		c.Args = append(c.Args, pick(g, "!", "%"))
	}
	if g.bool() {
		c.Args = append(c.Args, g.channel(port == "0"))
	}
	return c
}

func (g generator) channel(needsPort bool) string {
	host := g.host()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	port := pick(g, ":25", ":smtp")
	if !needsPort {
		port = pick(g, port, ":")
	}
	switch {
	case host == "fe80": // with no port it reads as an IPv6 address
		return host + ":25:" + fmt.Sprint(g.maxc())
	case g.bool():
		return host + port + ":" + fmt.Sprint(g.maxc())
	default:
		return host + port
	}
}
