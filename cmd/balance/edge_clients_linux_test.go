package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// says waits until a client prints what is wanted.
func says(t *testing.T, want, name string, args ...string) {
	t.Helper()
	var out []byte
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		out, _ = bounded(t, name, args...).CombinedOutput()
		if strings.Contains(string(out), want) {
			return
		}
		if time.Now().After(end) {
			t.Errorf("%s %s says %q, want %q", name, strings.Join(args, " "), out, want)
			return
		}
	}
}

// names is a listener whose groups are for names of servers, and one for all others.
func names(listen net.Addr, groups ...string) string {
	return fmt.Sprintf("[[listener]]\nname = \"names\"\nlisten = %q\npreface_timeout = \"1s\"\nhold_off = \"0s\"\n", listen) + strings.Join(groups, "")
}

func namedGroup(keys string, channels ...string) string {
	return fmt.Sprintf("[[listener.group]]\n%s\nchannels = [\"%s\"]\n", keys, strings.Join(channels, `", "`))
}

// TestEdgeNames has curl and OpenSSL ask for sites by name behind one address, and
// curl come by a unix socket to a server on one.
func TestEdgeNames(t *testing.T) {
	t.Parallel()
	needs(t, "nginx", "curl", "openssl")
	dir := serverDir(t)
	ca := newAuthority(t, "Ours")
	writeFile(t, filepath.Join(dir, "ca.pem"), ca.certificate())
	site := func(name string, listen net.Addr) string {
		writeFile(t, filepath.Join(dir, name+".pem"), ca.issue(t, name, time.Now().Add(time.Hour)))
		return fmt.Sprintf("server { listen %s ssl http2; ssl_certificate DIR/%s.pem; ssl_certificate_key DIR/%s.pem; return 200 \"%s\\n\"; }\n", listen, name, name, name)
	}
	one, two, rest := address(t), address(t), address(t)
	startNginx(t, dir, site("one.example.com", one)+site("two.example.net", two)+site("rest.example.org", rest)+
		"server { listen unix:DIR/web.sock; return 200 \"by a path\\n\"; }", "")
	onBothPlanes(t, func(t *testing.T, plane string) {
		listen, inlet := address(t), filepath.Join(t.TempDir(), "in.sock")
		startEdge(t, plane, names(listen,
			namedGroup(`server_name = ["one.example.com"]`, one.String()),
			namedGroup("server_name = [\"*.example.net\"]\nalpn = [\"h2\"]", two.String()),
			namedGroup("", rest.String()))+
			fmt.Sprintf("[[listener]]\nlisten = \"unix:%s\"\n", inlet)+namedGroup("", "unix:"+filepath.Join(dir, "web.sock")))
		curl := func(name, want string, more ...string) {
			t.Helper()
			says(t, want, "curl", append([]string{"-sS", "--cacert", filepath.Join(dir, "ca.pem"), "--resolve", name + ":" + portOf(listen) + ":127.0.0.1", "https://" + name + ":" + portOf(listen) + "/"}, more...)...)
		}
		curl("one.example.com", "one.example.com\n")
		curl("two.example.net", "two.example.net\n", "--http2")
		curl("rest.example.org", "rest.example.org\n", "--http1.1")
		says(t, "CN = one.example.com", "openssl", "s_client", "-connect", listen.String(), "-servername", "ONE.example.com")
		says(t, "CN = rest.example.org", "openssl", "s_client", "-connect", listen.String(), "-servername", "two.example.net", "-alpn", "http/1.1")
		says(t, "CN = rest.example.org", "openssl", "s_client", "-connect", listen.String(), "-noservername", "-tls1_2")
		says(t, "by a path", "curl", "-sS", "--unix-socket", inlet, "http://any/")
	})
}

