package foreign_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"balance/config"
	"balance/config/foreign"
	"balance/engine/balancer"
	"balance/engine/spec"
)

// classic stands for the program, which has the options.
func classic(args []string) (*spec.Config, error) {
	if slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "-") }) {
		return nil, errors.New("unknown option")
	}
	document, err := config.Parse(config.Classic{Args: args})
	return document.Config, err
}

// imported returns what a file comes to, and the file.
func imported(t *testing.T, kind, text string) (*spec.Config, string) {
	t.Helper()
	file, _, err := foreign.Import(kind, "f", []byte(text), classic)
	if err != nil {
		t.Fatalf("%v\n%s", err, file)
	}
	c, err := config.Decode("f", file)
	if err != nil {
		t.Fatal(err)
	}
	return c, string(file)
}

func TestHAProxy(t *testing.T) {
	c, file := imported(t, "haproxy", `
global
    maxconn 4000
    chroot /var/lib/haproxy
defaults
    mode tcp
    timeout connect 5s
    timeout client 90000
    timeout server 90s
listen pg
    bind *:5432,:5433
    balance leastconn
    option httpchk OPTIONS /master
    http-check expect status 200
    default-server inter 3s fall 4 rise 3 on-marked-down shutdown-sessions
    server p1 10.0.0.1:5432 maxconn 100 check port 8008
    server p2 10.0.0.2 maxconn 100 check port 8008 weight 2 slowstart 30s
    server p3 [2001:db8::3]:5432 backup check port 8008 on-marked-up shutdown-backup-sessions
frontend web
    bind 192.0.2.1:443 ssl crt /x # a comment
    default_backend app
    acl foo path "/x y"
backend app
    balance source
    timeout queue 7s
    server a 10.1.0.1 disabled
backend idle
    server z 10.1.0.9:80
`)
	if c.Process.MaxSessions != 4000 || len(c.Listeners) != 2 {
		t.Fatal(file)
	}
	pg, web := c.Listeners[0], c.Listeners[1]
	if pg.Name != "pg" || !slices.Equal(pg.Listen, []string{":5432", ":5433"}) || pg.IdleTimeout != 90*time.Second ||
		pg.ConnectTimeout != 5*time.Second || pg.Queue == 0 || pg.QueueTimeout != 5*time.Second ||
		pg.OnDown != spec.CloseSessions || pg.OnReturn != spec.CloseSessions {
		t.Errorf("%+v", pg)
	}
	primary := pg.Groups[0]
	if primary.Mode != balancer.LeastConn || primary.SlowStart != 30*time.Second || len(primary.Channels) != 2 ||
		primary.Channels[1].Port != 5432 || primary.Channels[1].Weight.Int() != 2 || primary.Channels[0].MaxConns != 100 || primary.Channels[0].CheckPort != 8008 {
		t.Errorf("%+v", primary)
	}
	if k := primary.Check; k.Type != spec.CheckHTTP || k.Interval != 3*time.Second || k.Fall != 4 || k.Rise != 3 || k.Method != "OPTIONS" || k.Path != "/master" || k.Status.String() != "200" {
		t.Errorf("%+v", k)
	}
	if spare := pg.Groups[1]; len(spare.Channels) != 1 || spare.Channels[0].Host != "2001:db8::3" {
		t.Errorf("%+v", spare)
	}
	if web.Groups[0].Mode != balancer.Hash || !web.HashFailover || web.Groups[0].Channels[0].Port != 443 || !web.Groups[0].Channels[0].Disabled ||
		web.Groups[0].Check.Type != spec.CheckNone || web.Queue != 0 {
		t.Errorf("%+v", web)
	}
	for _, want := range []string{
		"# line 4: chroot /var/lib/haproxy\n#   the unit",
		"# line 20: bind 192.0.2.1:443 ssl crt /x # a comment\n#   TLS goes through",
		"# line 22: acl foo path \"/x y\"\n#   balance chooses",
		"# line 27: backend idle\n#   no frontend",
	} {
		if !strings.Contains(file, want) {
			t.Errorf("%q is missing in\n%s", want, file)
		}
	}
}

