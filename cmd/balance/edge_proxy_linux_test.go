package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Proxies in front of balance connect from inFront, and clients from outside.
const (
	inFront = "127.0.0.2"
	outside = "127.0.0.9"
)

// TestEdgeProxies has clients come through HAProxy or nginx, in front of balance, to
// HAProxy or nginx behind it, by both versions of PROXY: who is behind tells the
// client its address, and where it had connected to. HAProxy checks who is behind
// through balance meanwhile, and balance checks them itself.
func TestEdgeProxies(t *testing.T) {
	t.Parallel()
	needs(t, "haproxy", "nginx", "curl")
	onBothPlanes(t, testEdgeProxies)
}

// proxies are HAProxy and nginx, both in front of balance and behind it.
type proxies struct {
	*testing.T
	haproxy, stream, listeners strings.Builder // what configures HAProxy, nginx and balance
	checks                     int             // that HAProxy makes
}

// listen has balance listen for proxies in front, and send a header to a server.
func (p *proxies) listen(name, version, check string, server net.Addr) (listen net.Addr) {
	listen = address(p.T)
	fmt.Fprintf(&p.listeners, "[[listener]]\nname = %q\nlisten = %q\nproxy_protocol.accept = %q\n"+
		"check = { type = %q, interval = \"100ms\", fast_interval = \"100ms\", down_interval = \"100ms\" }\ngroup = [{ send_proxy = %q, channels = [%q] }]\n",
		name, listen, inFront, check, version, server)
	return listen
}

// throughHAProxy is an address of HAProxy, which connects to balance, and checks by
// HTTP, or that the server speaks by itself.
func (p *proxies) throughHAProxy(name, options, check string, to net.Addr) (front net.Addr) {
	front = address(p.T)
	p.checks++
	check = map[string]string{
		"http": "option httpchk GET /",
		"tcp":  "option tcp-check\n\ttcp-check connect default\n\ttcp-check expect rstring ^127|^-",
	}[check]
	fmt.Fprintf(&p.haproxy, "listen %s\n\tmode tcp\n\tbind %s\n\tunique-id-format id-%%cp\n\t%s\n\tsource %s\n\tserver server %s check inter 300ms %s\n",
		name, front, check, inFront, to, options)
	return front
}

// throughNginx is an address of nginx, which connects to balance.
func (p *proxies) throughNginx(to net.Addr) (front net.Addr) {
	front = address(p.T)
	fmt.Fprintf(&p.stream, "server { listen %s; proxy_bind %s; proxy_protocol on; proxy_pass %s; }\n", front, inFront, to)
	return front
}