// TestEdgePostgres has psql reach servers by name, by the request for TLS that it
// makes first. A server without TLS is passed over for one that has it.
func TestEdgePostgres(t *testing.T) {
	t.Parallel()
	needs(t, "psql", "openssl")
	dir := serverDir(t)
	ca := newAuthority(t, "Ours")
	writeFile(t, filepath.Join(dir, "ca.pem"), ca.certificate())
	_, plain := startPostgres(t, dir)
	var secure [2]net.Addr
	for i := range secure {
		name := fmt.Sprintf("db%d.example.com", i)
		data := filepath.Join(dir, name)
		prepare(t, dir, postgresProgram(t, "initdb"), "--no-sync", "--auth=trust", "--username=postgres", "--pgdata="+data)
		pem := filepath.Join(dir, name+".pem")
		writeFile(t, pem, ca.issue(t, name, time.Now().Add(time.Hour)))
		chmod(t, pem, 0o600)
		if os.Getuid() == 0 {
			if err := os.Chown(pem, nobody, nobody); err != nil {
				t.Fatal(err)
			}
		}
		secure[i] = address(t)
		startServing(t, dir, postgresProgram(t, "postgres"), "-D", data, "-h", "127.0.0.1", "-p", portOf(secure[i]), "-k", "",
			"-c", "ssl=on", "-c", "ssl_cert_file="+pem, "-c", "ssl_key_file="+pem)
	}
	onBothPlanes(t, func(t *testing.T, plane string) {
		listen := address(t)
		startEdge(t, plane, names(listen,
			namedGroup(`server_name = ["db0.example.com"]`, secure[0].String()),
			namedGroup(`server_name = ["db1.example.com"]`, plain.String()), // which has no TLS
			namedGroup(`server_name = ["db1.example.com"]`, secure[1].String()),
			namedGroup("", plain.String())))
		psql := func(name, mode string, want net.Addr) {
			t.Helper()
			says(t, portOf(want), "psql", "-XAtc", "show port", fmt.Sprintf("host=%s hostaddr=127.0.0.1 port=%s user=postgres dbname=postgres sslmode=%s sslrootcert=%s",
				name, portOf(listen), mode, filepath.Join(dir, "ca.pem")))
		}
		psql("db0.example.com", "verify-full", secure[0])
		psql("db1.example.com", "verify-full", secure[1])
		psql("db1.example.com", "require", secure[1])
		psql("db0.example.com", "disable", plain)
		psql("other.example.com", "prefer", plain)
		// As psql 17 does with sslnegotiation=direct, which the servers of today's
		// Debian do not know: the name leads to one that ends the connection.
		out, _ := bounded(t, "openssl", "s_client", "-connect", listen.String(), "-servername", "db0.example.com", "-alpn", "postgresql").CombinedOutput()
		if strings.Contains(string(out), "BEGIN CERTIFICATE") {
			t.Errorf("a server that knows no direct TLS shows a certificate: %s", out)
		}
	})
}

// TestEdgeDirectTLS has a client begin with a ClientHello for a name and the protocol
// of PostgreSQL, to servers that take that.
func TestEdgeDirectTLS(t *testing.T) {
	t.Parallel()
	needs(t, "openssl")
	dir := serverDir(t)
	ca := newAuthority(t, "Ours")
	serve := func(name string) net.Addr {
		pem, listen := filepath.Join(dir, name+".pem"), address(t)
		writeFile(t, pem, ca.issue(t, name, time.Now().Add(time.Hour)))
		chmod(t, pem, 0o644)
		startServing(t, dir, "openssl", "s_server", "-accept", listen.String(), "-cert", pem, "-key", pem, "-alpn", "postgresql", "-quiet")
		return listen
	}
	db, rest := serve("db.example.com"), serve("rest.example.com")
	onBothPlanes(t, func(t *testing.T, plane string) {
		listen := address(t)
		startEdge(t, plane, names(listen, namedGroup("server_name = [\"db.example.com\"]\nalpn = [\"postgresql\"]", db.String()), namedGroup("", rest.String())))
		says(t, "CN = db.example.com", "openssl", "s_client", "-connect", listen.String(), "-servername", "db.example.com", "-alpn", "postgresql")
		says(t, "CN = rest.example.com", "openssl", "s_client", "-connect", listen.String(), "-servername", "db.example.com")
	})
}