// A group has one check, and its channels have the names of the servers, where these
// can be names of channels.
func TestHAProxyServers(t *testing.T) {
	c, file := imported(t, "haproxy", `
listen mail
    bind :25
    server mx1 10.0.0.21:25 check inter 5s fall 2
    server mx2 10.0.0.22:25 check
    server 3 10.0.0.23:25 check
    server mx1 10.0.0.24:25 backup
`)
	var names []string
	for _, g := range c.Listeners[0].Groups {
		for _, ch := range g.Channels {
			names = append(names, ch.Name)
		}
	}
	if !slices.Equal(names, []string{"", "mx2", "", ""}) {
		t.Errorf("the channels are called %q\n%s", names, file)
	}
	if want := "# line 5: server mx2 10.0.0.22:25 check\n#   the check of a group is one for all: "; strings.Count(file, want) != 1 || strings.Count(file, "one for all") != 2 {
		t.Errorf("%q is missing in\n%s", want, file)
	}
}

// What a check of HAProxy says, as that of balance.
func TestHAProxyChecks(t *testing.T) {
	for lines, want := range map[string]func(spec.Check) bool{
		"option tcp-check\ntcp-check connect\ntcp-check send PING\\r\\n\ntcp-check expect string +PONG": func(c spec.Check) bool {
			return c.Type == spec.CheckTCP && c.Send == "PING\r\n" && c.Expect == `\+PONG`
		},
		"option redis-check":    func(c spec.Check) bool { return c.Type == spec.CheckRedis },
		"option smtpchk HELO x": func(c spec.Check) bool { return c.Type == spec.CheckSMTP },
		"option httpchk\nhttp-check send meth GET uri /h hdr Host www hdr X-A b\nhttp-check expect rstatus ^[23]\nhttp-check expect rstatus 20": func(c spec.Check) bool {
			return c.Method == "GET" && c.Path == "/h" && c.Host == "www" && c.Headers["X-A"] == "b" && c.Status.String() == "200-209"
		},
		"option external-check\nexternal-check command /bin/true": func(c spec.Check) bool {
			return c.Type == spec.CheckExec && slices.Equal(c.Command, []string{"/bin/true", "{host}", "{port}"})
		},
		"": func(c spec.Check) bool { return c.Type == spec.CheckTCP && c.Interval == 2*time.Second },
	} {
		c, file := imported(t, "haproxy", "listen x\nbind :80\n"+lines+"\nserver a 10.0.0.1:80 check\n")
		if check := c.Listeners[0].Groups[0].Check; !want(check) {
			t.Errorf("%s: %+v\n%s", lines, check, file)
		}
	}
}

func TestNginx(t *testing.T) {
	c, file := imported(t, "nginx", `
user www-data;
worker_processes 2;
events { worker_connections 768; }
http { server { listen 80; location / { return 200 "a;b{}"; } } }
stream {
  proxy_timeout 1h30m;   # a comment; with marks {
  upstream db {
    least_conn;
    server 10.0.0.1:5432 weight=3 max_conns=10 fail_timeout=5s;
    server db2.example:5432 down;
    server 10.0.0.9:5432 backup;
    server unix:/run/x.sock;
  }
  server { listen 127.0.0.1:5432 so_keepalive=on; proxy_pass db; proxy_connect_timeout 3; proxy_bind 127.0.0.2; }
  server { listen [::1]:53; listen 53 udp; proxy_pass dns.example:53; ssl_preread on; }
  server { listen 99; proxy_pass $name; }
  upstream idle { server 10.0.0.8:5432; }
}
`)
	if len(c.Listeners) != 2 || c.Loops != 2 {
		t.Fatal(file)
	}
	db, dns := c.Listeners[0], c.Listeners[1]
	if db.Name != "db" || db.IdleTimeout != 90*time.Minute || db.ConnectTimeout != 3*time.Second || db.HoldOff != 5*time.Second || db.Source.String() != "127.0.0.2" ||
		len(db.Groups) != 2 || db.Groups[0].Mode != balancer.LeastConn || db.Groups[0].Channels[0].Weight.Int() != 3 || db.Groups[0].Channels[0].MaxConns != 10 ||
		!db.Groups[0].Channels[1].Disabled || db.Groups[0].Channels[2].Host != "unix:/run/x.sock" || db.Groups[1].Channels[0].Host != "10.0.0.9" {
		t.Errorf("%+v", db)
	}
	if !slices.Equal(dns.Listen, []string{"[::1]:53"}) || dns.Groups[0].Channels[0].Host != "dns.example" || dns.ConnectTimeout != time.Minute {
		t.Errorf("%+v", dns)
	}
	for _, want := range []string{
		"# line 5: http\n#   HTTP is not ended", "# line 16: listen 53 udp\n#   balance relays TCP alone",
		"# line 16: ssl_preread on\n", "# line 17: proxy_pass $name\n#   it leads to no server",
		"# line 18: upstream idle\n#   no server passes to it",
	} {
		if !strings.Contains(file, want) {
			t.Errorf("%q is missing in\n%s", want, file)
		}
	}
}

