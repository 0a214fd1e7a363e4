package main

import (
	"fmt"
	"net"
	"net/smtp"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestEdgePostscreen has Postfix take PROXY from balance, and its checks, as postscreen
// does for those who send mail.
func TestEdgePostscreen(t *testing.T) {
	t.Parallel()
	postfix := startPostfix(t)
	onBothPlanes(t, func(t *testing.T, plane string) {
		v1, v2 := address(t), address(t)
		var listeners strings.Builder
		for version, listen := range map[string]net.Addr{"v1": v1, "v2": v2} {
			fmt.Fprintf(&listeners, "[[listener]]\nname = %q\nlisten = %q\ncheck = { type = \"smtp\", interval = \"300ms\" }\n"+
				"group = [{ channels = [{ host = \"127.0.0.1\", port = %s, send_proxy = %q }] }]\n",
				version, listen, portOf(postfix.smtp), version)
		}
		startEdge(t, plane, listeners.String())
		for _, listen := range []net.Addr{v1, v2} {
			conn, err := tryFrom(outside, listen)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			client, err := smtp.NewClient(conn, "mx.example.com")
			if err == nil {
				err = client.Quit()
			}
			if err != nil {
				t.Fatalf("through %s: %v", listen, err)
			}
			postfix.await(t, fmt.Sprintf(`CONNECT from \[127\.0\.0\.9\]:%d to \[127\.0\.0\.1\]:%s\n`,
				conn.LocalAddr().(*net.TCPAddr).Port, portOf(listen)))
		}
		postfix.await(t, `smtpd.*: connect from unknown\[127\.0\.0\.9\]\n`)
		// Of checks it sees the connection of their own.
		postfix.await(t, `CONNECT from \[127\.0\.0\.1\]:\d+ to \[127\.0\.0\.1\]:`+portOf(postfix.smtp)+`\n`)
		if complaint := regexp.MustCompile(`.*(warning|error|fatal).*`).FindString(postfix.log(t)); complaint != "" {
			t.Errorf("it complains: %s", complaint)
		}
	})
}

// postfix is one that takes mail from proxies.
type postfix struct {
	smtp net.Addr
	file string
}

func startPostfix(t *testing.T) *postfix {
	t.Helper()
	const programs = "/usr/lib/postfix/sbin/"
	needs(t, programs+"master", programs+"postscreen")
	if os.Getuid() != 0 {
		t.Skip("skipped: only root can start Postfix")
	}
	owner, err := user.Lookup("postfix")
	if err != nil {
		t.Skipf("skipped: %v", err)
	}
	id, _ := strconv.Atoi(owner.Uid)
	dir := openTempDir(t)
	etc, queue := filepath.Join(dir, "etc"), filepath.Join(dir, "queue")
	mkdir(t, etc)
	mkdir(t, queue)
	// postfix check would make these, and looks at much else.
	for _, name := range []string{"data", "queue/pid", "queue/public", "queue/private", "queue/incoming"} {
		made := filepath.Join(dir, name)
		mkdir(t, made)
		if err := os.Chown(made, id, -1); err != nil {
			t.Fatal(err)
		}
	}
	p := &postfix{smtp: address(t), file: filepath.Join(dir, "mail.log")}
	writeFile(t, filepath.Join(etc, "main.cf"), strings.ReplaceAll(`
compatibility_level = 3.6
queue_directory = DIR/queue
data_directory = DIR/data
maillog_file = DIR/mail.log
maillog_file_prefixes = DIR
inet_protocols = ipv4
inet_interfaces = 127.0.0.1
mynetworks = 127.0.0.0/8
myhostname = mx.example.com
mydestination =
alias_maps =
local_recipient_maps =
postscreen_cache_map =
postscreen_upstream_proxy_protocol = haproxy
smtpd_peername_lookup = no
`, "DIR", dir))
	writeFile(t, filepath.Join(etc, "master.cf"), p.smtp.String()+` inet n - n - 1 postscreen
smtpd pass - - n - - smtpd
dnsblog unix - - n - 0 dnsblog
rewrite unix - - n - - trivial-rewrite
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
`)
	master := bounded(t, programs+"master", "-c", etc, "-d")
	master.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := master.Start(); err != nil {
		t.Fatal(err)
	}
	// Those it has started end with it.
	t.Cleanup(func() {
		master.Process.Signal(syscall.SIGTERM)
		master.Wait()
		if t.Failed() {
			t.Logf("Postfix said\n%s", p.log(t))
		}
	})
	p.await(t, `daemon started`) // and it listens
	return p
}

func (p *postfix) log(t *testing.T) string {
	content, err := os.ReadFile(p.file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(content)
}

// await waits until the log matches.
func (p *postfix) await(t *testing.T, pattern string) {
	t.Helper()
	awaitThat(t, "Postfix logs "+pattern, func() bool { return regexp.MustCompile(pattern).MatchString(p.log(t)) })
}