// TestEdgeSSH has ssh led to a server by the network that it comes from, as long as
// its source has not as many sessions as one may have.
func TestEdgeSSH(t *testing.T) {
	t.Parallel()
	needs(t, "/usr/sbin/sshd", "ssh", "ssh-keygen")
	if os.Getuid() != 0 {
		t.Skip("skipped: sshd serves root alone here")
	}
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if out, err := bounded(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var servers [2]net.Addr
	for i := range servers {
		servers[i] = address(t)
		config := filepath.Join(dir, fmt.Sprintf("sshd%d", i))
		writeFile(t, config, fmt.Sprintf("ListenAddress %s\nHostKey %s\nAuthorizedKeysFile %s.pub\nStrictModes no\nPermitRootLogin yes\nUsePAM no\nPidFile none\n", servers[i], key, key))
		// It wants a directory of its own in /run.
		server := exec.Command("unshare", "-m", "sh", "-c", "mount -t tmpfs none /run && mkdir /run/sshd && exec /usr/sbin/sshd -D -e -f \"$0\"", config)
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Process.Kill(); server.Wait() })
	}
	onBothPlanes(t, func(t *testing.T, plane string) {
		listen := address(t)
		d := startEdge(t, plane, fmt.Sprintf("[[listener]]\nname = \"ssh\"\nlisten = %q\nhold_off = \"0s\"\n[listener.admit]\nmax_sessions = 1\n", listen)+
			namedGroup(`from = ["127.0.0.3"]`, servers[0].String())+namedGroup("", servers[1].String()))
		ssh := func(from, command string) []string {
			return []string{"-F", "none", "-i", key, "-b", from, "-p", portOf(listen), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "root@127.0.0.1", command}
		}
		says(t, " "+portOf(servers[0])+"\n", "ssh", ssh("127.0.0.3", "echo $SSH_CONNECTION")...)
		says(t, " "+portOf(servers[1])+"\n", "ssh", ssh("127.0.0.4", "echo $SSH_CONNECTION")...)

		held := bounded(t, "ssh", ssh("127.0.0.3", "echo in; cat")...)
		stay, err := held.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		told, err := held.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := held.Start(); err != nil {
			t.Fatal(err)
		}
		told.Read(make([]byte, 3))
		before := d.log.Len()
		if out, err := bounded(t, "ssh", ssh("127.0.0.3", "true")...).CombinedOutput(); err == nil {
			t.Errorf("a second session of the source is let in: %s", out)
		}
		d.await(t, before, `msg="clients refused" listener=ssh reason=sessions client=127.0.0.3:`)
		says(t, " "+portOf(servers[1])+"\n", "ssh", ssh("127.0.0.4", "echo $SSH_CONNECTION")...)
		stay.Close()
		held.Wait()
		says(t, " "+portOf(servers[0])+"\n", "ssh", ssh("127.0.0.3", "echo $SSH_CONNECTION")...)
	})
}

// transparency is a network of a client, balance and a server, each a namespace: the
// server's answers come back to balance since all that it sends is delivered there.
const transparency = `
set -e
mount -t tmpfs none /run
ip link set lo up
for n in client server; do
	ip netns add $n
	ip link add $n type veth peer name eth netns $n
	ip link set $n up
	ip -n $n link set lo up
	ip -n $n link set eth up
done
ip addr add 192.0.2.1/24 dev client
ip addr add 2001:db8:1::1/64 dev client nodad
ip addr add 198.51.100.1/24 dev server
ip addr add 2001:db8:2::1/64 dev server nodad
ip -n client addr add 192.0.2.7/24 dev eth
ip -n client addr add 2001:db8:1::7/64 dev eth nodad
ip -n server addr add 198.51.100.9/24 dev eth
ip -n server addr add 2001:db8:2::9/64 dev eth nodad
ip -n client route add default via 192.0.2.1
ip -n client -6 route add default via 2001:db8:1::1
ip -n server route add default via 198.51.100.1
ip -n server -6 route add default via 2001:db8:2::1
for family in -4 -6; do
	ip $family rule add iif server lookup 100
	ip $family route add local default dev lo table 100
done
ip netns exec server nginx -c "$1" -e stderr &
balance -config "$2" &
for url in http://192.0.2.1/ 'http://[2001:db8:1::1]/'; do
	ip netns exec client curl -sS --retry 50 --retry-delay 0 --retry-all-errors --retry-max-time 15 "$url"
done
`

// TestEdgeTransparent has a server see the address of a client two networks away.
func TestEdgeTransparent(t *testing.T) {
	t.Parallel()
	needs(t, "nginx", "curl", "ip", "unshare")
	if os.Getuid() != 0 {
		t.Skip("skipped: networks of its own take root")
	}
	onBothPlanes(t, func(t *testing.T, plane string) {
		dir := t.TempDir()
		nginx, file := filepath.Join(dir, "nginx.conf"), filepath.Join(dir, "transparent.toml")
		writeFile(t, nginx, "daemon off;\npid /run/nginx.pid;\nworker_processes 1;\nevents { worker_connections 64; }\nhttp {\n\taccess_log off;\n\tserver { listen 80; listen [::]:80; return 200 \"$remote_addr\\n\"; }\n}\n")
		writeFile(t, file, fmt.Sprintf("[defaults]\ndata_plane = %q\ntransparent = true\nhold_off = \"0s\"\n", plane)+
			"[[listener]]\nlisten = \"192.0.2.1:80\"\n"+namedGroup("", "198.51.100.9")+
			"[[listener]]\nlisten = \"[2001:db8:1::1]:80\"\n"+namedGroup("", "[2001:db8:2::9]"))
		// The last process of a namespace of processes takes all others along.
		program := bounded(t, "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", transparency, "sh", nginx, file)
		program.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+t.TempDir())
		out, err := program.Output()
		if err != nil || string(out) != "192.0.2.7\n2001:db8:1::7\n" {
			t.Errorf("the server sees %q: %v", out, err)
		}
	})
}