// Headers that are sent and taken, and unix sockets on both sides.
func TestEdge(t *testing.T) {
	c, file := imported(t, "haproxy", `
listen a
    bind :25 accept-proxy
    bind :26 accept-proxy
    server s1 10.0.0.21:25 send-proxy
    server s2 10.0.0.22:25 send-proxy-v2 check
    server s3 10.0.0.23:25
listen b
    bind unix@/run//b.sock mode 600 group adm accept-proxy
    bind /run/c.sock,:27
    server s1 /run/app.sock maxconn 3
    server s2 10.0.0.22
`)
	a, b := c.Listeners[0], c.Listeners[1]
	if !slices.Equal(a.ProxyProtocol.Accept, []string{"0.0.0.0/0", "::/0"}) || a.Groups[0].Channels[0].SendProxy != spec.ProxyV1 ||
		a.Groups[0].Channels[1].SendProxy != spec.ProxyV2 || a.Groups[0].Channels[2].SendProxy != spec.NoProxy || !strings.Contains(file, "# whoever connects has to say") {
		t.Errorf("%+v\n%s", a, file)
	}
	if !slices.Equal(b.Listen, []string{"unix:/run/b.sock", "unix:/run/c.sock", ":27"}) || b.Unix != (spec.Unix{Mode: 0o600, Group: "adm"}) || b.ProxyProtocol.Accept != nil ||
		b.Groups[0].Channels[0].String() != "unix:/run/app.sock" || b.Groups[0].Channels[0].MaxConns != 3 || b.Groups[0].Channels[1].Port != 27 ||
		!strings.Contains(file, "# line 8: accept-proxy\n#   see [listener.proxy_protocol]") {
		t.Errorf("%+v\n%s", b, file)
	}
	c, file = imported(t, "nginx", `stream {
  upstream u { server 10.0.0.1:1; server unix:/run/x.sock backup; }
  server { listen 1 proxy_protocol; proxy_pass u; proxy_protocol on; }
  server { listen unix:/run/in.sock; listen 2 proxy_protocol; proxy_pass u; allow 10.0.0.0/8; }
}`)
	a, b = c.Listeners[0], c.Listeners[1]
	if len(a.ProxyProtocol.Accept) != 2 || a.Groups[0].SendProxy != spec.ProxyV1 || a.Groups[1].Channels[0].SendProxy != spec.ProxyV1 {
		t.Errorf("%+v\n%s", a, file)
	}
	if b.Listen[0] != "unix:/run/in.sock" || b.ProxyProtocol.Accept != nil || b.Groups[0].SendProxy != spec.NoProxy || b.Groups[0].Channels[0].SendProxy != spec.NoProxy ||
		!strings.Contains(file, "# line 4: listen proxy_protocol\n#   see [listener.proxy_protocol]") || !strings.Contains(file, "allow 10.0.0.0/8\n#   see [listener.admit]") {
		t.Errorf("%+v\n%s", b, file)
	}
}

