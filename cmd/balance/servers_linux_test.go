package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/csv"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// opinion is what balance and HAProxy have to find of a server.
type opinion struct {
	name    string
	server  net.Addr
	check   string // keys of [listener.check]
	haproxy string // lines of HAProxy's backend
	options string // what else its server is told
	up      bool
	kernel  bool   // it is up even while the server is stopped: the kernel connects for it
	words   string // what balance's word on it has to match
}

// TestServers has balance check servers of many kinds, as they are and while they
// are stopped, and HAProxy beside it, which has to be of the same opinion.
func TestServers(t *testing.T) {
	t.Parallel()
	const plugins = "/usr/lib/nagios/plugins/"
	needs(t, "haproxy", "nginx", "redis-server", "aiosmtpd", "mariadbd", "mariadb-install-db", "slapd", plugins+"check_tcp", plugins+"check_http", plugins+"check_smtp")
	dir := serverDir(t)
	var servers [6]*server
	var smtp, ldap, mysql, postgres net.Addr
	var redis, replica net.Addr
	web := newWeb(t, dir)
	servers[0] = web.server
	servers[1], smtp = startSMTP(t, dir)
	servers[2], redis = startRedis(t, dir)
	servers[3], replica = startRedis(t, dir, "--replicaof", "127.0.0.1 "+portOf(redis))
	servers[4], ldap = startLDAP(t, dir)
	servers[5], mysql = startMariaDB(t, dir)
	postmaster, postgres := startPostgres(t, dir)
	all := append(servers[:], postmaster)
	closed := address(t)

	// plugin is a check by a monitoring plugin, and script HAProxy's way to it, which
	// has for it as long as the time between two.
	plugin := func(name string, more ...string) string {
		command := append([]string{plugins + name, "-H", "{host}", "-p", "{port}"}, more...)
		for i := range command {
			command[i] = strconv.Quote(command[i])
		}
		return "type = \"exec\"\ncommand = [" + strings.Join(command, ", ") + "]"
	}
	scripts := 0
	script := func(name string, more ...string) string {
		path := filepath.Join(dir, fmt.Sprintf("script%d", scripts))
		scripts++
		writeFile(t, path, "#!/bin/sh\nexec "+plugins+name+` -H "$3" -p "$4" `+strings.Join(more, " ")+"\n")
		chmod(t, path, 0o755)
		return "option external-check\nexternal-check path /usr/bin:/bin\nexternal-check command " + path
	}
	const patient = "inter 2s"

	opinions := []opinion{
		{name: "connect", server: redis, check: `type = "tcp"`, up: true, kernel: true},
		{name: "refused", server: closed, check: `type = "tcp"`, words: "refused"},
		{name: "redis-ping", server: redis, check: `type = "tcp"` + "\n" + `send = "PING\r\n"` + "\n" + `expect = "\\+PONG"`,
			haproxy: "option tcp-check\ntcp-check send PING\\r\\n\ntcp-check expect string +PONG", up: true},
		{name: "redis", server: replica, check: `type = "redis"`, haproxy: "option redis-check", up: true},
		{name: "redis-master", server: redis, check: "type = \"redis\"\nrole = \"master\"",
			haproxy: "option tcp-check\ntcp-check send info\\ replication\\r\\n\ntcp-check expect string role:master", up: true},
		{name: "redis-replica", server: replica, check: "type = \"redis\"\nrole = \"master\"",
			haproxy: "option tcp-check\ntcp-check send info\\ replication\\r\\n\ntcp-check expect string role:master", words: "slave"},
		{name: "redis-as-smtp", server: redis, check: `type = "smtp"`, haproxy: "option smtpchk", words: "no answer"},
		{name: "smtp-220", server: smtp, check: "type = \"tcp\"\nexpect = \"^220\"", haproxy: "option tcp-check\ntcp-check expect rstring ^220", up: true},
		{name: "smtp-221", server: smtp, check: "type = \"tcp\"\nexpect = \"^221\"", haproxy: "option tcp-check\ntcp-check expect rstring ^221", words: `"220 `},
		{name: "smtp", server: smtp, check: `type = "smtp"`, haproxy: "option smtpchk", up: true},
		{name: "http", server: web.plain, check: "type = \"http\"\npath = \"/healthz\"\nexpect = \"^ok\"",
			haproxy: "option httpchk GET /healthz\nhttp-check expect rstring ^ok", up: true},
		{name: "http-body", server: web.plain, check: "type = \"http\"\npath = \"/healthz\"\nexpect = \"^fine\"",
			haproxy: "option httpchk GET /healthz\nhttp-check expect rstring ^fine", words: `"ok`},
		{name: "http-503", server: web.plain, check: "type = \"http\"\npath = \"/maintenance\"", haproxy: "option httpchk GET /maintenance", words: "503"},
		{name: "http-503-expected", server: web.plain, check: "type = \"http\"\npath = \"/maintenance\"\nstatus = \"503\"",
			haproxy: "option httpchk GET /maintenance\nhttp-check expect status 503", up: true},
		{name: "https", server: web.secure, check: web.tls("ca.pem", "www.example.com"), haproxy: "option httpchk GET /healthz",
			options: web.ssl("ca.pem", "www.example.com"), up: true},
		{name: "https-expired", server: web.expired, check: web.tls("ca.pem", "www.example.com"), haproxy: "option httpchk GET /healthz",
			options: web.ssl("ca.pem", "www.example.com"), words: "expired"},
		{name: "https-authority", server: web.secure, check: web.tls("other.pem", "www.example.com"), haproxy: "option httpchk GET /healthz",
			options: web.ssl("other.pem", "www.example.com"), words: "signed by nobody who is trusted"},
		{name: "https-name", server: web.secure, check: web.tls("ca.pem", "mail.example.com"), haproxy: "option httpchk GET /healthz",
			options: web.ssl("ca.pem", "mail.example.com"), words: "www.example.com"},
		{name: "http-as-https", server: web.plain, check: web.tls("ca.pem", "www.example.com"), haproxy: "option httpchk GET /healthz",
			options: web.ssl("ca.pem", "www.example.com")},
		{name: "plugin", server: web.plain, check: plugin("check_tcp"), haproxy: script("check_tcp"), options: patient, up: true, kernel: true, words: "TCP OK"},
		{name: "plugin-http", server: web.plain, check: plugin("check_http", "-u", "/healthz"), haproxy: script("check_http", "-u", "/healthz"), options: patient, up: true, words: "HTTP OK"},
		{name: "plugin-503", server: web.plain, check: plugin("check_http", "-u", "/maintenance"), haproxy: script("check_http", "-u", "/maintenance"), options: patient, words: "503"},
		{name: "plugin-refused", server: closed, check: plugin("check_tcp"), haproxy: script("check_tcp"), options: patient, words: "refused"},
		{name: "postgres", server: postgres, check: `type = "postgres"`, haproxy: "option pgsql-check user postgres", up: true},
		{name: "mysql", server: mysql, check: `type = "mysql"`, haproxy: "option mysql-check", up: true},
		{name: "ldap", server: ldap, check: `type = "ldap"`, haproxy: "option ldap-check", up: true},
		{name: "http-as-ldap", server: web.plain, check: `type = "ldap"`, haproxy: "option ldap-check"},
		{name: "smtp-as-mysql", server: smtp, check: `type = "mysql"`, haproxy: "option mysql-check"},
	}
	peer := startHAProxy(t, dir, opinions)
	file := filepath.Join(dir, "servers.toml")
	writeFile(t, file, opinionated(opinions))

	examples := map[string]string{}
	for name, change := range map[string][]string{
		"redis.toml":  {"192.0.2.41:6379", redis.String(), "192.0.2.42:6379", replica.String()},
		"smtp.toml":   {`"192.0.2.1"`, `"127.0.0.1"`, "192.0.2.61:25", smtp.String(), "192.0.2.62:25", smtp.String(), `"192.0.2.63", port = "smtp"`, `"127.0.0.1", port = ` + portOf(smtp)},
		"web.toml":    {"192.0.2.51:80", web.plain.String(), "192.0.2.52:80", web.plain.String(), "192.0.2.53:80", web.plain.String()},
		"https.toml":  {"192.0.2.54:443", web.secure.String(), "192.0.2.55:443", web.secure.String(), "/etc/balance", dir},
		"plugin.toml": {"192.0.2.64:10024", smtp.String(), "192.0.2.65:10024", smtp.String()},
	} {
		examples[name] = filepath.Join(dir, name)
		writeFile(t, examples[name], example(t, name, change...))
	}

	agree := func(t *testing.T, running bool) {
		t.Helper()
		var differ []string
		var table string
		for end := time.Now().Add(3 * patience); ; time.Sleep(100 * time.Millisecond) {
			differ = differ[:0]
			var states map[string]string
			states, table = probed(t, file)
			other := peer.verdicts(t)
			for _, o := range opinions {
				want := "down"
				if o.up && (running || o.kernel) {
					want = "up"
				}
				if states[o.name] != want || !strings.EqualFold(other[o.name], want) {
					differ = append(differ, fmt.Sprintf("%s is %s, HAProxy says %q, want %s", o.name, states[o.name], other[o.name], want))
				}
			}
			if len(differ) == 0 {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s\n%s", strings.Join(differ, "\n"), table)
			}
		}
		for _, o := range opinions {
			words := o.words
			if !running && !o.kernel && o.server != closed {
				words = "within 2s"
			}
			if !regexp.MustCompile(`(?m)^ *` + o.name + ` .*(` + words + `)`).MatchString(table) {
				t.Errorf("the words on %s do not match %s", o.name, words)
			}
		}
		if t.Failed() {
			t.Log(table)
		}
	}

	// examined has the examples checked, where so many channels are up and down while
	// the servers run, and none is up while they do not.
	examined := func(t *testing.T, running bool) {
		for name, path := range examples {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				out, err := bounded(t, "balance", "-probe", "-config", path).CombinedOutput()
				up, down := strings.Count(string(out), " up "), strings.Count(string(out), " down ")
				wrong := running && up == 0 || !running && up > 0 || (err == nil) != (down == 0)
				if name == "redis.toml" && running {
					wrong = wrong || down != 1 // the replica, for writes
				} else {
					wrong = wrong || running != (down == 0)
				}
				if wrong {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	}
	inPhase := func(name string, running bool, signal syscall.Signal) {
		for _, s := range all {
			s.signal(t, signal)
		}
		t.Run(name, func(t *testing.T) {
			agree(t, running)
			examined(t, running)
		})
	}
	inPhase("running", true, 0)
	inPhase("stopped", false, syscall.SIGSTOP)
	inPhase("continued", true, syscall.SIGCONT)
}

// TestRedisFailover has a client write through examples/redis.toml to whichever
// of two servers is the master.
func TestRedisFailover(t *testing.T) {
	t.Parallel()
	needs(t, "redis-server")
	dir := serverDir(t)
	first, a := startRedis(t, dir)
	_, b := startRedis(t, dir, "--replicaof", "127.0.0.1 "+portOf(a))
	for _, server := range []net.Addr{a, b} { // one that still starts would be down from the first
		awaitRedis(t, server, "PING", "+PONG")
	}
	writes, reads := address(t), address(t)
	file := filepath.Join(dir, "redis.toml")
	writeFile(t, file, example(t, "redis.toml", "127.0.0.1:6379", writes.String(), "127.0.0.1:6380", reads.String(),
		"192.0.2.41:6379", a.String(), "192.0.2.42:6379", b.String(),
		"\n[[listener]]\nname = \"redis-write\"", "\n[defaults.check]\ninterval = \"200ms\"\nfast_interval = \"100ms\"\ndown_interval = \"200ms\"\n\n[[listener]]\nname = \"redis-write\"")+
		"\n[log]\nsessions = true\n")
	d := startLogged(t, "balance", "-config", file)
	down := func(listener string, server net.Addr, reason string) string {
		return fmt.Sprintf(`msg="channel down" listener=%s .*channel=%s .*reason=.*%s`, listener, server, reason)
	}
	up := func(listener string, server net.Addr) string {
		return fmt.Sprintf(`msg="channel up" listener=%s .*channel=%s`, listener, server)
	}

	s := awaitRedis(t, writes, "SET key 1", "+OK")
	awaitRedis(t, reads, "PING", "+PONG")
	before := d.log.Len()
	first.signal(t, syscall.SIGSTOP)
	d.await(t, before, down("redis-write", a, "(no answer|timed out)"))
	d.await(t, before, down("redis-read", a, "(no answer|timed out)"))
	d.await(t, before, fmt.Sprintf(`msg=session .*listener=redis-write .*channel=%s .*by=balance how="the channel is down"`, a))
	s.SetDeadline(time.Now().Add(patience))
	if _, err := s.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("the session with a server that is stopped: %v", err)
	}
	awaitRedis(t, reads, "PING", "+PONG")

	before = d.log.Len()
	awaitRedis(t, b, "REPLICAOF NO ONE", "+OK")
	d.await(t, before, up("redis-write", b))
	awaitRedis(t, writes, "SET key 2", "+OK")

	before = d.log.Len()
	first.signal(t, syscall.SIGCONT)
	awaitRedis(t, a, "REPLICAOF 127.0.0.1 "+portOf(b), "+OK")
	d.await(t, before, up("redis-read", a))
	awaitRedis(t, writes, "SET key 3", "+OK")
}

// awaitRedis has a command answered so, over a session that it returns.
func awaitRedis(t *testing.T, to net.Addr, command, want string) (conn net.Conn) {
	t.Helper()
	awaitThat(t, "an answer "+want+" to "+command, func() bool {
		var err error
		if conn, err = net.DialTimeout("tcp", to.String(), time.Second); err != nil {
			return false
		}
		conn.SetDeadline(time.Now().Add(2 * time.Second))
		answer := make([]byte, len(want+"\r\n"))
		fmt.Fprintf(conn, "%s\r\n", command)
		if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != want+"\r\n" {
			conn.Close()
			return false
		}
		return true
	})
	t.Cleanup(func() { conn.Close() })
	return conn
}

// needs skips the test if a program is missing, or if there is no time to start it.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	if testing.Short() {
		t.Skip("skipped: servers take their time")
	}
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("skipped: %v", err)
		}
	}
}

