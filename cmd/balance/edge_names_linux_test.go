package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestEdgeNames has curl and openssl ask for servers by name and protocol. None of
// them shares a certificate with another.
func TestEdgeNames(t *testing.T) {
	t.Parallel()
	needs(t, "nginx", "curl", "openssl")
	dir := serverDir(t)
	ca := newAuthority(t, "Ours")
	writeFile(t, filepath.Join(dir, "ca.pem"), ca.certificate())
	var servers strings.Builder
	serve := func(name, certified, options string) net.Addr {
		addr, file := address(t), filepath.Join(dir, name+".pem")
		writeFile(t, file, ca.issue(t, certified, time.Now().Add(time.Hour)))
		fmt.Fprintf(&servers, "server { listen %s ssl proxy_protocol %s; ssl_certificate %s; ssl_certificate_key %[3]s; location / { return 200 \"%s for $proxy_protocol_addr\"; } }\n",
			addr, options, file, name)
		return addr
	}
	www := serve("www", "www.example.com", "")
	modern := serve("modern", "*.example.net", "http2")
	net := serve("net", "*.example.net", "")
	rest := serve("rest", "rest.example.org", "")
	startNginx(t, dir, servers.String(), "")

	onBothPlanes(t, func(t *testing.T, plane string) {
		all, some := address(t), address(t)
		const groups = `
[[listener.group]]
server_name = "www.example.com"
channels = ["CLOSED"]
[[listener.group]]
server_name = ["www.example.com", "example.com"]
send_proxy = "v2"
channels = ["WWW"]
[[listener.group]]
server_name = "*.example.net"
alpn = "h2"
send_proxy = "v1"
channels = ["MODERN"]
[[listener.group]]
server_name = "*.example.net"
send_proxy = "v2"
channels = ["NET"]
`
		d := startEdge(t, plane, strings.NewReplacer("ALL", all.String(), "SOME", some.String(), "CLOSED", address(t).String(),
			"WWW", www.String(), "MODERN", modern.String(), "NET", net.String(), "REST", rest.String()).Replace(
			"[[listener]]\nname = \"all\"\nlisten = \"ALL\"\nproxy_protocol.accept = \""+inFront+"\"\n"+groups+
				"[[listener.group]]\nsend_proxy = \"v2\"\nchannels = [\"REST\"]\n"+
				"[[listener]]\nname = \"some\"\nlisten = \"SOME\"\n"+groups))

		curl := func(listen string, args ...string) (string, error) {
			for _, name := range []string{"www.example.com", "example.com", "api.example.net", "a.b.example.net", "rest.example.org"} {
				args = append(args, "--resolve", name+":"+listen+":127.0.0.1")
			}
			args = append([]string{"-s", "--cacert", filepath.Join(dir, "ca.pem"), "--interface", outside}, args...)
			out, err := bounded(t, "curl", args...).Output()
			return string(out), err
		}
		awaitThat(t, "nginx serves", func() bool {
			_, err := curl(portOf(all), "https://rest.example.org:"+portOf(all))
			return err == nil
		})
		for _, test := range []struct {
			server, want string
			args         []string
		}{
			{"www.example.com", "www", nil},
			{"WWW.Example.COM", "www", nil},
			{"example.com", "www", []string{"-k"}},
			{"api.example.net", "modern", []string{"--http2"}},
			{"api.example.net", "net", []string{"--http1.1"}},
			{"api.example.net", "net", []string{"--no-alpn"}},
			{"a.b.example.net", "rest", []string{"-k"}},
			{"rest.example.org", "rest", []string{"--http2"}},
			{"127.0.0.1", "rest", []string{"-k"}}, // an address is not named
			{"www.example.com", "www", []string{"--tls-max", "1.2"}},
			{"www.example.com", "www", []string{"--haproxy-protocol", "--interface", inFront}},
		} {
			from := outside
			if len(test.args) == 3 {
				from = inFront
			}
			out, err := curl(portOf(all), append([]string{"https://" + test.server + ":" + portOf(all) + "/"}, test.args...)...)
			if want := test.want + " for " + from; out != want || err != nil {
				t.Errorf("curl %s %s: %q, %v, want %q", test.server, test.args, out, err, want)
			}
		}

		openssl := func(args ...string) string {
			program := bounded(t, "openssl", append([]string{"s_client", "-quiet", "-no_ign_eof", "-connect", all.String()}, args...)...)
			return says(t, program, "GET / HTTP/1.0\r\n\r\n", " for ")
		}
		for _, test := range []struct {
			args []string
			want string
		}{
			{[]string{"-servername", "www.example.com"}, "www"},
			{[]string{"-servername", "www.example.com", "-alpn", "h2,http/1.1", "-tls1_2"}, "www"},
			{[]string{"-servername", "api.example.net", "-alpn", "http/1.1"}, "net"},
			{[]string{"-servername", "api.example.net"}, "net"},
			{[]string{"-noservername"}, "rest"},
			{[]string{"-noservername", "-alpn", "http/1.1"}, "rest"},
		} {
			if out := openssl(test.args...); !strings.Contains(out, "\r\n\r\n"+test.want+" for 127.0.0.1") {
				t.Errorf("openssl s_client %s: %q, want %s", test.args, out, test.want)
			}
		}

		if out, _, err := asked(outside, all, getRequest); err != nil || !strings.Contains(out, "plain HTTP request was sent to HTTPS port") {
			t.Errorf("in plain text: %q, %v", out, err)
		}

		// Where no group is for everybody, who names nothing is turned away.
		if out, err := curl(portOf(some), "https://www.example.com:"+portOf(some)); out != "www for "+outside || err != nil {
			t.Errorf("curl by name: %q, %v", out, err)
		}
		before := d.log.Len()
		if out, err := curl(portOf(some), "-k", "https://127.0.0.1:"+portOf(some)); err == nil {
			t.Errorf("curl without a name: %q", out)
		}
		d.await(t, before, `msg=session .*client=127\.0\.0\.9:.*listener=some .*how="no channel" reason="?for`)
	})
}