func TestPen(t *testing.T) {
	c, file := imported(t, "pen", "#!/bin/sh\n/usr/bin/pen -fh -t 3 -b 10 -x 200 -p /run/pen.pid \\\n  -e spare:81 127.0.0.1:80 h1:8080:100 '[2001:db8::1]:80' &\npen -r 25 m1 m2 >/dev/null\npen -U 53 d1\n")
	if len(c.Listeners) != 2 {
		t.Fatal(file)
	}
	web, mail := c.Listeners[0], c.Listeners[1]
	if web.ConnectTimeout != 3*time.Second || web.HoldOff != 10*time.Second || web.MaxSessions != 200 || web.Groups[0].Mode != balancer.Hash || !web.HashFailover ||
		web.Groups[0].Channels[0].MaxConns != 100 || web.Groups[0].Channels[1].Host != "2001:db8::1" || web.Groups[1].Channels[0].Host != "spare" {
		t.Errorf("%+v", web)
	}
	if mail.Groups[0].Mode != balancer.RoundRobin || mail.Groups[0].Channels[1].Port != 25 || mail.HoldOff != 30*time.Second {
		t.Errorf("%+v", mail)
	}
	for _, want := range []string{"# line 2: -p /run/pen.pid\n", "# line 5: pen -U 53 d1\n#   balance listens on TCP ports"} {
		if !strings.Contains(file, want) {
			t.Errorf("%q is missing in\n%s", want, file)
		}
	}
}

func TestClassic(t *testing.T) {
	c, file := imported(t, "classic", "# ours\nbalance 8080 h1 h2::16 ! fo1; echo done\nExecStart=/usr/sbin/balance 8081 h3 %\nsleep 1\nbalance -x 80 h1\n")
	if len(c.Listeners) != 2 || len(c.Listeners[0].Groups) != 2 || c.Listeners[0].Groups[0].Channels[1].MaxConns != 16 || c.Listeners[1].Groups[0].Mode != balancer.Hash {
		t.Fatal(file)
	}
	for _, want := range []string{"# line 4: sleep 1\n#   not a command line of balance", "# line 5: balance -x 80 h1\n#   unknown option"} {
		if !strings.Contains(file, want) {
			t.Errorf("%q is missing in\n%s", want, file)
		}
	}
}

// The files that the packages of haproxy and nginx bring: what comes out of each is a
// file of balance, or says that there is no listener.
func TestShippedFiles(t *testing.T) {
	found := map[string][]string{"haproxy": {"/etc/haproxy/haproxy.cfg"}, "nginx": {"/etc/nginx/nginx.conf"}}
	examples, _ := filepath.Glob("/usr/share/doc/haproxy/examples/*.cfg")
	found["haproxy"] = append(found["haproxy"], examples...)
	sites, _ := filepath.Glob("/etc/nginx/*-available/*")
	found["nginx"] = append(found["nginx"], sites...)
	for kind, paths := range found {
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Skip(err)
			}
			file, left, err := foreign.Import(kind, path, data, classic)
			if err != nil && !strings.Contains(err.Error(), "no listener") || left == 0 && err != nil {
				t.Errorf("%s: %d lines left, %v\n%s", path, left, err, file)
			}
		}
	}
}

// FuzzImport: whatever the file, what comes out is TOML, and what was not carried over
// stays a comment.
func FuzzImport(f *testing.F) {
	f.Add(uint8(0), "listen a\nbind :80\nserver x 1.2.3.4:80 check \"\\\"\nserver y h\n")
	f.Add(uint8(0), "defaults x\ntimeout client 1d\nfrontend f from x\nbind [::]:1-5\nuse_backend \x1b[2J\ndefault_backend f\nbackend f\nserver \xff 0:0")
	f.Add(uint8(1), "stream{upstream u{server a:1;}server{listen 1;proxy_pass u;}server{listen 1;proxy_pass u;}}")
	f.Add(uint8(2), "pen -h 80 a:b:c:d\npen 1 'h\n'")
	f.Add(uint8(3), "balance 80 h1 '\"' ! h2")
	f.Fuzz(func(t *testing.T, kind uint8, text string) {
		name := foreign.Kinds[int(kind)%len(foreign.Kinds)]
		file, _, err := foreign.Import(name, "f", []byte(text), classic)
		if err != nil && strings.Contains(err.Error(), "not valid TOML") {
			t.Errorf("%v\n%s", err, file)
		}
		for line := range strings.Lines(string(file)) {
			if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return r < ' ' || r == 0x7f }) {
				t.Errorf("a line that cannot be printed: %q", line)
			}
		}
	})
}