// postgresProgram is a program of PostgreSQL that Debian keeps beside others of
// its versions, and not in the search path.
func postgresProgram(t *testing.T, name string) string {
	t.Helper()
	paths, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(paths) == 0 {
		t.Skipf("skipped: no %s in /usr/lib/postgresql", name)
	}
	return paths[len(paths)-1]
}

// example is a file of examples/, with changes: pairs of a text that stands there
// and what stands in its place.
func example(t *testing.T, name string, change ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("../../examples", name))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(change); i += 2 {
		if !strings.Contains(string(content), change[i]) {
			t.Fatalf("%s does not contain %s", name, change[i])
		}
	}
	return strings.NewReplacer(change...).Replace(string(content))
}

// address is one that is free.
func address(t *testing.T) net.Addr {
	t.Helper()
	addr, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// serverDir returns a directory for servers to write to.
func serverDir(t *testing.T) string {
	t.Helper()
	dir := openTempDir(t)
	if os.Getuid() == 0 {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// server is a program that serves, in a session and a process group of its own.
type server struct {
	pid  int
	kill func() // with its children; returns after its end
}

// startServing starts a program that serves, as nobody if the test is root's, for
// some refuse to serve root. It is killed at the end of the test; what it said is
// shown if that failed.
func startServing(t *testing.T, dir, name string, args ...string) *server {
	t.Helper()
	log, err := os.CreateTemp(dir, filepath.Base(name)+"-*.log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	program := asNobody(exec.Command(name, args...), dir)
	program.Stdout, program.Stderr = log, log
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	s := &server{pid: program.Process.Pid}
	s.kill = sync.OnceFunc(func() {
		syscall.Kill(-s.pid, syscall.SIGKILL)
		program.Wait()
	})
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			content, _ := os.ReadFile(log.Name())
			t.Logf("%s said\n%s", strings.Join(program.Args, " "), content[max(0, len(content)-4<<10):])
		}
	})
	return s
}

// signal sends a signal to a server that has not been killed.
func (s *server) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(-s.pid, signal); err != nil {
		t.Fatal(err)
	}
}