func testEdgeProxies(t *testing.T, plane string) {
	dir := serverDir(t)
	p := &proxies{T: t}
	web, stream, addresses, ids := address(t), address(t), address(t), address(t)
	const seen = "$proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_addr:$proxy_protocol_server_port"
	p.stream.WriteString(fmt.Sprintf("server { listen %s proxy_protocol; return \"%s\"; }\n", stream, seen))
	fmt.Fprintf(&p.haproxy, `global
	stats socket %s
defaults
	mode http
	log stderr format raw local0
	option dontlognull
	timeout connect 20s
	timeout client 20s
	timeout server 20s
	timeout check 20s
frontend addresses
	bind %s accept-proxy
	http-request return status 200 content-type text/plain lf-string "%%[src]:%%[src_port] %%[dst]:%%[dst_port]"
frontend ids
	bind %s accept-proxy
	http-request return status 200 content-type text/plain lf-string "%%[src]:%%[src_port] %%[fc_pp_unique_id]"
`, filepath.Join(dir, "stats"), addresses, ids)

	type way struct {
		name, request string
		front         net.Addr
	}
	var ways []way
	var second net.Addr // a listener that sends version 2 to nginx
	for _, behind := range []struct {
		name, request, check string
		server               net.Addr
	}{
		{"nginx", getRequest, "http", web},
		{"stream", "", "tcp", stream},
		{"haproxy", getRequest, "http", addresses},
	} {
		for _, version := range []string{"v1", "v2"} {
			name := behind.name + "-" + version
			listen := p.listen(name, version, behind.check, behind.server)
			if name == "nginx-v2" {
				second = listen
			}
			ways = append(ways,
				way{"haproxy-v1-" + name, behind.request, p.throughHAProxy("v1-"+name, "send-proxy", behind.check, listen)},
				way{"haproxy-v2-" + name, behind.request, p.throughHAProxy("v2-"+name, "send-proxy-v2", behind.check, listen)},
				way{"nginx-" + name, behind.request, p.throughNginx(listen)})
		}
	}
	named := p.listen("ids", "v2", "http", ids)
	identified := p.throughHAProxy("identified", "send-proxy-v2 proxy-v2-options crc32c,unique-id", "http", named)
	anonymous := p.throughHAProxy("anonymous", "send-proxy-v2", "http", named)

	startNginx(t, dir, fmt.Sprintf("log_format seen \"$proxy_protocol_addr \";\naccess_log DIR/seen.log seen;\n"+
		"server { listen %s proxy_protocol; location / { return 200 \"%s\"; } }\n", web, seen), p.stream.String())
	config := filepath.Join(dir, "haproxy.cfg")
	writeFile(t, config, p.haproxy.String())
	startServing(t, dir, "haproxy", "-db", "-f", config)
	d := startEdge(t, plane, p.listeners.String())

	// A check that is sent away, or whose header is not understood, has no answer.
	h := &haproxy{filepath.Join(dir, "stats")}
	awaitThat(t, "HAProxy finds all up", func() bool {
		up := 0
		for _, verdict := range h.verdicts(t) {
			if verdict == "UP" {
				up++
			}
		}
		return up == p.checks
	})
	for _, w := range ways {
		awaitThat(t, w.name+" leads somewhere", func() bool {
			answer, own, err := asked(outside, w.front, w.request)
			if err != nil || answer == "" {
				return false // nobody listens yet, or the channel is not up again
			}
			if want := fmt.Sprintf("%s %s", own, w.front); answer != want {
				t.Errorf("%s: the server sees %q, want %q", w.name, answer, want)
			}
			return true
		})
	}
	d.await(t, 0, `msg=session .*client=127\.0\.0\.9:.*listener=haproxy-v2 .*peer=127\.0\.0\.2:`)

	answer, own, err := asked(outside, identified, getRequest)
	if want := fmt.Sprintf("%s id-%d", own, own.Port()); answer != want {
		t.Errorf("with a unique id the server sees %q, %v, want %q", answer, err, want)
	}
	given := map[string]bool{}
	for range 3 {
		answer, own, err := asked(outside, anonymous, getRequest)
		id, found := strings.CutPrefix(answer, own.String()+" ")
		if !found || len(id) < 8 || given[id] {
			t.Errorf("without a unique id the server sees %q, %v", answer, err)
		}
		given[id] = true
	}

	// curl says itself whose connection it is. It is believed from in front alone, and
	// has to say so from there.
	curl := func(args ...string) (string, error) {
		out, err := bounded(t, "curl", append(args, "-s", "http://"+second.String()+"/")...).Output()
		return string(out), err
	}
	if out, err := curl("--interface", inFront, "--haproxy-protocol"); err != nil || !strings.HasPrefix(out, inFront+":") {
		t.Errorf("curl by PROXY: %q, %v", out, err)
	}
	if out, err := curl("--interface", outside); err != nil || !strings.HasPrefix(out, outside+":") {
		t.Errorf("curl as a client: %q, %v", out, err)
	}
	if out, _ := curl("--interface", outside, "--haproxy-protocol"); !strings.Contains(out, "400 Bad Request") {
		t.Errorf("curl by PROXY as a client, whose header is passed on: %q", out)
	}
	before := d.log.Len()
	if out, err := curl("--interface", inFront); err == nil {
		t.Errorf("curl without PROXY: %q", out)
	}
	d.await(t, before, `msg="clients refused" listener=nginx-v2 reason=\S+ client=127\.0\.0\.2`)

	// Headers and checks are nothing that who is behind has to complain of.
	complaints := regexp.MustCompile(`(?m)^.*(\[(warn|error|crit|alert|emerg)\]|broken header|PROXY (header|protocol|UNKNOWN)|[Bb]ad .*header|proxy protocol).*$`)
	logs, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	for _, name := range logs {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if found := complaints.FindAllString(string(content), 5); found != nil {
			t.Errorf("%s complains: %q", filepath.Base(name), found)
		}
		if filepath.Base(name) == "seen.log" && !strings.Contains(string(content), outside+" \n") {
			t.Errorf("nginx has not logged the client:\n%s", content)
		}
	}
}