// says has a program read a text, and returns what it has written once that has the
// end in it. It is killed then.
func says(t *testing.T, program *exec.Cmd, text, end string) string {
	t.Helper()
	out := new(lockedBuffer)
	program.Stdout = out
	input, err := program.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(input, text)
	for late := time.Now().Add(patience); !strings.Contains(out.String(), end) && time.Now().Before(late); time.Sleep(5 * time.Millisecond) {
	}
	input.Close()
	program.Process.Kill()
	program.Wait()
	return out.String()
}

// TestEdgePostgres has psql reach servers by name, through the request for TLS that it
// begins with, and past a server that has no TLS.
func TestEdgePostgres(t *testing.T) {
	t.Parallel()
	needs(t, "openssl")
	psql := postgresProgram(t, "psql")
	dir := serverDir(t)
	ca := newAuthority(t, "Ours")
	writeFile(t, filepath.Join(dir, "ca.pem"), ca.certificate())
	certificate := func(name string) (file string) {
		file = filepath.Join(dir, name+".pem")
		writeFile(t, file, ca.issue(t, name, time.Now().Add(time.Hour)))
		chmod(t, file, 0o600)
		if os.Getuid() == 0 {
			if err := os.Chown(file, nobody, nobody); err != nil {
				t.Fatal(err)
			}
		}
		return file
	}
	ticket := filepath.Join(dir, "ticket")
	writeFile(t, ticket, kerberosTicket())
	empty := filepath.Join(dir, "empty")
	prepare(t, dir, postgresProgram(t, "initdb"), "--no-sync", "--auth=trust", "--username=postgres", "--wal-segsize=1", "--pgdata="+empty)
	serve := func(name string, options ...string) net.Addr {
		addr, data := address(t), filepath.Join(dir, name)
		prepare(t, dir, "cp", "-r", empty, data)
		args := []string{"-D", data, "-h", "127.0.0.1", "-p", portOf(addr), "-k", "", "-c", "cluster_name=" + name, "-c", "shared_buffers=1MB", "-c", "fsync=off", "-c", "autovacuum=off"}
		for _, option := range options {
			args = append(args, "-c", option)
		}
		startServing(t, dir, postgresProgram(t, "postgres"), args...)
		return addr
	}
	secure := func(name string) net.Addr {
		file := certificate(name + ".example.com")
		return serve(name, "ssl=on", "ssl_cert_file="+file, "ssl_key_file="+file)
	}
	one, two, plain := secure("one"), secure("two"), serve("plain", "ssl=off")
	direct := address(t) // PostgreSQL 17 is the first that knows sslnegotiation=direct
	file := certificate("direct.example.com")
	startServing(t, dir, "openssl", "s_server", "-quiet", "-4", "-accept", direct.String(), "-cert", file, "-key", file, "-alpn", "postgresql", "-rev")

	onBothPlanes(t, func(t *testing.T, plane string) {
		listen := address(t)
		d := startEdge(t, plane, strings.NewReplacer("LISTEN", listen.String(), "ONE", one.String(), "TWO", two.String(),
			"PLAIN", plain.String(), "DIRECT", direct.String()).Replace(`
[[listener]]
name = "names"
listen = "LISTEN"
[[listener.group]]
alpn = "postgresql"
channels = ["DIRECT"]
[[listener.group]]
server_name = "one.example.com"
channels = ["ONE"]
[[listener.group]]
server_name = "two.example.com"
channels = ["PLAIN"]
[[listener.group]]
server_name = "two.example.com"
channels = ["TWO"]
[[listener.group]]
channels = ["PLAIN"]
`))
		query := func(name, mode string, more ...string) (string, error) {
			program := bounded(t, psql, fmt.Sprintf("host=%s hostaddr=127.0.0.1 port=%s user=postgres dbname=postgres sslmode=%s sslrootcert=%s %s",
				name, portOf(listen), mode, filepath.Join(dir, "ca.pem"), strings.Join(more, " ")), "-XAtc", "SHOW cluster_name")
			program.Env = append(os.Environ(), "KRB5CCNAME=FILE:"+ticket)
			out, err := program.CombinedOutput()
			return strings.TrimSpace(string(out)), err
		}
		for _, channel := range []net.Addr{one, two, plain} {
			awaitThat(t, "PostgreSQL serves", func() bool {
				s, err := openPg(channel)
				if err == nil {
					s.Close()
				}
				return err == nil
			})
		}
		for _, test := range []struct {
			name, mode, want string
			more             []string
		}{
			{"one.example.com", "verify-full", "one", nil},
			{"one.example.com", "require", "one", nil},
			{"ONE.example.com", "verify-full", "one", nil},
			{"one.example.com", "verify-full", "one", []string{"gssencmode=disable"}},
			{"one.example.com", "prefer", "one", nil},
			{"two.example.com", "verify-full", "two", nil}, // past the server that has no TLS
			{"two.example.com", "disable", "plain", nil},
			{"one.example.com", "allow", "plain", nil},
		} {
			if out, err := query(test.name, test.mode, test.more...); out != test.want || err != nil {
				t.Errorf("psql to %s by sslmode=%s %s: %q, %v, want %s", test.name, test.mode, test.more, out, err, test.want)
			}
		}
		d.await(t, 0, `channel=`+plain.String()+`.*answers .?.?N.?.? to the request for TLS`)
		// With a ticket psql asks for encryption by GSSAPI first, and for TLS then.
		if out, err := query("one.example.com", "require", "gssencmode=require"); err == nil || !strings.Contains(out, "server doesn't support GSSAPI encryption") {
			t.Errorf("psql by GSSAPI alone: %q, %v", out, err)
		}
		// Who names nothing goes to the server for everybody, which has no TLS.
		for _, more := range []string{"", "sslsni=0"} {
			name := "nobody.example.com"
			if more != "" {
				name = "one.example.com"
			}
			if out, err := query(name, "require", more); err == nil {
				t.Errorf("psql to %s %s, with a server without TLS: %q", name, more, out)
			}
		}

		program := bounded(t, "openssl", "s_client", "-quiet", "-no_ign_eof", "-connect", listen.String(), "-servername", "one.example.com", "-alpn", "postgresql")
		if out := says(t, program, "direct\n", "tcerid"); !strings.Contains(out, "tcerid") {
			t.Errorf("without a request for TLS: %q", out)
		}
	})
}

// kerberosTicket is what a file has that looks like the ticket of a user to libkrb5,
// for as long as nobody asks what it is worth (MIT Kerberos, Credential cache file
// format, version 4).
func kerberosTicket() string {
	var b []byte
	number := func(n int) { b = binary.BigEndian.AppendUint32(b, uint32(n)) }
	principal := func(names ...string) {
		number(1) // KRB5_NT_PRINCIPAL
		number(len(names))
		for _, name := range append([]string{"EXAMPLE.COM"}, names...) {
			number(len(name))
			b = append(b, name...)
		}
	}
	b = append(b, 5, 4, 0, 0) // no header
	principal("user")
	principal("user")
	principal("krbtgt", "EXAMPLE.COM")
	b = append(b, 0, 18) // aes256-cts-hmac-sha1-96
	number(32)
	b = append(b, make([]byte, 32)...)
	now := int(time.Now().Unix())
	for _, at := range []int{now, now, now + 3600, now + 3600} { // authenticated, from, until, renewable until
		number(at)
	}
	b = append(b, 0) // no session key of another's ticket
	for range 3 {    // flags, addresses, authorization
		number(0)
	}
	number(1)
	b = append(b, 'x') // the ticket
	number(0)          // no second one
	return string(b)
}