// asNobody makes a program one of another user, at home in the directory.
func asNobody(program *exec.Cmd, home string) *exec.Cmd {
	program.Dir, program.Env = home, append(os.Environ(), "HOME="+home)
	program.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if os.Getuid() == 0 {
		program.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	return program
}

// prepare runs a program that a server needs to be run before it.
func prepare(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	if out, err := asNobody(bounded(t, name, args...), dir).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

func startRedis(t *testing.T, dir string, more ...string) (*server, net.Addr) {
	t.Helper()
	addr := address(t)
	return startServing(t, dir, "redis-server", append([]string{"--bind", "127.0.0.1", "--port", portOf(addr),
		"--save", "", "--repl-diskless-sync-delay", "0", "--dir", dir, "--dbfilename", portOf(addr) + ".rdb"}, more...)...), addr
}

func startSMTP(t *testing.T, dir string) (*server, net.Addr) {
	t.Helper()
	addr := address(t)
	return startServing(t, dir, "aiosmtpd", "-n", "-l", addr.String()), addr
}

func startLDAP(t *testing.T, dir string) (*server, net.Addr) {
	t.Helper()
	addr, config, data := address(t), filepath.Join(dir, "slapd.conf"), filepath.Join(dir, "slapd")
	prepare(t, dir, "mkdir", data)
	writeFile(t, config, "include /etc/ldap/schema/core.schema\npidfile "+data+"/pid\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n"+
		"database mdb\ndirectory "+data+"\nsuffix \"dc=example,dc=com\"\n")
	return startServing(t, dir, "slapd", "-d", "0", "-f", config, "-h", "ldap://"+addr.String()+"/"), addr
}

func startMariaDB(t *testing.T, dir string) (*server, net.Addr) {
	t.Helper()
	addr, data := address(t), filepath.Join(dir, "mariadb")
	prepare(t, dir, "mariadb-install-db", "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db")
	return startServing(t, dir, "mariadbd", "--no-defaults", "--datadir="+data, "--bind-address=127.0.0.1", "--port="+portOf(addr),
		"--socket="+data+"/socket", "--pid-file="+data+"/pid"), addr
}

func startPostgres(t *testing.T, dir string) (*server, net.Addr) {
	t.Helper()
	addr, data := address(t), filepath.Join(dir, "postgres")
	prepare(t, dir, postgresProgram(t, "initdb"), "--no-sync", "--auth=trust", "--username=postgres", "--pgdata="+data)
	// Its children have process groups of their own, and end with it.
	return startServing(t, dir, postgresProgram(t, "postgres"), "-D", data, "-h", "127.0.0.1", "-p", portOf(addr), "-k", ""), addr
}

// web is nginx, by HTTP and HTTPS.
type web struct {
	*server
	dir                    string
	plain, secure, expired net.Addr
}

// newWeb starts nginx with a certificate of an authority of its own, ca.pem, for
// www.example.com, and with one that has expired. other.pem is another authority.
func newWeb(t *testing.T, dir string) *web {
	t.Helper()
	w := &web{dir: dir, plain: address(t), secure: address(t), expired: address(t)}
	now := time.Now()
	ca, other := newAuthority(t, "Ours"), newAuthority(t, "Theirs")
	writeFile(t, filepath.Join(dir, "ca.pem"), ca.certificate())
	writeFile(t, filepath.Join(dir, "other.pem"), other.certificate())
	writeFile(t, filepath.Join(dir, "good.pem"), ca.issue(t, "www.example.com", now.Add(time.Hour)))
	writeFile(t, filepath.Join(dir, "expired.pem"), ca.issue(t, "www.example.com", now.Add(-time.Hour)))
	config := filepath.Join(dir, "nginx.conf")
	writeFile(t, config, strings.NewReplacer("DIR", dir, "PLAIN", w.plain.String(), "SECURE", w.secure.String(), "EXPIRED", w.expired.String()).Replace(`
daemon off;
pid DIR/nginx.pid;
error_log stderr;
worker_processes 1;
events { worker_connections 256; }
http {
	access_log off;
	client_body_temp_path DIR/body;
	proxy_temp_path DIR/proxy;
	fastcgi_temp_path DIR/fastcgi;
	uwsgi_temp_path DIR/uwsgi;
	scgi_temp_path DIR/scgi;
	server {
		listen PLAIN;
		location = /healthz { return 200 "ok\n"; }
		location = /maintenance { return 503; }
	}
	server {
		listen SECURE ssl;
		ssl_certificate DIR/good.pem;
		ssl_certificate_key DIR/good.pem;
		location = /healthz { return 200 "ok\n"; }
	}
	server {
		listen EXPIRED ssl;
		ssl_certificate DIR/expired.pem;
		ssl_certificate_key DIR/expired.pem;
		location = /healthz { return 200 "ok\n"; }
	}
}
`))
	w.server = startServing(t, dir, "nginx", "-c", config, "-e", "stderr")
	return w
}

// tls are the keys of a check by HTTPS.
func (w *web) tls(ca, name string) string {
	return fmt.Sprintf("type = \"http\"\npath = \"/healthz\"\ntls = true\nca_file = %q\nserver_name = %q", filepath.Join(w.dir, ca), name)
}

// ssl are the words of HAProxy for that.
func (w *web) ssl(ca, name string) string {
	return fmt.Sprintf("check-ssl verify required ca-file %s verifyhost %s check-sni %s", filepath.Join(w.dir, ca), name, name)
}

// authority is a certificate authority.
type authority struct {
	template *x509.Certificate
	key      *ecdsa.PrivateKey
	der      []byte
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{key: newKey(t), template: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}}
	var err error
	if a.der, err = x509.CreateCertificate(rand.Reader, a.template, a.template, a.key.Public(), a.key); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) certificate() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.der}))
}

// issue returns a certificate for a name, and its key.
func (a *authority) issue(t *testing.T, name string, until time.Time) string {
	t.Helper()
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: until.Add(-12 * time.Hour), NotAfter: until, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.template, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// opinionated is a file with a listener for each opinion.
func opinionated(opinions []opinion) string {
	var b strings.Builder
	for i, o := range opinions {
		fmt.Fprintf(&b, "[[listener]]\nname = %q\nlisten = \"127.0.0.1:%d\"\ngroup = [{ channels = [%q] }]\n[listener.check]\n%s\n", o.name, 1+i, o.server, o.check)
	}
	return b.String()
}

// probed runs all checks of a file once, and returns the state of each listener's
// channel, and the table.
func probed(t *testing.T, file string) (states map[string]string, table string) {
	t.Helper()
	out, err := bounded(t, "balance", "-probe", "-config", file).Output()
	if len(out) == 0 {
		t.Fatalf("it found nothing: %v", err)
	}
	states = map[string]string{}
	all := true
	for i, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		if fields := strings.Fields(line); i > 0 && len(fields) > 4 {
			states[fields[0]] = fields[4]
			all = all && fields[4] == "up"
		}
	}
	if all != (err == nil) {
		t.Errorf("%v, but\n%s", err, out)
	}
	return states, string(out)
}

// haproxy is one that checks servers.
type haproxy struct{ socket string }

func startHAProxy(t *testing.T, dir string, opinions []opinion) *haproxy {
	t.Helper()
	h := &haproxy{filepath.Join(dir, "stats")}
	var b strings.Builder
	fmt.Fprintf(&b, "global\n\tstats socket %s\n\texternal-check\n\tinsecure-fork-wanted\n", h.socket)
	b.WriteString("defaults\n\tmode tcp\n\ttimeout connect 2s\n\ttimeout client 2s\n\ttimeout server 2s\n\ttimeout check 2s\n")
	fmt.Fprintf(&b, "frontend nobody\n\tbind unix@%s\n\tdefault_backend connect\n", filepath.Join(dir, "frontend"))
	for _, o := range opinions {
		fmt.Fprintf(&b, "backend %s\n", o.name)
		for line := range strings.Lines(o.haproxy) {
			fmt.Fprintf(&b, "\t%s\n", strings.TrimSpace(line))
		}
		fmt.Fprintf(&b, "\tserver server %s check inter 500ms rise 1 fall 1 %s\n", o.server, o.options)
	}
	config := filepath.Join(dir, "haproxy.cfg")
	writeFile(t, config, b.String())
	startServing(t, dir, "haproxy", "-db", "-f", config)
	return h
}

// verdicts are UP or DOWN for each backend.
func (h *haproxy) verdicts(t *testing.T) map[string]string {
	t.Helper()
	verdicts := map[string]string{}
	conn, err := net.DialTimeout("unix", h.socket, patience)
	if err != nil {
		return verdicts // it is not there yet
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintln(conn, "show stat")
	rows, err := csv.NewReader(conn).ReadAll()
	if err != nil || len(rows) == 0 {
		t.Fatalf("HAProxy says %q, %v", rows, err)
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	for _, row := range rows[1:] {
		if row[column["svname"]] == "server" && !strings.HasPrefix(row[column["check_status"]], "INI") {
			verdicts[row[0]] = row[column["status"]]
		}
	}
	return verdicts
}
